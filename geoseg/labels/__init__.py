"""Bring labels, polygons, lines or class rasters, onto the grids of scenes."""
