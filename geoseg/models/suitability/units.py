"""Tell whether values are in the units, and of the brightness, that a network saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.errors import InputError
from geoseg.models.card import ModelCard
from geoseg.scenes.bands import nominal_range
from geoseg.scenes.measure_units import BRIGHTER, DARKER, gain, is_beyond_zero, lift, remedy


def said_of_light(
    name: str, values: Sequence[np.ndarray], card: ModelCard, *, adapts: bool = False
) -> list[str]:
    """What is to be said of a scene or table that is far brighter or darker in all bands.

    values: of each band (n,). adapts: whether `geoseg adapt` is for such data.
    """
    known = {n: values[n] for n, band in enumerate(card.bands) if band not in card.extra}
    if is_beyond_zero(known, card.statistics):
        return [
            f"{name}: all bands lie on the other side of 0 than in the training: another unit, as"
            " decibels and power of radar? Then its map is worthless: bring the values to those of"
            " the training"
        ]
    factor = gain(known, card.statistics)
    if factor is None:
        return _said_of_lift(name, lift(known, card.statistics))
    times, how = (factor, "brighter") if factor > 1 else (1 / factor, "darker")
    adapt = ", or measure the network's scaling anew (geoseg adapt)" if adapts else ""
    return [
        f"{name}: all bands are about {times:.2g} times {how} than in the training: another"
        " exposure, level of processing or unit? Then its map is worthless: bring the values to"
        f" those of the training{adapt}"
    ]


def _said_of_lift(name: str, offset: float | None) -> list[str]:
    if offset is None:
        return []
    more, has, had = ("higher", "with", "without") if offset > 0 else ("lower", "without", "with")
    return [
        f"{name}: all bands are about {abs(offset):.0f} {more} than in the training: reflectance"
        f" {has} Sentinel-2's offset, and the training {had} it? Then its map is worthless: bring"
        " the values to those of the training"
    ]


def check_units(
    name: str,
    dtype: str,
    highs: Sequence[float],
    card: ModelCard,
    *,
    usual: Sequence[float] | None = None,
) -> None:
    """Raises: InputError if high values per band are in other units than the training's.

    usual: 98th percentiles per band. A mast in a radar image, or a saturated pixel, is in no other
    unit than all else: where these are alike, the highest values tell nothing.
    """
    if _are_alike(dtype, highs, card.statistics.high, card):
        return
    if usual is not None and _are_alike(dtype, usual, card.statistics.p98, card):
        return
    pairs = _pairs(highs, card.statistics.high, card)
    high, seen = (max(values) for values in zip(*pairs, strict=True))
    raise InputError(
        f"{name}: {dtype} values up to {high:g}, the model saw {card.dtype} up to {seen:g}: other"
        " units; bring them to those of the training"
        f" ({remedy((high, dtype), (seen, card.dtype))}?)"
    )


def _are_alike(dtype: str, highs: Sequence[float], seen: Sequence[float], card: ModelCard) -> bool:
    """Whether high values of the bands may be in the units of those of the training."""
    # Bands of their own units (heights) don't outvote the rest.
    pairs = _pairs(highs, seen, card)
    ratio = float(np.median([nominal_range(high) / nominal_range(own) for high, own in pairs]))
    other_type = dtype != card.dtype
    return BRIGHTER > ratio > 1 / (BRIGHTER if other_type else DARKER)


def _pairs(
    highs: Sequence[float], seen: Sequence[float], card: ModelCard
) -> list[tuple[float, float]]:
    """Here and in the training, of the bands that count."""
    return [
        (high, own)
        for name, high, own in zip(card.bands, highs, seen, strict=True)
        if name not in card.extra or len(card.extra) == len(card.bands)
    ]
