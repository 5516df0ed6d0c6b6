"""Class maps on disk: read, write, join into mosaics."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.maps.landcover import ClassMap as ClassMap
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
