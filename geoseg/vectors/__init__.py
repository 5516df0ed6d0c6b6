"""Turn class maps into polygons, regular outlines and centre lines."""
