"""Georeferenced images and labels in, land-cover maps that open in QGIS out."""

__version__ = "0.1.0"
