"""Write a map of errors that says what was taken for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from geoseg.evaluation.pairs import PairCodes, PairNumbers, blend
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA, Legend, LegendClass
from geoseg.geo.raster import Raster, Writer
from geoseg.maps import landcover
from geoseg.maps.cog.write import Running

RIGHT, WRONG = 1, 2
"""Code where labels and map agree, and the lowest of those where they do not; 0 = not compared."""
RIGHT_CLASS = LegendClass(RIGHT, "right", "#bcd9e8", ("right",))
STRIP = 512
"""Rows read at once."""


def error_codes(legend: Legend, confusion: np.ndarray) -> PairCodes:
    """Codes of a map of errors: RIGHT, and from WRONG on one for each kind of error that occurs.

    confusion: (K, K) rows labels, columns map.
    """
    classes = legend.classes
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    return PairCodes.of(
        wrong,
        name=lambda i, j: f"{classes[i].name} taken for {classes[j].name}",
        color=lambda i, j: blend(classes[j].color, classes[i].color, 0.25),
        before=[RIGHT_CLASS],
        other="other errors",
    )


class PairRaster:
    """Numbers of label and mapped class by pixel, in a file that only lasts as long as a command.

    Which kinds of error there are, and so their codes, is known only when all is compared.
    """

    def __init__(self, path: Path, grid: Grid, pairs: PairNumbers) -> None:
        self._path, self.grid, self.pairs = path, grid, pairs

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Take numbers window by window; the file is whole afterwards."""
        dtype = str(self.pairs.dtype)
        with raster.create(self._path, self.grid, dtype=dtype, nodata=NODATA) as writer:
            yield writer

    def strips(self) -> Iterator[tuple[Window, np.ndarray]]:
        """All numbers, from top to bottom. Raises: InputError."""
        with Raster(self._path) as file:
            for window in self.grid.window.blocks(STRIP):
                yield window, file.read(window)[0][0]

    def write_map(self, path: Path, codes: PairCodes, tags: dict[str, str]) -> None:
        """Write the map of errors with its side files. Raises: InputError."""
        table = self.pairs.table(codes.table)
        size = self.pairs.size
        table[1 + np.arange(size) * (size + 1)] = RIGHT
        with Raster(self._path) as file:

            def read(window: Window) -> np.ndarray:
                with raster.environment():
                    return self.pairs.look_up(table, file.read(window)[0][0])

            alone = Running(threads=1)  # an open file is read by one thread at a time
            landcover.write(path, self.grid, codes.legend, read, tags=tags, running=alone)


@contextmanager
def pair_raster(beside: Path, grid: Grid, pairs: PairNumbers) -> Iterator[PairRaster]:
    """A file of numbers beside an output, removed at the end."""
    path = beside.with_name(f".{beside.name}.pixels")
    try:
        yield PairRaster(path, grid, pairs)
    finally:
        path.unlink(missing_ok=True)
