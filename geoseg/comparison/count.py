"""Count what became of what, in pixels and hectares, while strips of two maps go by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from geoseg.comparison.places import Places
from geoseg.comparison.strips import NO_AFTER, NO_BEFORE, UNDECIDED, UNSURE, Strip
from geoseg.comparison.width import Settled, Width
from geoseg.evaluation.pairs import PairNumbers
from geoseg.geo.grid import Grid
from geoseg.geo.ground import HECTARE
from geoseg.labels.zones import Zones

REASONS = {
    0: "no class in either map",
    NO_BEFORE: "no class in the map before",
    NO_AFTER: "no class in the map after",
    UNDECIDED: "no decision in one of the maps",
    UNSURE: "less sure than asked for",
}
"""Why pixels are not compared."""


@dataclass
class Counts:
    """Pixels and hectares on the ground, each pixel of its own size."""

    pixels: np.ndarray
    """(K, K) rows before, columns after."""
    hectares: np.ndarray
    """(K, K) the same on the ground."""
    left_out: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By reason, pixels and hectares that were not compared."""
    changed: tuple[int, float] = (0, 0.0)
    """Pixels and hectares of change."""
    thin: tuple[int, float] = (0, 0.0)
    """What of it is one pixel wide."""
    zones: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))
    """(Z + 1, K, K) hectares; the first is what lies in no zone."""
    zone_pixels: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.int64))
    overlap: float = 0.0
    """Hectares that lie in several zones."""

    @property
    def thin_share(self) -> float:
        """What share of the changed area is one pixel wide; NaN without change."""
        return self.thin[1] / self.changed[1] if self.changed[1] else float("nan")


class Counter:
    """Adds up strips of full width, from top to bottom."""

    def __init__(self, grid: Grid, pairs: PairNumbers, zones: Zones | None) -> None:
        self._grid, self._pairs, self._zones = grid, pairs, zones
        self._rows = 1 if zones is None else len(zones) + 1
        shape = (self._rows, pairs.count)
        self._pixels, self._hectares = np.zeros(shape, np.int64), np.zeros(shape)
        self._overlap = 0.0
        self._width = Width(grid.width)
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        self.places = Places(grid)

    def add(self, strip: Strip) -> None:
        window, numbers = strip
        zoned = None if self._zones is None else self._zones.burn(window)
        again = None
        if zoned is not None and self._zones is not None:
            again = self._zones.overlap(window, zoned)
        for part, m2 in self._grid.alike(window):
            inside = part.within(window)
            own = numbers[inside]
            if zoned is None:
                counts = {0: self._pairs.counts(own)}
            else:
                counts = self._pairs.counts_by(own, zoned[inside], self._rows)
            for row, count in counts.items():
                self._pixels[row] += count
                self._hectares[row] += count * (m2 / HECTARE)
            if again is not None:
                self._overlap += int(np.count_nonzero(again[inside])) * m2 / HECTARE
        self._settle(self._width.add(window, self._pairs.changed(numbers)))

    def _settle(self, settled: Iterator[Settled]) -> None:
        for window, changed, wide in settled:
            if not changed.any():
                continue
            self.places.add(window, wide)
            for part, m2 in self._grid.alike(window):
                inside = part.within(window)
                for what, mask in (("changed", changed), ("wide", wide)):
                    count = int(np.count_nonzero(mask[inside]))
                    self._sums[what][0] += count
                    self._sums[what][1] += count * m2 / HECTARE

    def finish(self) -> Counts:
        self._settle(self._width.rest(self._grid.height))
        pixels, hectares = self._pairs.split(self._pixels), self._pairs.split(self._hectares)
        left_out = {}
        for number, why in REASONS.items():
            place = self._pairs.reason(number) if number else 0
            if count := int(self._pixels[:, place].sum()):
                left_out[why] = (count, float(self._hectares[:, place].sum()))
        total, areas = pixels.sum(axis=0), hectares.sum(axis=0)
        changed = float((areas - np.diag(np.diag(areas))).sum())  # 0.0 where nothing changed
        counts = Counts(total, areas, left_out, (int(total.sum() - np.trace(total)), changed))
        # Areas by strips that lie a row apart differ by a hair: the share is taken of one kind.
        all_, wide = self._sums["changed"], self._sums["wide"]
        if all_[1]:
            counts.thin = (int(all_[0] - wide[0]), changed * (1 - wide[1] / all_[1]))
        if self._zones is not None:
            counts.zones, counts.zone_pixels = hectares, pixels
            counts.overlap = self._overlap
        return counts
