"""Classify parcels and points through time: samples, predictions, maps of parcels."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.parcels.parcels import Parcels as Parcels
    from geoseg.parcels.parcels import read_parcels as read_parcels
    from geoseg.parcels.predict import predict_parcels as predict_parcels
    from geoseg.parcels.prepare import FromStacks as FromStacks
    from geoseg.parcels.prepare import FromTable as FromTable
    from geoseg.parcels.prepare import prepare_series as prepare_series
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
