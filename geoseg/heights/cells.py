"""Sum up points per pixel, on the disk: a cloud of any size takes the same memory.

What is kept are whole numbers whose sums and maxima do not depend on the order of the points, so
that a cloud cut in two gives what the whole one gives. Letters in shapes: H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoseg.geo.grid import Grid, Window
from geoseg.heights.cloud import Points
from geoseg.heights.settings import HeightSettings

MM = 1000
"""Heights are kept in whole millimetres."""
LIFT = 1 << 30
"""Millimetres added to the highest point's height, so that 0 means that there is none."""
PLANES = {
    "top": np.int32, "count": np.int32, "ground": np.int64, "ground_count": np.int32,
    "intensity": np.int64, "returns": np.int64,
}  # fmt: skip
"""Highest point, number of points, sum of the ground's heights and of what the points say."""


class Cells:
    """The points of one cloud by pixel of a grid; those outside it are passed over."""

    def __init__(self, folder: Path, grid: Grid) -> None:
        """folder: to be made, for files that are of use as long as this object is."""
        folder.mkdir(parents=True)
        self.grid = grid
        self.codes = np.zeros(256, np.int64)
        """Points of each class that lie on the grid."""
        shape = (grid.height, grid.width)
        self._planes = {
            name: np.memmap(folder / name, dtype, "w+", shape=shape)
            for name, dtype in PLANES.items()
        }

    def add(self, points: Points, x: np.ndarray, y: np.ndarray, settings: HeightSettings) -> None:
        """Add points. x, y: where they are in the grid's CRS."""
        t = self.grid.transform
        column = np.floor((x - t.c) / t.a)
        row = np.floor((y - t.f) / t.e)
        inside = (column >= 0) & (column < self.grid.width)
        inside &= (row >= 0) & (row < self.grid.height)
        self.codes += np.bincount(points.codes[inside], minlength=256)
        inside &= ~np.isin(points.codes, settings.outlier)
        place = row[inside].astype(np.intp) * self.grid.width + column[inside].astype(np.intp)
        z = np.rint(points.z[inside] * MM).astype(np.int64)
        ground = np.isin(points.codes[inside], settings.ground)
        np.maximum.at(self._flat("top"), place, np.clip(z + LIFT, 1, None).astype(np.int32))
        self._sum("count", place, np.ones(len(place), np.int32))
        self._sum("ground", place[ground], z[ground])
        self._sum("ground_count", place[ground], np.ones(int(ground.sum()), np.int32))
        self._sum("intensity", place, points.intensity[inside].astype(np.int64))
        self._sum("returns", place, points.returns[inside].astype(np.int64))

    def read(self, window: Window) -> dict[str, np.ndarray]:
        """The planes (H, W) in a window of the grid."""
        part = window.within(self.grid.window)
        return {name: np.asarray(plane[part]) for name, plane in self._planes.items()}

    def _flat(self, name: str) -> np.ndarray:
        return np.asarray(self._planes[name]).reshape(-1)

    def _sum(self, name: str, place: np.ndarray, values: np.ndarray) -> None:
        np.add.at(self._flat(name), place, values)


def joined(
    cells: list[Cells], grid: Grid, window: Window
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The planes (H, W) of several clouds in a window of a grid, and where there is any of them.

    grid: of the pixels of the cells' grids; the window may reach outside.
    """
    shape = (window.height, window.width)
    planes = {name: np.zeros(shape, dtype) for name, dtype in PLANES.items()}
    covered = np.zeros(shape, bool)
    for one in cells:
        offset = grid.offset(one.grid)
        assert offset is not None
        common = one.grid.window.shift(*offset).intersect(window)
        if common is None:
            continue
        part = common.within(window)
        covered[part] = True
        for name, found in one.read(common.shift(-offset[0], -offset[1])).items():
            mine = planes[name][part]
            (np.maximum if name == "top" else np.add)(mine, found, out=mine)
    return planes, covered
