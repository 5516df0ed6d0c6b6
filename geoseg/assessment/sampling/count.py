"""Count the pixels of strata and classes in one pass over a map, cell by cell."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from geoseg.assessment.sampling.population import Source
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import HECTARE, ground
from geoseg.geo.legend import NODATA
from geoseg.geo.raster.counts import CHUNK, CODES, counts_by_columns
from geoseg.outputs.threads import prefetch

CELL = 256
"""Side of a cell in pixels, where pixels are alike."""
UNLIKE = 1e-3
"""Share of the largest pixel by which those of one cell may differ in area: the cell's middle has
their mean to a millionth."""
WIDEST = 1 << 24
"""Pixels of a strip in memory."""


@dataclass(frozen=True)
class Lattice:
    """Cells that partition a grid. They depend on nothing else: so pixels have a fixed order, by
    cells and by rows within them, however the map is read."""

    grid: Grid
    height: int
    width: int
    """Of a cell in pixels."""

    @classmethod
    def of(cls, grid: Grid) -> Lattice:
        """Cells of CELL × CELL pixels, longer and narrower where the area of pixels changes."""
        height = width = CELL
        for axis in (0, 1):
            while (height, width)[axis] > 1:
                lattice = cls(grid, height, width)
                if lattice._unlike(axis) <= UNLIKE:
                    break
                if axis == 0:
                    height, width = height // 2, min(2 * width, 1 << 16)
                else:
                    width = width // 2
        return cls(grid, height, width)

    @property
    def rows(self) -> int:
        return -(-self.grid.height // self.height)

    @property
    def columns(self) -> int:
        return -(-self.grid.width // self.width)

    def cell(self, row: int, column: int) -> Window:
        cell = Window(row * self.height, column * self.width, self.height, self.width)
        inside = cell.intersect(self.grid.window)
        assert inside is not None
        return inside

    def areas(self) -> np.ndarray:
        """Hectares (rows, columns) of a pixel in the middle of each cell; 0 where undefined."""
        rows, columns = (
            (np.arange(0, length, side) + np.minimum(np.arange(side, length + side, side), length))
            / 2
            for length, side in ((self.grid.height, self.height), (self.grid.width, self.width))
        )
        return hectares(self.grid, *np.meshgrid(rows, columns, indexing="ij"))

    def _unlike(self, axis: int) -> float:
        """By how much pixels of neighbouring cells differ along an axis, of the largest."""
        ends = self.grid.height, self.grid.width
        step = (self.height, self.width)[axis]
        along = np.minimum(np.arange(0, ends[axis] + step, step), ends[axis])
        # Every cell along the axis, but only some places across it.
        across = np.linspace(0, ends[1 - axis], 9)
        places = np.meshgrid(along, across, indexing="ij")
        found = hectares(self.grid, *(places if axis == 0 else places[::-1]))
        largest = float(found.max())
        return float(np.abs(np.diff(found, axis=0)).max() / largest) if largest > 0 else 0.0

    def strips(self, rows: int | None = None) -> Generator[tuple[int, Window], None, None]:
        """Windows that partition the grid, as wide as it, each within one row of cells.

        rows: of pixels in a strip; None = of a cell, or fewer where the grid is wide.
        """
        most = rows or min(self.height, max(1, WIDEST // self.grid.width))
        for row in range(self.rows):
            top = row * self.height
            bottom = min(top + self.height, self.grid.height)
            for start in range(top, bottom, most):
                yield row, Window(start, 0, min(most, bottom - start), self.grid.width)


def hectares(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Area of pixels at rows and columns (any shape), in hectares on the ground."""
    t = grid.transform
    x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
    places = np.stack((x, y), axis=-1).reshape(-1, 2)
    found = ground(grid.crs).areas(places) * abs(t.a * t.e - t.b * t.d) / HECTARE
    return np.nan_to_num(found, nan=0.0).reshape(np.shape(rows))


@dataclass
class Counts:
    """What cells hold."""

    lattice: Lattice
    strata: dict[int, np.ndarray] = field(default_factory=dict)
    """Stratum number → pixels (rows, columns) per cell."""
    classes: dict[int, np.ndarray] = field(default_factory=dict)
    """Map code → pixels per cell, of those that are in a stratum."""
    outside: int = 0
    """Pixels with a class that are in no stratum."""

    def pixels(self, number: int) -> int:
        """Of a stratum."""
        return int(self.strata[number].sum())

    def hectares(self, cells: np.ndarray) -> float:
        """Area of counts per cell."""
        return float((cells * self.lattice.areas()).sum())


def count(source: Source, lattice: Lattice, *, rows: int | None = None) -> Counts:
    """Count a whole map in one pass, while the next strip is being read.

    rows: of pixels that are read at once; it changes nothing but memory.
    """
    made = Counts(lattice)
    tally = {"strata": _Tally(lattice), "classes": _Tally(lattice)}

    def read() -> Generator[tuple[int, np.ndarray, np.ndarray], None, None]:
        for row, window in lattice.strips(rows):
            yield row, *source.read(window)

    for row, numbers, codes in prefetch(read(), depth=1):
        tally["strata"].add(row, numbers)
        if codes is not numbers:
            outside = numbers == 0
            made.outside += int(np.count_nonzero(outside & (codes != NODATA)))
            tally["classes"].add(row, np.where(outside, np.uint8(0), codes))
    made.strata = tally["strata"].found
    made.classes = tally["classes"].found if tally["classes"].found else made.strata
    return made


class _Tally:
    """Counts the numbers in strips per cell."""

    def __init__(self, lattice: Lattice) -> None:
        self._lattice = lattice
        self.found: dict[int, np.ndarray] = {}

    def add(self, row: int, numbers: np.ndarray) -> None:
        width, columns = self._lattice.width, self._lattice.columns
        if numbers.dtype == np.uint8 and columns * CODES <= CHUNK:
            held = counts_by_columns(numbers, width)
            for number in np.flatnonzero(held.any(axis=0)).tolist():
                self._cells(number)[row] += held[:, number]
            return
        for column in range(columns):
            part = numbers[:, column * width : (column + 1) * width]
            for number, pixels in zip(*np.unique(part, return_counts=True), strict=True):
                self._cells(int(number))[row, column] += pixels

    def _cells(self, number: int) -> np.ndarray:
        """Pixels (rows, columns) of a number; of 0, which is no stratum, they are forgotten."""
        if number and number in self.found:
            return self.found[number]
        cells = np.zeros((self._lattice.rows, self._lattice.columns), np.int64)
        if number:
            self.found[number] = cells
        return cells
