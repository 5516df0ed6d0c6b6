"""Find fill values that no tag declares.

-9999, 32769 or 65535 in a file that does not say that they mean nodata would be taken as
measurements. Told by what no measurement does: one and the same number, in a share of the pixels
that is no accident, far beyond the spread of the others, with next to nothing in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from geoseg.geo.grid import Grid, Window
from geoseg.outputs.counted import few
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.stack import observed

LEAST_SHARE = 5e-4
"""Share of the pixels that one number must have."""
FEWEST = 16
"""Pixels that it must have: a block of 4 × 4."""
CODES = (-999.0, -3000.0, -9999.0, -28672.0, -99999.0, -32767.0, -32768.0)
"""Numbers that are written for nothing (-3000 in the indices of MODIS, -28672 in its reflectance):
of these, one pixel is enough, as in a small table, half the distance is, and nearer ones may be
more frequent."""
MOST_VALUES = 4
"""Fill values that are looked for at either end of a band."""
APART = 1.0
"""Distance from the others, in their spread from the 1st to the 99th percentile."""
BETWEEN = 0.2
"""Pixels in the half of that distance next to it, as a share of its own, at most: the bright end of
real measurements thins out, and blocks of fill have mixed pixels along their edges only."""
KINDS = 16
"""Different numbers that a band has, at least: of classes, rare ones are no fill."""
KEPT = 1_000_000
"""Values kept of a band, about."""
SHOWN = 5
"""Scenes named in a message."""
FRAME_SHARE = 0.01
"""Share of the pixels from which on a frame is more than a few dark pixels at the edge."""

CLEAR = 0.02
"""Share of the spread of all else that must lie between it and the frame of a single band: heights
begin at 0, but next to it."""


@dataclass(frozen=True)
class Suspect:
    """A number that looks like fill."""

    value: float
    share: float
    """Of the band's pixels."""


Usual = tuple[float, float, float]
"""Lowest, highest and spread of what is known to be measurements, as in the training."""


def suspects(values: np.ndarray, usual: Usual | None = None) -> list[Suspect]:
    """Numbers of a band (n,) that look like fill, the most frequent first.

    usual: None = what is far is told by the values themselves. Bytes have no suspects: there 0 and
    255 are shadows and bright roofs.
    """
    order = np.sort(values)
    if not len(order) or _are_bytes(order):
        return []
    core, ends = _peeled(order)
    found = [
        Suspect(value, count / len(order))
        for value, count in ends.items()
        if _is_far(value, count, core, usual)
    ]
    if usual is not None and len(found) > 1 and sum(one.share for one in found) > 0.99:
        return []  # no fill, but a band in other units
    return sorted(found, key=lambda one: -one.share)


def _peeled(order: np.ndarray) -> tuple[np.ndarray, dict[float, int]]:
    """Sorted values without the frequent ones at either end, and these with their counts."""
    core, ends = order, dict[float, int]()
    for end in (-1, 0):
        for _ in range(MOST_VALUES):
            if not len(core):
                break
            value = core[end]
            first = int(np.searchsorted(core, value))
            last = int(np.searchsorted(core, value, side="right"))
            fewest = 1 if value in CODES else FEWEST
            if last - first < max(fewest, LEAST_SHARE * len(order)):
                break
            ends[float(value)] = last - first
            core = core[:first] if end else core[last:]
    return core, ends


def _are_bytes(order: np.ndarray) -> bool:
    if order.dtype.itemsize == 1:
        return True
    return bool(order[0] >= 0 and order[-1] <= 255 and (order == np.rint(order)).all())


def _is_far(value: float, count: int, core: np.ndarray, usual: Usual | None) -> bool:
    """Whether a number lies far from the others (sorted), or from what is usual."""
    if usual is not None:
        low, high, spread = usual
    else:
        if len(core) < FEWEST or len(np.unique(core[:: max(1, len(core) // 5000)])) < KINDS:
            return False
        # A coarser raster that is read on finer pixels holds mixtures along the edge of its fill.
        ends = (5, 5, 95, 95) if value in CODES else (0.1, 1, 99, 99.9)
        low, inner, outer, high = np.percentile(core, ends)
        spread = outer - inner
    apart = APART * spread * (0.5 if value in CODES else 1)
    if low - apart <= value <= high + apart:
        return False
    near = high if value > high else low
    middle = (value + near) / 2
    between = (core > middle).sum() if value > near else (core < middle).sum()
    return bool(between <= BETWEEN * count)


@dataclass
class FillCensus:
    """Gathers the values of bands window by window, and says what looks like fill."""

    bands: tuple[str, ...]
    statistics: BandStatistics | None = None
    """Of the training, whose range is what is usual; None = the values speak for themselves."""
    zero: int = 0
    """Pixels that hold data which is 0 in all bands."""
    partly_zero: int = 0
    """Those of which some bands hold 0 and others not, as in deep shadow."""
    held: int = 0
    """Pixels of which all bands hold data."""
    _values: list[list[np.ndarray]] = field(default_factory=list)
    _kept: int = 0
    _step: int = 1

    @classmethod
    def for_pixels(cls, bands: tuple[str, ...], pixels: int) -> FillCensus:
        """One that looks at each n-th row and column only, where so many pixels are to come."""
        return cls(bands, _step=max(1, math.ceil(math.sqrt(pixels / KEPT))))

    def add(self, image: np.ndarray, holds: np.ndarray) -> None:
        """Add a window: image (C, H, W), and (C, H, W) or (H, W), where it holds data."""
        holds = np.broadcast_to(holds, image.shape)
        image, holds = (a[:, :: self._step, :: self._step] for a in (image, holds))
        # 0 is what deep shadow or still water can have in a band, but hardly in all of them.
        black = (image == 0) & holds
        everywhere = black.all(axis=0)
        self.held += int(holds.all(axis=0).sum())
        self.zero += int(everywhere.sum())
        self.partly_zero += int((black.any(axis=0) & ~everywhere).sum())
        dark = (image == 0) & ~everywhere
        self._values.append(
            [band[here & ~lone] for band, here, lone in zip(image, holds, dark, strict=True)]
        )
        self._kept += image[0].size
        if self._kept > KEPT:
            self._step *= 2
            self._values = [[band[::4] for band in part] for part in self._values]
            self._kept //= 4

    def values(self, place: int) -> np.ndarray:
        """The values kept of a band (n,)."""
        parts = [part[place] for part in self._values]
        return np.concatenate(parts) if parts else np.empty(0)

    def said_of_zeros(self, name: str) -> list[str]:
        """What a person must know of dates on which nothing was imaged, as 0 in all bands tells.

        For series, which have no frame to tell it by. Not of a single band, where 0 may be a
        measurement, nor of bytes, nor where single bands are 0 as often.
        """
        share = self.zero / max(1, self.held)
        alone = len(self.bands) < 2 or self.partly_zero >= self.zero
        if not FRAME_SHARE <= share < 1 or alone or self._holds_bytes():
            return []
        return [
            f"{name}: 0 stands in all bands of {_percent(share)} of the observations: nothing was"
            " imaged there, and no file declares it? They count as data; if 0 means nodata, set"
            " bands.nodata=0"
        ]

    def _holds_bytes(self) -> bool:
        return all(_are_bytes(np.sort(self.values(place))) for place in range(len(self.bands)))

    def found(self, usual: Sequence[Usual | None] = ()) -> dict[str, list[Suspect]]:
        """Suspects of each band that has any. usual: of each band; by default the training's."""
        known = list(usual) or usual_of(self.statistics, len(self.bands))
        made = {
            band: suspects(self.values(place), known[place])
            for place, band in enumerate(self.bands)
        }
        return {band: some for band, some in made.items() if some}


def usual_of(statistics: BandStatistics | None, bands: int) -> list[Usual | None]:
    """What is usual in a training, per band; None where it tells nothing."""
    if statistics is None:
        return [None] * bands
    columns = zip(statistics.low, statistics.high, statistics.p2, statistics.p98, strict=True)
    return [(low, high, p98 - p2) if p98 > p2 else None for low, high, p2, p98 in columns]


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
            f" nodata, set bands.nodata={_number(value)} (in place of what the files say)"
        )
    return told


def without(found: dict[str, list[Suspect]], values: Iterable[float]) -> dict[str, list[Suspect]]:
    """What looks like fill but for some values, of which more is known."""
    known = set(values)
    return {band: [one for one in ones if one.value not in known] for band, ones in found.items()}


def census_of(
    values: np.ndarray, bands: tuple[str, ...], statistics: BandStatistics | None = None
) -> FillCensus:
    """What stands in the observations (n, T, C) of pixels, or of samples."""
    census = FillCensus(bands, statistics)
    step = max(1, values.shape[0] * values.shape[1] // KEPT)
    part = np.asarray(values[::step]).reshape(-1, values.shape[2])
    census.add(part.T[:, :, None], observed(part).T[:, :, None])
    return census


def said_of_fill(name: str, census: FillCensus) -> list[str]:
    """Sentences for people on what looks like fill in a series."""
    return said(name, census.found(), len(census.bands)) + census.said_of_zeros(name)


def partial_note(name: str, share: float, partial: bool, what: str = "pixels with data") -> str:
    """What is said of pixels of which some bands have no data."""
    told = f"{name}: some bands have no data in {_percent(share)} of the {what}"
    if partial:
        return f"{told}; the bands' mean stands there (bands.partial=true)"
    return f"{told}; these count as nodata (bands.partial=true keeps them)"


def touches_edge(pixels: np.ndarray, window: Window, grid: Grid) -> bool:
    """Whether any of the pixels (H, W) of a window, or of it thinned out, is at the grid's edge."""
    edges = [
        (window.top == 0, pixels[0]),
        (window.left == 0, pixels[:, 0]),
        (window.bottom == grid.height, pixels[-1]),
        (window.right == grid.width, pixels[:, -1]),
    ]
    return any(at and bool(line.any()) for at, line in edges)


def frame_values(dtype: str, *, others: float | None) -> tuple[float, ...]:
    """What frames around images hold that declare no nodata value: black, in bytes white too.

    others: the nodata value of other images of the kind, if they declare one. White may be a cloud,
    where these have black frames.
    """
    if others is None:
        return (0.0, 255.0) if dtype == "uint8" else (0.0,)
    return () if others == 0 else (0.0,)


def corners(pixels: np.ndarray, window: Window, grid: Grid) -> int:
    """How many corners of the grid are among the pixels (H, W) of a window, thinned out or not."""
    rows = [row for at, row in ((window.top == 0, 0), (window.bottom == grid.height, -1)) if at]
    columns = [col for at, col in ((window.left == 0, 0), (window.right == grid.width, -1)) if at]
    return sum(bool(pixels[row, column]) for row in rows for column in columns)


def stands_apart(values: np.ndarray, value: float) -> bool:
    """Whether a number lies beyond all others of a band (n,), with a gap between: 0 above decibels,
    or below the darkest that a panchromatic band shows."""
    others = values[values != value]
    if len(others) < FEWEST:
        return False
    low, inner, outer, high = np.percentile(others, (0.1, 1, 99, 99.9))
    return bool(max(low - value, value - high) > CLEAR * (outer - inner))


def frame_note(value: float, shares: dict[str, float]) -> str:
    """What is said of one value in all bands of images, up to a corner. shares: by their names."""
    names, most = list(shares), max(shares.values())
    return (
        f"{few(names, SHOWN)}: {value:g} stands in all bands of"
        f" {'up to ' if len(names) > 1 else ''}{_percent(most)} of the pixels, a corner among them:"
        " a frame without data that no file declares? Its pixels count as data; if it means"
        f" nodata, set bands.nodata={value:g} (bands.nodata=none says that it is data)"
    )


def _number(value: float) -> str:
    return f"{value:.10g}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.2%}" if share >= 1e-4 else "under 0.01%"
