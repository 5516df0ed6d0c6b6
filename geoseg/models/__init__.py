"""Networks, their weights, and the model card that travels with them."""

from typing import TYPE_CHECKING

from geoseg.lazily import ImportsWithoutCompiler, lazily

if TYPE_CHECKING:
    from geoseg.models.card import ModelCard as ModelCard
    from geoseg.models.checkpoint import build as build
    from geoseg.models.checkpoint import load as load
    from geoseg.models.checkpoint import save as save
    from geoseg.models.networks.build import AnySize as AnySize
    from geoseg.models.own import ImageNetwork as ImageNetwork
    from geoseg.models.own import SampleNetwork as SampleNetwork
    from geoseg.models.own import WindowNetwork as WindowNetwork
    from geoseg.models.settings import Model as Model
else:
    __getattr__, __dir__, __all__ = lazily(__name__)

ImportsWithoutCompiler.install()
