"""Prepare data sets for training: targets, tiles, samples, splits and statistics."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.dataset.sample_split import SampleSplit as SampleSplit
    from geoseg.dataset.samples import Samples as Samples
    from geoseg.dataset.samples import SeriesDataset as SeriesDataset
    from geoseg.dataset.settings import SampleSettings as SampleSettings
    from geoseg.dataset.split import Split as Split
    from geoseg.dataset.tiles import Dataset as Dataset
    from geoseg.dataset.tiles import Tile as Tile
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
