"""Cut scenes into squares, and draw a split for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geoseg.dataset.split.draw import share_out
from geoseg.dataset.split.region import SPLITS, Count, Region, buffer_px
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window, known_crs, same_crs

if TYPE_CHECKING:
    from geoseg.dataset.split.settings import Split

BLOCKS = 40
"""Blocks aimed at when their size isn't given: enough that each share gets several."""
FEWEST_BLOCKS = 8
"""Blocks that small scenes are cut into at least, where LEAST_BLOCK allows it."""
LEAST_BLOCK = 64
"""Smallest side in pixels of a block whose size isn't given."""


def blocks(split: Split, grids: dict[str, Grid], tile: int, count: Count) -> list[Region]:
    """Cut scenes into squares that lie on one lattice per CRS, and draw a split for each.

    Where scenes of one CRS overlap they share the square, and so the split; where those of two do,
    the weaker split gives way.
    """
    cells: dict[tuple[str, int, int], list[tuple[str, Window]]] = {}
    lattices: dict[str, tuple[float, float, float, float]] = {}
    for name, grid in grids.items():
        crs = known_crs(grid.crs, lattices)
        if crs not in lattices:
            side = block_side(split, grids, grid, tile)
            x, y = grid.transform @ (0, 0)
            lattices[crs] = (x, y, side * grid.resolution[1], side * grid.resolution[0])
        for row, column, window in cells_in(grid, lattices[crs]):
            cells.setdefault((crs, row, column), []).append((name, window))
    counts = {
        key: np.sum([count(name, window) for name, window in parts], axis=0)
        for key, parts in cells.items()
    }
    val, test = split.share("val"), split.share("test")
    shares = {"train": 1 - val - test, "val": val, "test": test}
    drawn = share_out(
        {key: c for key, c in counts.items() if c.sum() > 0},
        {name: share for name, share in shares.items() if share > 0},
        seed=split.seed,
    )
    regions = []
    for key, parts in cells.items():
        if key not in drawn:
            continue
        for name, window in parts:
            margin = buffer_px(split.buffer_m, grids[name], tile)
            if kept := _give_way(key, window, drawn, margin):
                regions.append(Region(name, kept, drawn[key]))
    return regions if len(lattices) == 1 else _apart(split, regions, grids, tile)


def _apart(rule: Split, regions: list[Region], grids: dict[str, Grid], tile: int) -> list[Region]:
    """Regions, less what is within the buffer of a stronger split on a scene of another CRS, whose
    lattice is another."""
    import shapely

    kept = []
    for crs in dict.fromkeys(grid.crs for grid in grids.values()):
        others = [r for r in regions if not same_crs(grids[r.scene].crs, crs)]
        placed = [(grids[r.scene].crop(r.window), r.split) for r in others]
        found = [(extent.bounds_in(g.bounds, g.crs, crs), split) for g, split in placed]
        beside = [(box, SPLITS.index(split)) for box, split in found if box is not None]
        tree = shapely.STRtree([shapely.box(*box) for box, _ in beside])
        for region in regions:
            grid = grids[region.scene]
            if grid.crs != crs:
                continue
            margin, rank = buffer_px(rule.buffer_m, grid, tile), SPLITS.index(region.split)
            reach = shapely.box(*grid.bounds_of(region.window.grow(margin + 1)))
            near = [beside[n] for n in sorted(tree.query(reach))]
            avoid = [grid.window_of(box).grow(margin) for box, other in near if other > rank]
            if window := region.window.clear_of(avoid):
                kept.append(Region(region.scene, window, region.split))
    return kept


def block_side(split: Split, grids: dict[str, Grid], grid: Grid, tile: int) -> int:
    """Side of a block in pixels of this grid."""
    if split.block_m is not None:
        return max(1, round(split.block_m / grid.pixel_size_m))
    area = sum(g.window.area for g in grids.values())
    side = math.isqrt(max(1, area // BLOCKS))
    if side >= tile:
        return min(side // tile, 4) * tile
    # Small scenes: larger blocks than aimed at, while there are a few, so that tiles see context.
    return max(LEAST_BLOCK, side, min(tile // 2, math.isqrt(max(1, area // FEWEST_BLOCKS))))


def cells_in(
    grid: Grid, lattice: tuple[float, float, float, float]
) -> list[tuple[int, int, Window]]:
    """Row, column and window of the squares of a lattice that lie in a grid."""
    x, y, width, height = lattice
    left, bottom, right, top = grid.bounds
    cells = []
    for row in range(math.floor((y - top) / height), math.ceil((y - bottom) / height)):
        for column in range(math.floor((left - x) / width), math.ceil((right - x) / width)):
            x0, y0 = ~grid.transform @ (x + column * width, y - row * height)
            x1, y1 = ~grid.transform @ (x + (column + 1) * width, y - (row + 1) * height)
            rows, columns = (round(y0), round(y1)), (round(x0), round(x1))
            square = Window(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])
            if window := square.intersect(grid.window):
                cells.append((row, column, window))
    return cells


def _give_way(
    key: tuple[str, int, int],
    window: Window,
    drawn: dict[tuple[str, int, int], str],
    buffer: int,
) -> Window | None:
    """Take the buffer from sides where a block of a stronger split lies (test > val > train).

    A stronger split across a corner takes it from the side to its left or right.
    """
    crs, row, column = key
    rank = SPLITS.index(drawn[key])

    def stronger(down: int, right: int) -> bool:
        other = drawn.get((crs, row + down, column + right))
        return other is not None and SPLITS.index(other) > rank

    up, down = stronger(-1, 0), stronger(1, 0)
    sides = {
        right: stronger(0, right)
        or (not up and stronger(-1, right))
        or (not down and stronger(1, right))
        for right in (-1, 1)
    }
    top = window.top + buffer * up
    left = window.left + buffer * sides[-1]
    height = window.bottom - buffer * down - top
    width = window.right - buffer * sides[1] - left
    return Window(top, left, height, width) if height > 0 and width > 0 else None
