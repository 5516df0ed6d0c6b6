"""Check what a card holds, in words that say what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.dataset.tiles import GROUND, ON_MAP
from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import BandTags
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models.settings import Model, check_chosen
from geoseg.outputs.counted import counted
from geoseg.received import fields
from geoseg.scenes.bands import BandStatistics

MOST = float(np.finfo(np.float32).max)
"""Largest number that networks compute with."""
NOT_JSON = ("nan", "inf", "-inf")
"""Numbers that stand as text in a card."""
LARGEST_WINDOW = 65_536
"""Side in pixels; the next one that is sensible fits in no memory."""
LEAST_STD = 1 / MOST * 4
"""Smallest deviation by which they can divide."""


@dataclass(frozen=True)
class Listed:
    """A legend in a card."""

    classes: list[dict[str, Any]]


def unreadable(path: str | Path, what: str, error: Exception) -> InputError:
    """A fault of a card, in one sentence."""
    faults = "; ".join(error.faults) if isinstance(error, InputError) else str(error)
    return InputError(
        f"{path}: {what} that geoseg {__version__} can't read ({faults}); copy the file again, or"
        " take the version that trained it"
    )


def read_settings(kind: type, where: str, values: Any) -> Any:
    """Settings of a card. Raises: InputError."""
    fields.check(kind, values, where)
    return kind(**values)


def read_model(values: Any) -> Model:
    """Settings of the network that was trained. Raises: InputError."""
    model: Model = read_settings(Model, "model", values)
    check_chosen(model)
    return model


def read_tiling(values: Any) -> Tiling:
    """Raises: InputError."""
    tiling: Tiling = read_settings(Tiling, "tiling", values)
    if tiling.size > LARGEST_WINDOW:
        raise InputError(f"tiling.size: {tiling.size}, expected {LARGEST_WINDOW} at most")
    return tiling


def read_legend(values: Any) -> Legend:
    """Raises: InputError."""
    fields.check(Listed, values, "legend")
    return Legend.from_dict(values)


def read_thresholds(values: Any, classes: int) -> tuple[float, ...]:
    """A probability for each class. Raises: InputError."""
    if len(values) != classes or not all(0 <= value <= 1 for value in values):
        raise InputError(
            f"thresholds: {fields.shown(values)}, expected a probability for each of {classes}"
            " classes"
        )
    return tuple(values)


def read_tags(values: Any) -> BandTags:
    """Tags of a band. Raises: InputError."""
    known = isinstance(values, dict) and values.get("nodata") in NOT_JSON
    fields.check(BandTags, values | {"nodata": None} if known else values, "tags")
    return BandTags.from_dict(values)


def read_statistics(bands: Sequence[str], values: Any) -> BandStatistics:
    """Statistics of a card. Raises: InputError if they can't be those of its bands."""
    fields.check(BandStatistics, values, "statistics")
    faults = Faults()
    for name, column in values.items():
        if len(column) != len(bands):
            faults.add(
                f"statistics.{name}: {counted(len(column), 'value')} for"
                f" {counted(len(bands), 'band')}"
            )
        elif not all(map(_is_finite, column)):
            faults.add(f"statistics.{name}: not finite ({fields.shown(column)})")
    faults.raise_if_any()
    made = BandStatistics.from_dict(values)
    for band, std, low, high in zip(bands, made.std, made.low, made.high, strict=True):
        # A band that is constant has no deviation, and tells the network nothing.
        if not LEAST_STD <= std <= MOST and not std == 0 == high - low:
            faults.add(f"statistics.std: {std:g} of {band}, expected a deviation above 0")
    faults.raise_if_any()
    return made


def check_values(values: dict[str, Any], faults: Faults) -> None:
    """Look at what has the right type."""
    check_common(values, faults)
    nodata = values["nodata"]
    if isinstance(nodata, str) and nodata != "none":
        faults.add(f"nodata: {fields.shown(nodata)}, expected a number, none or null")
    if values["pixel_size_on"] not in (GROUND, ON_MAP):
        faults.add(f"pixel_size_on: {fields.shown(values['pixel_size_on'])}, unknown")
    if not 0 < values["pixel_ratio"] <= MOST:
        faults.add(f"pixel_ratio: {fields.shown(values['pixel_ratio'])}, expected a ratio above 0")
    side = values["smooth"]
    if side < 0 or (side and side % 2 == 0):
        faults.add(f"smooth: {fields.shown(side)}, expected an odd number, or 0")


def check_common(values: dict[str, Any], faults: Faults) -> None:
    """What the cards of networks and of encoders have in common."""
    bands = values["bands"]
    if not bands or not all(bands):
        faults.add(f"bands: {fields.shown(bands)}, expected a name for each")
    twice = [band for band, count in Counter(bands).items() if count > 1]
    if twice:
        faults.add(f"bands: {', '.join(twice[:3])} named more than once")
    try:
        real = np.dtype(values["dtype"]).kind in "uif"
    except TypeError:
        real = False
    if not real:
        faults.add(f"dtype: {fields.shown(values['dtype'])}, expected whole or real numbers")
    size = values["pixel_size_m"]
    if not _is_finite(size) or size < 0:
        faults.add(f"pixel_size_m: {size}, expected metres")


def _is_finite(value: float) -> bool:
    """Whether a number of any length is one that networks compute with."""
    return -MOST <= value <= MOST
