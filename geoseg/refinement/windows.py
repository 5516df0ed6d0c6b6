"""Choose the windows of a scene that corrections touch, and how far each of them counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.geo.grid import Grid, Window
from geoseg.labels.drawn import Placed

NEAREST = 8
"""At this part of the reach a window is asked half as much as on a correction."""


@dataclass(frozen=True)
class Spots:
    """Windows of one size that cover all corrections of a scene."""

    grid: Grid
    size: int
    windows: tuple[Window, ...]

    @classmethod
    def around(cls, placed: Placed, grid: Grid, size: int) -> Spots:
        """Each correction lies in the middle of a window, or near that of one before it.

        A further correction adds windows at the end and moves none.
        """
        chosen: list[Window] = []
        bounds = shapely.bounds(placed.polygons)
        for owner in dict.fromkeys(sorted(placed.owners.tolist())):
            left, bottom = bounds[placed.owners == owner].min(axis=0)[:2]
            right, top = bounds[placed.owners == owner].max(axis=0)[2:]
            box = grid.window_of((left, bottom, right, top)).intersect(grid.window)
            if box is None:
                continue
            for part in _parts(box, size // 2):
                if not any(_holds(window, part, grid) for window in chosen):
                    chosen.append(_centred(part, size, grid))
        return cls(grid, size, tuple(chosen))


def _parts(box: Window, most: int) -> list[Window]:
    """A rectangle in parts of at most so many pixels along a side."""
    return [
        Window(top, left, min(most, box.bottom - top), min(most, box.right - left))
        for top in range(box.top, box.bottom, most)
        for left in range(box.left, box.right, most)
    ]


def inner(window: Window, grid: Grid) -> Window:
    """What lies well inside a window; beyond the scene's edge there is nothing."""
    rim = window.height // 4
    top = window.top + (rim if window.top > 0 else 0)
    left = window.left + (rim if window.left > 0 else 0)
    bottom = window.bottom - (rim if window.bottom < grid.height else 0)
    right = window.right - (rim if window.right < grid.width else 0)
    return Window(top, left, bottom - top, right - left)


def _holds(window: Window, part: Window, grid: Grid) -> bool:
    """Whether a rectangle lies well inside a window."""
    return inner(window, grid).intersect(part) == part


def _centred(part: Window, size: int, grid: Grid) -> Window:
    """The window around the middle of a rectangle, moved into the scene where that has the room."""

    def start(begin: int, length: int, whole: int) -> int:
        return max(0, min(begin + length // 2 - size // 2, whole - size))

    top = start(part.top, part.height, grid.height)
    return Window(top, start(part.left, part.width, grid.width), size, size)


def influence(window: Window, grid: Grid, corrected: np.ndarray, reach: int) -> np.ndarray:
    """How much a window counts (size, size) float32: 1 near corrections, 0 from `reach` on.

    It also falls to 0 at edges of the window behind which the scene goes on. corrected: (size,
    size) bool.
    """
    if not corrected.any():
        return np.zeros(corrected.shape, np.float32)
    near = np.clip(2 - 2 * distance(corrected) / reach, 0, 1)
    rows = _fall(window.top > 0, window.bottom < grid.height, window.height)
    columns = _fall(window.left > 0, window.right < grid.width, window.width)
    return (near * rows[:, None] * columns).astype(np.float32)


def closeness(corrected: np.ndarray, reach: int) -> np.ndarray:
    """How much a window is asked beside others (size, size) float32: the nearer to its corrections,
    the more, so that each of them counts by the window that knows of it. corrected: as above."""
    return (1 / (1 + (NEAREST * distance(corrected) / reach) ** 2)).astype(np.float32)


def _fall(before: bool, after: bool, size: int) -> np.ndarray:
    """1 along an axis, but falling over an eighth of it to those ends that have a neighbour."""
    rim = max(1, size // 8)
    ramp = np.clip((np.arange(size) + 0.5) / rim, 0, 1)
    made = np.ones(size)
    if before:
        made *= ramp
    if after:
        made *= ramp[::-1]
    return made


def distance(corrected: np.ndarray) -> np.ndarray:
    """Pixels (H, W) to the nearest corrected one."""
    from scipy.ndimage import distance_transform_edt  # half as slow as all of geoseg

    return np.asarray(distance_transform_edt(~corrected))
