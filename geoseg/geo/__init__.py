"""Grids, rasters, vector layers and legends on disk."""
