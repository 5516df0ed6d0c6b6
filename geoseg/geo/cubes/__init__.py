"""Read Zarr cubes, as xarray and others write them, like rasters: bands of a time, by windows."""
