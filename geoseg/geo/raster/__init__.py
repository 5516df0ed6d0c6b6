"""Read, warp and write rasters; the only door to rasterio's files."""

from geoseg.geo.raster.counts import counts
from geoseg.geo.raster.file_info import SUFFIXES, RasterInfo, info, resolution_in, tags
from geoseg.geo.raster.gdal import READ_ERRORS, environment, most_files, read_once
from geoseg.geo.raster.reader import Raster, all_bands, any_band
from geoseg.geo.raster.value_names import value_names
from geoseg.geo.raster.writer import BLOCK, LEVEL, Writer, check_whole, create, header, png

__all__ = [
    "BLOCK",
    "LEVEL",
    "READ_ERRORS",
    "SUFFIXES",
    "Raster",
    "RasterInfo",
    "Writer",
    "all_bands",
    "any_band",
    "check_whole",
    "counts",
    "create",
    "environment",
    "header",
    "info",
    "most_files",
    "png",
    "read_once",
    "resolution_in",
    "tags",
    "value_names",
]
