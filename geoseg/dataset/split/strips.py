"""Cut a scene into strips: train, val and test along an axis."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from geoseg.dataset.split.region import SPLITS, Count, Region, buffer_px
from geoseg.geo.grid import Grid, Window

if TYPE_CHECKING:
    from geoseg.dataset.split.settings import Split

CUTS = 200
"""Places along an axis at which labelled pixels are counted to find where a strip ends."""


def strips(split: Split, name: str, grid: Grid, tile: int, count: Count) -> list[Region]:
    """Cut one scene into train, val and test along an axis, with buffers between them.

    The cuts lie where the labelled pixels, not the scene's, are shared out as asked.
    """
    along_x = split.by in ("west_east", "east_west")
    length = grid.width if along_x else grid.height
    backwards = split.by in ("east_west", "south_north")

    def strip(start: int, end: int) -> Window:
        start, end = (length - end, length - start) if backwards else (start, end)
        if along_x:
            return Window(0, start, grid.height, end - start)
        return Window(start, 0, end - start, grid.width)

    edges = sorted({round(i * length / CUTS) for i in range(CUTS + 1)})
    labelled = [count(name, strip(*pair)).sum() for pair in pairwise(edges)]
    reached = np.concatenate([[0], np.cumsum(labelled)]) / max(1, np.sum(labelled))
    val, test = split.share("val"), split.share("test")
    cuts = [round(float(np.interp(share, reached, edges))) for share in (1 - val - test, 1 - test)]
    buffer = buffer_px(split.buffer_m, grid, tile)
    regions, start = [], 0
    for which, end in zip(SPLITS, [*cuts, length], strict=True):
        # The earlier split gives way; test keeps all its pixels.
        last = end if end == length else end - buffer
        if last > start:
            regions.append(Region(name, strip(start, last), which))
        start = end
    return regions
