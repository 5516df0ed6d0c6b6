"""Hold a trained network, loaded when it is first needed, with its inference settings."""

from geoseg.prediction.network.settings import BACKENDS, WITH_FEATURES, Engine, InferenceSettings
from geoseg.prediction.network.trained import TrainedNetwork

__all__ = ["BACKENDS", "WITH_FEATURES", "Engine", "InferenceSettings", "TrainedNetwork"]
