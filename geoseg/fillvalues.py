"""Fill values that nobody declared: numbers far from all others that stand in many pixels.

-9999, 32769 or 65535 in a file that does not say that they mean nodata would be taken as
measurements. Told by what no measurement does: one and the same number, in a share of the pixels
that is no accident, far beyond the spread of the others, with next to nothing in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from geoseg.bands import BandStatistics

LEAST_SHARE = 5e-4
"""Share of the pixels that one number must have."""
FEWEST = 16
"""Pixels that it must have: a block of 4 × 4."""
MOST_VALUES = 4
"""Fill values that are looked for at either end of a band."""
APART = 1.0
"""Distance from the others, in their spread from the 1st to the 99th percentile."""
BETWEEN = 0.2
"""Pixels in the half of that distance next to it, as a share of its own, at most: the bright end of
real measurements thins out, and blocks of fill have mixed pixels along their edges only."""
KINDS = 16
"""Different numbers that a band has, at least: of classes, rare ones are no fill."""
KEPT = 4_000_000
"""Values kept of a band."""
FRAME_SHARE = 0.01
"""Share of the pixels from which on a frame is more than a few dark pixels at the edge."""


@dataclass(frozen=True)
class Suspect:
    """A number that looks like fill."""

    value: float
    share: float
    """Of the band's pixels."""


def suspects(values: np.ndarray, usual: tuple[float, float] | None = None) -> list[Suspect]:
    """Numbers of a band (n,) that look like fill, the most frequent first.

    usual: the range of what is known to be measurements, as in the training; None = told by the
    values themselves. Bytes have no suspects: there 0 and 255 are shadows and bright roofs.
    """
    if values.dtype.itemsize == 1 or not len(values):
        return []
    order = np.sort(values)
    found: list[Suspect] = []
    for end in (-1, 0):
        rest = order
        for _ in range(MOST_VALUES):
            value = rest[end]
            first, last = np.searchsorted(rest, value), np.searchsorted(rest, value, side="right")
            count = int(last - first)
            others = rest[:first] if end else rest[last:]
            if count < FEWEST or count < LEAST_SHARE * len(order):
                break
            if not _is_far(float(value), count, others, usual):
                break
            found.append(Suspect(float(value), count / len(order)))
            rest = others
            if not len(rest):
                break
    return sorted(found, key=lambda one: -one.share)


def _is_far(
    value: float, count: int, others: np.ndarray, usual: tuple[float, float] | None
) -> bool:
    """Whether a number lies far from the others (sorted), or from what is usual."""
    if usual is not None:
        low, high = usual
        apart = APART * (high - low)
        if low - apart <= value <= high + apart:
            return False
        near = high if value > high else low
    else:
        if len(others) < FEWEST or len(np.unique(others[:: max(1, len(others) // 5000)])) < KINDS:
            return False
        inner, outer = np.percentile(others, (1, 99))
        upper = value > others[-1]
        near = float(np.percentile(others, 99.9 if upper else 0.1))
        if abs(value - near) < APART * (outer - inner) or near == value:
            return False
    middle = (value + near) / 2
    between = (others > middle).sum() if value > near else (others < middle).sum()
    return bool(between <= BETWEEN * count)


@dataclass
class FillCensus:
    """Gathers the values of bands window by window, and says what looks like fill."""

    bands: tuple[str, ...]
    statistics: BandStatistics | None = None
    """Of the training, whose range is what is usual; None = the values speak for themselves."""
    _values: list[list[np.ndarray]] = field(default_factory=list)
    _kept: int = 0
    _zero: int = 0
    _pixels: int = 0
    _step: int = 1

    def add(self, image: np.ndarray, holds: np.ndarray) -> None:
        """Add a window: image (C, H, W), and (C, H, W) or (H, W), where it holds data."""
        holds = np.broadcast_to(holds, image.shape)
        image, holds = (a[:, :: self._step, :: self._step] for a in (image, holds))
        self._pixels += int(holds.any(axis=0).sum())
        # 0 is what deep shadow or still water can have in a band, but hardly in all of them.
        nothing = (image == 0).all(axis=0) & holds.all(axis=0)
        self._zero += int(nothing.sum())
        lone = (image == 0) & ~nothing
        self._values.append(
            [band[here & ~dark] for band, here, dark in zip(image, holds, lone, strict=True)]
        )
        self._kept += image[0].size
        if self._kept > KEPT:
            self._step *= 2
            self._values = [[band[::4] for band in part] for part in self._values]
            self._kept //= 4

    def found(self) -> dict[str, list[Suspect]]:
        """Suspects of each band that has any."""
        made: dict[str, list[Suspect]] = {}
        for place, band in enumerate(self.bands):
            parts = [part[place] for part in self._values]
            values = np.concatenate(parts) if parts else np.empty(0)
            usual = None
            if self.statistics is not None:
                usual = self.statistics.low[place], self.statistics.high[place]
                # What the training itself took for fill tells nothing of what is far.
                usual = usual if usual[1] > usual[0] else None
            if some := suspects(values, usual):
                made[band] = some
        return made

    def said(self, name: str) -> list[str]:
        """What is to be said of a scene or series, one sentence for each number."""
        return said(name, self.found(), len(self.bands))


def said(name: str, found: dict[str, list[Suspect]], bands: int) -> list[str]:
    """Sentences for people: value, share, bands and remedy."""
    by_value: dict[float, dict[str, float]] = {}
    for band, ones in found.items():
        for one in ones:
            by_value.setdefault(one.value, {})[band] = one.share
    told = []
    for value, shares in by_value.items():
        where = "all bands" if len(shares) == bands > 1 else f"band {', '.join(shares)}"
        told.append(
            f"{name}: {_number(value)} stands in {_percent(max(shares.values()))} of the pixels of"
            f" {where}, far from all other values: fill that the file does not declare? If it means"
            f" nodata, set bands.nodata={_number(value)}"
        )
    return told


def frame_share(image: np.ndarray, nodata: Sequence[float | None]) -> float:
    """Share of the pixels of an image (C, H, W) that equal a nodata value (C) in all bands."""
    if any(value is None or value != value for value in nodata) or not image.size:
        return 0.0
    pairs = zip(image, nodata, strict=True)
    equal = np.logical_and.reduce([band == value for band, value in pairs])
    return float(equal.mean())


def _number(value: float) -> str:
    return f"{value:.10g}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.2%}"
