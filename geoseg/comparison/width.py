"""Tell changes that are one pixel wide, which a shift of half a pixel makes, from wider ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoseg.geo.grid import Window
from geoseg.geo.raster.counts import CHUNK

Settled = tuple[Window, np.ndarray, np.ndarray]
"""Rows of which all neighbours are known: where they lie, what changed, what of it is wide."""


class Width:
    """Finds the changes that are at least two pixels wide: part of a square of 2 × 2 changed pixels
    (an opening by it). Strips of full width come from top to bottom; their height does not matter.
    """

    def __init__(self, width: int) -> None:
        self._row = np.zeros((0, width), bool)
        """The last row, which needs the next one."""
        self._covered = np.zeros(width, bool)
        """What of it is part of a square with the row above."""

    def add(self, window: Window, changed: np.ndarray) -> Iterator[Settled]:
        """Take a strip (h, W) bool; yields the rows that are settled by it."""
        held = len(self._row)
        rows = np.concatenate((self._row, changed))
        wide = np.zeros(rows.shape, bool)
        wide[0] = self._covered
        step = max(1, CHUNK // rows.shape[1])  # a few rows stay in the processor's cache
        for top in range(0, len(rows) - 1, step):
            part = rows[top : top + step + 1]
            squares = part[:-1] & part[1:]
            squares = squares[:, :-1] & squares[:, 1:]
            for upper in (top, top + 1):
                inside = wide[upper : upper + len(squares)]
                inside[:, :-1] |= squares
                inside[:, 1:] |= squares
        self._row, self._covered = rows[-1:].copy(), wide[-1].copy()
        if len(rows) > 1:
            place = Window(window.top - held, window.left, len(rows) - 1, window.width)
            yield place, rows[:-1], wide[:-1]

    def rest(self, bottom: int) -> Iterator[Settled]:
        """The last row of a raster that ends at row `bottom`."""
        if len(self._row):
            place = Window(bottom - 1, 0, 1, self._row.shape[1])
            yield place, self._row, self._covered[None]
