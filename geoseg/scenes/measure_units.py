"""Guess the units of reflectance by the range of the values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from geoseg.scenes.bands import BandStatistics

BRIGHTER, DARKER = 8, 32
"""Factors between value ranges from which on units differ: a scene may hold less than all there is,
but not far more."""
SLACK = 4.0
"""Factor by which the ratio of the values may miss that of the units: a scene may be darker."""
FACTORS = (10.0, 100.0, 255.0, 256.0, 1000.0, 10_000.0, 65_535.0)
"""Between units that are in use."""
ALIKE = 3.2
"""Factor within which the middle or the bright end of some band is that of the training: of 13,800
pairs of a real scene, or a window of it of 64 pixels or more, and another, none reached 2.7. Bits
that images use, 8, 10 or 12, differ by 4, which another place makes a bit more or less."""
OFFSET = 1000.0
"""Of Sentinel-2's reflectance × 10,000 since baseline 04.00."""
NEAR_OFFSET = 300.0
"""By which the lifts of a band's dark end and of its middle may miss that."""
Values = tuple[float, str]
"""Highest value and data type."""


def unit_of(values: Values) -> float:
    """What the brightest that can be measured is called: 1, 100, 255, 10 000 or 65 535."""
    high, dtype = values
    real = dtype.startswith("float")
    if high <= 2:
        return 1.0
    if real and high <= 120:
        return 100.0
    if high <= 255:
        return 255.0
    return 10_000.0 if high <= 32_767 else 65_535.0


def factor_between(here: Values, there: Values) -> float:
    """What the values here are multiplied by to be in the unit of those there."""
    ratio = there[0] / here[0] if here[0] > 0 and there[0] > 0 else 1.0
    one, two = unit_of(here), unit_of(there)
    factor = two / one
    if {one, two} == {255.0, 65_535.0}:  # 16 bits become 8 by leaving out the lower 8
        factor = 256.0 if two > one else 1 / 256
    if factor != 1 and abs(math.log(factor / ratio)) <= math.log(SLACK):
        return factor
    candidates = [f for known in FACTORS for f in (known, 1 / known)]
    return min(candidates, key=lambda known: abs(math.log(known / ratio)))


def remedy(here: Values, there: Values) -> str:
    """How values get the unit of others, for people: multiply by 10000."""
    factor = factor_between(here, there)
    shown = factor if factor >= 1 else 1 / factor
    number = f"{shown:.10g}" if float(shown).is_integer() else f"{shown:.3g}"
    return f"{'multiply' if factor >= 1 else 'divide'} by {number}"


def gain(values: Mapping[int, np.ndarray], statistics: BandStatistics) -> float | None:
    """By what all bands are brighter than those of the training, below 1 = darker; None if not all.

    values: of each band that counts (n,), none empty, by its place in the statistics. Ground,
    season and clouds change some bands, or the middle and not the bright end; exposure and units
    change all. Of a single band, and of numbers around 0 (indices, decibels), that can't be told.
    """
    mean, high, low = (
        np.array(of)[list(values)] for of in (statistics.mean, statistics.p98, statistics.p2)
    )
    if len(values) < 2 or mean.min() <= 0 or low.min() < 0 or high.min() <= 0:
        return None
    here = np.array([(np.median(band), np.percentile(band, 98)) for band in values.values()])
    ratios = here / np.array([mean, high]).T
    if ratios.min() < ALIKE and not 0 < ratios.max() <= 1 / ALIKE:
        return None
    return float(np.median(ratios))


def lift(values: Mapping[int, np.ndarray], statistics: BandStatistics) -> float | None:
    """Sentinel-2's offset, or less it, if all bands are higher or lower by that than in the
    training, at their dark end and in the middle; None if not.

    values: as of `gain`. Ground and light lift some bands, or the middle and not the dark end.
    """
    mean, low = (np.array(of)[list(values)] for of in (statistics.mean, statistics.p2))
    if len(values) < 2 or low.min() < 0:
        return None
    here = np.array([(np.percentile(band, 2), np.mean(band)) for band in values.values()])
    lifts = here - np.array([low, mean]).T
    for offset in (OFFSET, -OFFSET):
        if (np.abs(lifts - offset) <= NEAR_OFFSET).all():
            return offset
    return None


def is_beyond_zero(values: Mapping[int, np.ndarray], statistics: BandStatistics) -> bool:
    """Whether nearly all values of all bands are on the other side of 0 than those of the training:
    radar as power, say, and not in decibels.

    values: as of `gain`, of one band as well.
    """
    low, high = (np.array(of)[list(values)] for of in (statistics.p2, statistics.p98))
    here = np.array([np.percentile(band, (2, 98)) for band in values.values()]).reshape(-1, 2)
    above, below = (here[:, 0] >= 0) & (high < 0), (here[:, 1] < 0) & (low >= 0)
    return len(here) > 0 and bool(above.all() or below.all())
