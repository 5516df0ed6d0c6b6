"""Make a small landscape with known land cover, as scenes and as a Sentinel-2 year."""
