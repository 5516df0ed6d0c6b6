"""Make rasters of heights out of LiDAR point clouds, to be used as bands."""
