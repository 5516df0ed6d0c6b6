"""Read Zarr and netCDF cubes like rasters: bands of a time, by windows."""
