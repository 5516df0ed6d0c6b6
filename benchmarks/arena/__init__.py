"""The arena: what geoseg's defaults are worth beside plain scripts, on the same data and time."""
