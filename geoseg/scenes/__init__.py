"""Scenes: images on one grid, of one date or of many."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.scenes.bands import Bands as Bands
    from geoseg.scenes.bands import BandStatistics as BandStatistics
    from geoseg.scenes.dated import DatedScene as DatedScene
    from geoseg.scenes.scene import Scene as Scene
    from geoseg.scenes.scene import find_scenes as find_scenes
    from geoseg.scenes.stack import Stack as Stack
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
