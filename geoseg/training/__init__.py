"""Train networks: settings, the loop, what a run leaves behind."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.training.objectives.own import OwnLoss as OwnLoss
    from geoseg.training.objectives.settings import Loss as Loss
    from geoseg.training.settings import Fit as Fit
    from geoseg.training.settings import TrainingSettings as TrainingSettings
    from geoseg.training.start import train as train
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
