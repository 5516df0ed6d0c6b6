"""Check whether a scene suits a trained network."""

from geoseg.models.suitability.fit import changes_for, fit, say_order
from geoseg.models.suitability.pixel_size import (
    PIXEL_TOLERANCE,
    doubt,
    median_ratio,
    say_doubts,
    suits_pixel_size,
)
from geoseg.models.suitability.probes import UnreadableError
from geoseg.models.suitability.units import check_units, said_of_light
from geoseg.models.suitability.values import Found, check, check_values

__all__ = [
    "PIXEL_TOLERANCE",
    "Found",
    "UnreadableError",
    "changes_for",
    "check",
    "check_units",
    "check_values",
    "doubt",
    "fit",
    "median_ratio",
    "said_of_light",
    "say_doubts",
    "say_order",
    "suits_pixel_size",
]
