"""Grids, rasters, vector layers and legends on disk."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.geo.grid import Grid as Grid
    from geoseg.geo.grid import Window as Window
    from geoseg.geo.legend import Legend as Legend
    from geoseg.geo.legend import LegendSettings as LegendSettings
    from geoseg.geo.raster import Raster as Raster
    from geoseg.geo.raster import create as create
    from geoseg.geo.tiling import Tiling as Tiling
    from geoseg.geo.vector import Layer as Layer
    from geoseg.geo.vector import write_layer as write_layer
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
