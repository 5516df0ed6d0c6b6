"""Divide a scene into panels of windows.

Whole numbers only, no pixels; a panel is the smallest piece that can be done apart from others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.raster import BLOCK
from geoseg.maps.layers import CONFIDENCE
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.neighbours import Neighbour, WindowLayout

ROOM, MOST_ROOM = 1.0, 4.0
"""GB for the buffers of a panel, where nobody says how much: by default, and at most where windows
of many bands need more."""
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
    neighbours: tuple[Neighbour, ...] = ()
    """Scenes that show what lies beyond the edges of this one."""

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
        return top, self.scene.grid.height if last else max(0, self.rows[row + 1])


@dataclass(frozen=True)
class SceneJob:
    """Panels of a scene that are to be predicted."""

    panels: tuple[Panel, ...]
    whole: tuple[Panel, ...]
    """All panels of the scene; those that are not to be predicted are there already."""
    stamp: str = ""
    """Says what the map is made of: files and windows."""
    joins: bool = True
    """Whether the panels become a map once these are there, or somebody else sees to that."""
    layers: tuple[str, ...] = (CONFIDENCE,)
    """What is written beside the class map."""
    undecided: str = ""
    """By what pixels are left without decision; "" = none is."""

    @property
    def scene(self) -> AnyScene:
        return self.whole[0].scene

    @property
    def pixels(self) -> int:
        """Of the map that are to be predicted."""
        return sum(panel.width for panel in self.panels) * self.scene.grid.height


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


def cut(
    scene: AnyScene,
    place: WindowLayout,
    size: int,
    *,
    classes: int,
    memory: float | None,
    maps: int = 2,
) -> list[Panel]:
    """Panels of a scene, as few as the memory (GB) for a panel's buffers allows.

    size: height and width of the windows. memory: None = ROOM, or as much more as the narrowest
    panel needs, up to MOST_ROOM. maps: bands that are written. The panels' borders lie
    between blocks of the written files, so that each block is written once.
    Raises: InputError if the memory does not hold the narrowest panel.
    """
    width = scene.grid.width
    column = bytes_per_column(scene, size, classes=classes, maps=maps)
    narrowest = min(width, BLOCK) + 2 * size  # windows reach over both sides
    least = column * (narrowest + 1) / 1e9
    memory = min(MOST_ROOM, max(ROOM, least)) if memory is None else memory
    widest = int(memory * 1e9 / column) - 2 * size
    if widest < min(width, BLOCK):
        raise InputError(
            f"predict.memory={memory:g}: too little for windows of {size} pixels and"
            f" {classes} classes; give at least {ceil(100 * least) / 100:g} (GB), or set a smaller"
            " tiling.size"
        )
    count = 1 if widest >= width else ceil(width / (widest // BLOCK * BLOCK))
    step = ceil(ceil(width / count) / BLOCK) * BLOCK
    lefts = range(0, width, step)
    return [
        Panel(
            scene,
            number,
            size,
            place.rows,
            place.columns,
            left,
            min(left + step, width),
            place.neighbours,
        )
        for number, left in enumerate(lefts)
    ]


def bytes_per_column(scene: AnyScene, size: int, *, classes: int, maps: int = 2) -> int:
    """What a column of pixels takes: sums of probabilities, image and valid, rows to be written."""
    sums = 4 * classes * size
    pixel = len(scene.bands) * np.dtype(scene.dtype).itemsize + 2
    image = 2 * pixel * (size + LONGEST_BLOCK)  # twice, while rows are added
    rows = (1 + maps) * (4 * size + 2 * BLOCK)
    return sums + image + rows
