"""Write Cloud Optimized GeoTIFFs of class codes in one pass."""
