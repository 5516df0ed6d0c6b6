"""Read a raster at halved sizes, whether or not its file has overviews.

Level 0 is the raster itself, level n has a pixel for each 2ⁿ × 2ⁿ of it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np

from geoseg.geo.grid import Grid, Window

HELD = 2048
"""Pixels of a side up to which a level is held in memory; smaller levels are made of it."""
Read = Callable[[Window, "tuple[int, int]"], "tuple[np.ndarray, np.ndarray]"]
"""Window and shape to decimate to → pixels (C, h, w), valid (h, w)."""


class Pyramid:
    """A raster of a scene; holds one small level of it, and no open file."""

    def __init__(self, grid: Grid, read: Read) -> None:
        self.grid = grid
        self._read = read
        self._lock = Lock()
        self._held: tuple[np.ndarray, np.ndarray] | None = None
        self.level = 0
        """That is held."""
        while max(grid.height, grid.width) >> self.level > HELD:
            self.level += 1

    def window(self, level: int) -> Window:
        """All of a level. What a halved pixel does not fill at the right and bottom is left out."""
        return Window(0, 0, max(1, self.grid.height >> level), max(1, self.grid.width >> level))

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (C, h, w) and valid (h, w) of the level that is held; the first call reads it.

        Raises: InputError if the file is damaged.
        """
        with self._lock:
            if self._held is None:
                window = self.window(self.level)
                self._held = self._read(
                    self._whole(window, self.level), (window.height, window.width)
                )
            return self._held

    def read(self, window: Window, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (C, h, w) and valid (h, w) of a window of a level, inside it."""
        if level < self.level:
            return self._read(self._whole(window, level), (window.height, window.width))
        data, valid = self.held()
        step = 2 ** (level - self.level)
        rows = slice(window.top * step, window.bottom * step, step)
        columns = slice(window.left * step, window.right * step, step)
        return data[:, rows, columns], valid[rows, columns]

    def _whole(self, window: Window, level: int) -> Window:
        """A window of a level in pixels of the raster itself."""
        step = 2**level
        whole = Window(
            window.top * step, window.left * step, window.height * step, window.width * step
        )
        return whole.intersect(self.grid.window) or self.grid.window
