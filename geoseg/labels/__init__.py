"""Bring labels, polygons, lines or class rasters, onto the grids of scenes."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.labels.find import open_labels as open_labels
    from geoseg.labels.settings import Labels as Labels
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
