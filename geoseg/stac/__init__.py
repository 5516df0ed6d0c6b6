"""Read and write STAC, the JSON by which catalogs describe images, maps and models."""
