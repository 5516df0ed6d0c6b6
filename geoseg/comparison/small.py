"""Take changes that are smaller than a minimum area for no change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoseg.comparison.strips import Strip
from geoseg.evaluation.disagreements import square_metres
from geoseg.evaluation.pairs import PairNumbers
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import HECTARE
from geoseg.maps.patches import Patches, Runs


class SmallChanges:
    """Finds patches of one change that cover less than a minimum, in two passes over the strips."""

    def __init__(self, grid: Grid, pairs: PairNumbers, minimum_m2: float) -> None:
        self._grid, self._pairs, self._minimum = grid, pairs, minimum_m2
        self._patches = Patches(grid.width)
        size = pairs.size
        matrix = np.arange(1, size * size + 1, dtype=pairs.dtype).reshape(size, size)
        np.fill_diagonal(matrix, 0)
        self._changes = pairs.table(matrix)
        stays = np.repeat(1 + np.arange(size) * (size + 1), size).reshape(size, size)
        self._stays = pairs.table(stays.astype(pairs.dtype))
        """Number of a pixel that keeps its class, by the number of its change."""
        self.dropped = np.zeros((size, size))
        """(K, K) hectares of change that are too small."""
        self.count = 0
        """Patches that are."""

    def learn(self, strip: Strip) -> None:
        """The first pass."""
        window, numbers = strip
        runs = self._runs(window, numbers)
        self._patches.add(runs, runs.lengths * square_metres(self._grid, window, runs))

    def decide(self) -> None:
        """Between the passes."""
        self._patches.finish()
        areas = self._patches.areas
        self._small = areas < self._minimum
        self.count = int(np.count_nonzero(self._small))
        counts = np.bincount(
            self._patches.values[self._small],
            weights=areas[self._small] / HECTARE,
            minlength=self._pairs.count,
        )
        self.dropped = self._pairs.split(counts)

    def drop(self, strips: Iterator[Strip]) -> Iterator[Strip]:
        """The second pass: strips in which small changes keep their class."""
        for window, numbers in strips:
            runs = self._runs(window, numbers)
            runs = runs.take(self._small[self._patches.patches_of(runs)])
            lengths = runs.lengths
            begins = (runs.rows - window.top) * window.width + runs.starts
            offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            flat = numbers.reshape(-1)
            flat[np.repeat(begins, lengths) + offsets] = np.repeat(
                self._stays[runs.values], lengths
            )
            yield window, flat.reshape(numbers.shape)

    def _runs(self, window: Window, numbers: np.ndarray) -> Runs:
        changes = self._changes[numbers]
        return Runs.of(changes, window.top)
