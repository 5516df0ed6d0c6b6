"""Panels: which windows the map of a scene takes, and how a wide scene is divided into columns.

Whole numbers only, no pixels; a panel is the smallest job that can be done apart from others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from geoseg.datedscene import AnyScene
from geoseg.errors import InputError
from geoseg.raster import BLOCK
from geoseg.tiling import Tiling

LONGEST_BLOCK = 512
"""Rows of a file's block up to which reading keeps to whole blocks."""


@dataclass(frozen=True)
class Panel:
    """Columns left..right - 1 of a scene's map, over its whole height."""

    scene: AnyScene
    number: int
    """From 0, left to right."""
    size: int
    """Height and width of the windows."""
    rows: tuple[int, ...]
    """Tops of all windows, each once; one may begin or end outside the scene."""
    columns: tuple[int, ...]
    """Lefts of all windows of the scene, each once."""
    left: int
    right: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def touching(self) -> range:
        """Places in `columns` of the windows that reach into the panel."""
        first = next(i for i, x in enumerate(self.columns) if x + self.size > self.left)
        last = max(i for i, x in enumerate(self.columns) if x < self.right)
        return range(first, last + 1)

    def final(self, row: int) -> tuple[int, int]:
        """Top and bottom of what no later window touches once this row of windows is done."""
        top = max(0, self.rows[row]) if row else 0
        last = row + 1 == len(self.rows)
        return top, self.scene.grid.height if last else self.rows[row + 1]


@dataclass(frozen=True)
class Piece:
    """A window in a batch."""

    panel: Panel
    row: int
    """Place in panel.rows."""
    column: int
    """Place in panel.columns."""


@dataclass(frozen=True)
class Final:
    """All windows of a row, and of those above, came before this."""

    panel: Panel
    row: int
    valid: np.ndarray
    """(n, W) bool of the rows that are now final (Panel.final), in the panel's columns."""


@dataclass(frozen=True)
class Broken:
    """A scene that can't be read on; none of its windows come after this."""

    panel: Panel
    error: InputError


Step = Piece | Final | Broken


def cut(scene: AnyScene, tiling: Tiling, *, classes: int, memory: float) -> list[Panel]:
    """Panels of a scene, as few as the memory (GB) for a panel's buffers allows.

    Their borders lie between blocks of the written files, so that each block is written once.
    Raises: InputError if the memory does not hold the narrowest panel.
    """
    width = scene.grid.width
    rows = tuple(tiling.starts(scene.grid.height))
    columns = tuple(tiling.starts(width))
    widest = int(memory * 1e9 / bytes_per_column(scene, tiling, classes=classes))
    widest -= 2 * tiling.size  # windows reach over both sides
    if widest < min(width, BLOCK):
        least = bytes_per_column(scene, tiling, classes=classes) * (BLOCK + 2 * tiling.size) / 1e9
        raise InputError(
            f"predict.memory={memory:g}: too little for windows of {tiling.size} pixels and"
            f" {classes} classes; give at least {least:.2f} (GB), or set a smaller tiling.size"
        )
    count = 1 if widest >= width else ceil(width / (widest // BLOCK * BLOCK))
    step = ceil(ceil(width / count) / BLOCK) * BLOCK
    lefts = range(0, width, step)
    return [
        Panel(scene, number, tiling.size, rows, columns, left, min(left + step, width))
        for number, left in enumerate(lefts)
    ]


def bytes_per_column(scene: AnyScene, tiling: Tiling, *, classes: int) -> int:
    """What a column of pixels takes: sums of probabilities, image and valid, rows to be written."""
    sums = 4 * classes * tiling.size
    pixel = len(scene.bands) * np.dtype(scene.dtype).itemsize + 1
    image = 2 * pixel * (tiling.size + LONGEST_BLOCK)  # twice, while rows are added
    rows = 3 * (4 * tiling.size + 2 * BLOCK)
    return sums + image + rows
