"""Detect dates in different units within one series.

Seasons, clouds and snow change brightness by less than one hundred times; units do by more. Told by
the median over the bands of each date's 98th percentile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import numpy as np

from geoseg.errors import InputError
from geoseg.outputs.counted import counted
from geoseg.scenes.measure_units import remedy
from geoseg.series.dates import some

STEP = 64.0
"""Factor between two neighbours, in order of brightness, that neither cloud nor season makes."""
REAL_STEP = 8.0
"""The same where only the darker ones do not pass 2, as reflectance 0..1 does not."""


def levels(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """How bright each date is (T,), NaN where next to nothing is clear.

    values: (T, C, pixels). missing: the same, bool.
    """
    found = np.full(values.shape[:2], np.nan)
    for place in np.ndindex(*found.shape):
        clear = values[place][~missing[place]]
        if clear.size >= 16:
            found[place] = np.percentile(clear, 98)
    known = np.isfinite(found).any(axis=1)
    made = np.full(len(values), np.nan)
    made[known] = np.nanmedian(found[known], axis=1)
    return made


def check(names: Sequence[str], dates: Sequence[date], bright: np.ndarray, dtype: str) -> None:
    """Raises: InputError naming the dates of either unit, if there are two.

    names, dates, bright: of each date of each tile (n,): its tile, day and `levels`.
    """
    _check_decibels(names, dates, bright)
    known = np.flatnonzero(np.isfinite(bright) & (bright > 0))
    order = known[np.argsort(bright[known], kind="stable")]
    gaps = [(bright[b] / bright[a], place) for place, (a, b) in enumerate(pairwise(order), 1)]
    if not gaps:
        return
    factor, cut = max(gaps)
    low, high = order[:cut], order[cut:]
    is_real = bright[low].max() <= 2 < bright[high].min() and dtype.startswith("float")
    if factor < (REAL_STEP if is_real else STEP):
        return
    here, there = (float(np.median(bright[part])) for part in (low, high))
    two = (here, "float32" if is_real else dtype), (there, dtype)
    few = len(low) < len(high)
    (mine, other), fewer = (two if few else two[::-1]), (low if few else high)
    rest = high if few else low
    tiles = sorted({names[place] for place in fewer})
    raise InputError(
        f"series {', '.join(tiles[:3])}: dates differ in units: values reach about {mine[0]:.4g} on"
        f" {counted(len(fewer), 'date')} ({some({dates[n] for n in fewer})}) and {other[0]:.4g} on"
        f" {len(rest)} others ({some({dates[n] for n in rest})}); bring the former"
        f" to the unit of the latter ({remedy(mine, other)}?), leave them out, or set"
        " series.check=false if the images really differ so"
    )


def _check_decibels(names: Sequence[str], dates: Sequence[date], bright: np.ndarray) -> None:
    """Raises: InputError if radar is in decibels on some dates, and as power on the others."""
    power, decibels = (bright > 0) & (bright <= 2), bright < -2
    if not (power.any() and decibels.any() and (power | decibels)[np.isfinite(bright)].all()):
        return
    few = power if power.sum() < decibels.sum() else decibels
    fewer = np.flatnonzero(few).tolist()
    tiles = sorted({names[place] for place in fewer})
    what = ("power (0..1)", "decibels") if few is power else ("decibels", "power (0..1)")
    raise InputError(
        f"series {', '.join(tiles[:3])}: dates differ in units: {what[0]} on"
        f" {counted(len(fewer), 'date')} ({some({dates[n] for n in fewer})}),"
        f" {what[1]} on the others; bring the former to the unit of the latter"
        " (dB = 10 · log10(power)), leave them out, or set series.check=false if the images really"
        " differ so"
    )
