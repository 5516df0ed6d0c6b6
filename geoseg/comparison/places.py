"""Find the places of a map where most changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.evaluation.excerpts import between, cuts
from geoseg.geo.grid import Grid, Window


@dataclass(frozen=True)
class Place:
    """A part of the map."""

    window: Window
    changed: int
    """Pixels of change that is at least two pixels wide."""


class Places:
    """Counts change in squares that partition a grid."""

    def __init__(self, grid: Grid) -> None:
        self._rows, self._columns = np.array(cuts(grid.height)), np.array(cuts(grid.width))
        self._row_of = np.repeat(np.arange(len(self._rows) - 1), np.diff(self._rows))
        self._counts = np.zeros((len(self._rows) - 1) * (len(self._columns) - 1), np.int64)

    def add(self, window: Window, changed: np.ndarray) -> None:
        """Count a strip (h, W) bool of full width."""
        across = len(self._columns) - 1
        # Whole parts are counted far faster than pixels are looked up one by one.
        for row in range(int(self._row_of[window.top]), int(self._row_of[window.bottom - 1]) + 1):
            top = max(int(self._rows[row]), window.top) - window.top
            bottom = min(int(self._rows[row + 1]), window.bottom) - window.top
            for column in range(across):
                part = changed[top:bottom, self._columns[column] : self._columns[column + 1]]
                self._counts[row * across + column] += np.count_nonzero(part)

    def most(self, count: int) -> list[Place]:
        """The places with the most change, the first one first; none without change."""
        ranked = np.argsort(-self._counts, kind="stable")[:count].tolist()
        windows = between(self._rows.tolist(), self._columns.tolist())
        changed = self._counts.tolist()
        return [Place(windows[cell], changed[cell]) for cell in ranked if changed[cell]]
