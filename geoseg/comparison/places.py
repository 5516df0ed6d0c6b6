"""Find the places of a map where most changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.geo.grid import Grid, Window

SIDE = 400
"""Side of a place in pixels, about: what fits three times beside each other on a page."""


@dataclass(frozen=True)
class Place:
    """A part of the map."""

    window: Window
    changed: int
    """Pixels of change that is at least two pixels wide."""


class Places:
    """Counts change in squares that partition a grid."""

    def __init__(self, grid: Grid) -> None:
        self._rows, self._columns = _cuts(grid.height), _cuts(grid.width)
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
        ranked = np.argsort(-self._counts, kind="stable")[:count]
        across = len(self._columns) - 1
        places = []
        for cell in ranked.tolist():
            row, column = divmod(cell, across)
            top, left = int(self._rows[row]), int(self._columns[column])
            height = int(self._rows[row + 1]) - top
            width = int(self._columns[column + 1]) - left
            if self._counts[cell]:
                places.append(Place(Window(top, left, height, width), int(self._counts[cell])))
        return places


def _cuts(length: int) -> np.ndarray:
    """Where an axis is cut into parts of about one length."""
    parts = max(1, round(length / SIDE))
    return np.array([length * i // parts for i in range(parts + 1)])
