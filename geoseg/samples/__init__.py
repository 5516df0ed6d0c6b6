"""Turn data sets into tensors."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.samples.augment import Augment as Augment
    from geoseg.samples.cubes import TrainCubes as TrainCubes
    from geoseg.samples.cubes import ValCubes as ValCubes
    from geoseg.samples.own_augment import OwnAugmentation as OwnAugmentation
    from geoseg.samples.series import SeriesBatches as SeriesBatches
    from geoseg.samples.settings import SeriesSamples as SeriesSamples
    from geoseg.samples.tiles import TrainTiles as TrainTiles
    from geoseg.samples.tiles import ValTiles as ValTiles
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
