"""Give the points of LiDAR clouds the classes of a legend, by a network for points."""
