"""Apply trained networks to scenes, windows, stacks, in batches over whole folders."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.prediction.images import predict as predict
    from geoseg.prediction.network import Engine as Engine
    from geoseg.prediction.network import InferenceSettings as InferenceSettings
    from geoseg.prediction.network import TrainedNetwork as TrainedNetwork
    from geoseg.prediction.report import PredictionReport as PredictionReport
    from geoseg.prediction.series import SeriesImages as SeriesImages
    from geoseg.prediction.series import predict_series as predict_series
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
