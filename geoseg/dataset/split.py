"""Split the ground of scenes into train, val and test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from geoseg.errors import Faults
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window, known_crs, same_crs, transformer
from geoseg.geo.ground import ground
from geoseg.received.keys import NUMERIC
from geoseg.scenes.scene import match_names

SPLITS = ("train", "val", "test")
WAYS = ("block", "west_east", "east_west", "north_south", "south_north")
BLOCKS = 40
"""Blocks aimed at when their size isn't given: enough that each share gets several."""
CUTS = 200
"""Places along an axis at which labelled pixels are counted to find where a strip ends."""
FEWEST_BLOCKS = 8
"""Blocks that small scenes are cut into at least, where LEAST_BLOCK allows it."""
LEAST_BLOCK = 64
"""Smallest side in pixels of a block whose size isn't given."""
Count = Callable[[str, Window], np.ndarray]
"""Scene name and window → labelled pixels per class (K,)."""


@dataclass
class Split:
    """Scenes by name, or shares that are cut out of the scenes in space."""

    train: Any = field(default=None, metadata=NUMERIC)
    """Names of scenes; by default all that val and test leave."""
    val: Any = field(default=0.15, metadata=NUMERIC)
    """Share of the labelled area, or names of scenes."""
    test: Any = field(default=0.15, metadata=NUMERIC)
    """Share of the labelled area, or names of scenes."""
    by: str = "block"
    """How shares are cut: block (squares at random), or strips from train over val to test:
    west_east, east_west, north_south, south_north."""
    block_m: float | None = None
    """Side of a block in metres; by default so that there are about 40, of whole tiles."""
    buffer_m: float | None = None
    """Metres left out between splits that touch; by default an eighth of a tile."""
    seed: int = 0
    """Of the draw of blocks."""

    def __post_init__(self) -> None:
        faults = Faults()
        for name in SPLITS:
            value = getattr(self, name)
            # A name of plain digits arrives from a command line as a number.
            if isinstance(value, str) or (isinstance(value, int) and value > 1):
                setattr(self, name, [value])
            elif isinstance(value, Mapping) or (
                isinstance(value, (int, float)) and (name == "train" or not 0 <= value < 1)
            ):
                faults.add(f"split.{name}={value}: give a share in [0, 1) or names of scenes")
        shares = self.share("val") + self.share("test")
        if shares >= 1:
            faults.add(f"split.val + split.test = {shares:g}: nothing would be left to train on")
        faults.one_of(self, "split.", by=WAYS)
        faults.above_zero(self, "split.", "block_m")
        faults.at_least(self, "split.", buffer_m=0)
        faults.raise_if_any()

    def share(self, name: str) -> float:
        """Share of a split, 0 where it has names of scenes."""
        value = getattr(self, name)
        return float(value) if isinstance(value, (int, float)) else 0.0

    def check_names(self, scenes: Iterable[str]) -> None:
        """Raises: InputError for names that aren't scenes, and for scenes named twice."""
        self._named(list(scenes))

    def regions(self, grids: Mapping[str, Grid], tile: int, count: Count) -> list[Region]:
        """Rectangles of the scenes with their split; what lies in none is a buffer or unused.

        Raises: InputError for names that aren't scenes, and for scenes named twice.
        """
        named = self._named(list(grids))
        regions = [
            Region(scene, grids[scene].window, name) for name in SPLITS for scene in named[name]
        ]
        shared = named["share"]
        if self.by == "block":
            regions += _blocks(self, {name: grids[name] for name in shared}, tile, count)
        else:
            for name in shared:
                regions += _strips(self, name, grids[name], tile, count)
        return regions

    def _named(self, scenes: list[str]) -> dict[str, list[str]]:
        """Scenes of each split, and under "share" those that shares are cut from."""
        faults = Faults()
        named: dict[str, list[str]] = {}
        for name in SPLITS:
            value = getattr(self, name)
            wanted = value if isinstance(value, (list, tuple)) else []
            named[name], missing = match_names(wanted, scenes)
            if missing:
                faults.add(
                    f"split.{name}: no scene {', '.join(missing)}; there are {', '.join(scenes)}"
                )
        for scene in scenes:
            owners = [name for name in SPLITS if scene in named[name]]
            if len(owners) > 1:
                faults.add(f"scene {scene} is in split.{' and split.'.join(owners)}")
        faults.raise_if_any()
        taken = {scene for names in named.values() for scene in names}
        rest = [scene for scene in scenes if scene not in taken]
        if self.train is not None:
            rest, named["train"] = named["train"], []
        if not self.share("val") and not self.share("test"):
            named["train"], rest = rest, []
        return named | {"share": rest}


@dataclass(frozen=True)
class Region:
    """A rectangle of a scene, all of one split."""

    scene: str
    window: Window
    split: str


def _strips(split: Split, name: str, grid: Grid, tile: int, count: Count) -> list[Region]:
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
    buffer = buffer_px(split, grid, tile)
    regions, start = [], 0
    for which, end in zip(SPLITS, [*cuts, length], strict=True):
        # The earlier split gives way; test keeps all its pixels.
        last = end if end == length else end - buffer
        if last > start:
            regions.append(Region(name, strip(start, last), which))
        start = end
    return regions


def _blocks(split: Split, grids: dict[str, Grid], tile: int, count: Count) -> list[Region]:
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
            margin = buffer_px(split, grids[name], tile)
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
            margin, rank = buffer_px(rule, grid, tile), SPLITS.index(region.split)
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


def buffer_px(split: Split, grid: Grid, tile: int) -> int:
    """Width in pixels of what is left out between two splits."""
    if split.buffer_m is None:
        return tile // 8
    # Of pixels that are no squares on the ground, the narrower side must do; rounding is no pixel.
    return math.ceil(split.buffer_m / min(grid.pixel_sides_m) - 1e-6)


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


def share_out(
    counts: Mapping[Any, np.ndarray], shares: Mapping[Any, float], *, seed: int | Sequence[int]
) -> dict[Any, Any]:
    """Draw a share for each unit so that every class is shared out as asked.

    Large units first, each to the share that it brings nearest to what was asked, in squares of the
    differences (as seats by Sainte-Laguë; in the order of Sechidis et al. 2011): so a unit that is
    larger than a small share does not go there. Then a share that got nothing of a class gets its
    smallest unit that can be spared.
    counts: unit → its amount of each class (K,). shares: name → share above 0; together 1.
    Returns: unit → name of its share.
    """
    if not counts:
        return {}
    total = np.maximum(np.sum(list(counts.values()), axis=0), 1).astype(float)
    random = np.random.default_rng(seed)
    keys = sorted(counts)
    keys = [keys[i] for i in random.permutation(len(keys))]
    keys.sort(key=lambda key: -float((counts[key] / total).max()))
    filled = {name: np.zeros_like(total) for name in shares}
    drawn = {}
    for key in keys:
        weight = counts[key] / total
        lack = {
            name: float(((share - filled[name] - weight / 2) / share * weight).sum())
            for name, share in shares.items()
        }
        best = max(lack.values())
        choice = [name for name in shares if lack[name] >= best - 1e-12]
        drawn[key] = choice[int(random.integers(len(choice)))]
        filled[drawn[key]] += weight
    _spread(drawn, {key: counts[key] > 0 for key in reversed(keys)}, shares)
    return drawn


def _spread(
    drawn: dict[Any, Any], has: Mapping[Any, np.ndarray], shares: Mapping[Any, float]
) -> None:
    """Move units, so that as many shares as can be have something of each class.

    has: unit → which classes (K,) it holds, small units first.
    """
    held = {name: np.zeros(len(next(iter(has.values()))), int) for name in shares}
    for key, name in drawn.items():
        held[name] += has[key]
    for place in np.argsort(sum(held.values()), kind="stable"):
        for name in sorted(shares, key=lambda name: -shares[name]):
            if held[name][place]:
                continue
            # No share gives the last that it has of anything.
            spare = (
                key for key, of in has.items() if of[place] and (held[drawn[key]][of] > 1).all()
            )
            key = next(spare, None)
            if key is not None:
                held[drawn[key]] -= has[key]
                held[name] += has[key]
                drawn[key] = name


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


def leakage_m(regions: Mapping[str, list[tuple[Grid, Window]]], a: str, b: str) -> float | None:
    """Smallest distance in metres between windows of two splits; None if one has none.

    regions: split → its windows with their grids. 0 means that they touch or overlap.
    """
    if not regions.get(a) or not regions.get(b):
        return None
    import shapely

    grid = regions[a][0][0]
    # What is nearest is found on the map, its axes scaled alike; how far it is, on the ground.
    scale = np.array(grid.pixel_sides_m[::-1]) / grid.resolution[::-1]

    def outlines(split: str) -> np.ndarray:
        found = []
        for g, w in regions[split]:
            outline = shapely.box(*g.crop(w).bounds)
            if not same_crs(g.crs, grid.crs):  # where it is turned, its bounds reach too far
                sides = shapely.segmentize(outline, outline.length / 32)
                outline = shapely.transform(
                    sides, transformer(g.crs, grid.crs).transform, interleaved=False
                )
            found.append(outline)
        return np.asarray(shapely.transform(np.array(found), lambda places: places * scale))

    ones, others = outlines(a), outlines(b)
    mine, theirs = shapely.STRtree(ones).query_nearest(others)[::-1]
    lines = shapely.shortest_line(ones[mine], others[theirs])
    ends = shapely.get_coordinates(lines).reshape(-1, 2, 2) / scale
    distances = ground(grid.crs).distance(ends[:, 0], ends[:, 1])
    return float(np.where((ends[:, 0] == ends[:, 1]).all(axis=1), 0.0, distances).min())


def check_used(regions: list[Region], split: Split) -> None:
    """Raises: InputError if a split that was asked for got nothing."""
    faults = Faults()
    for name in SPLITS:
        asked = name == "train" or getattr(split, name)
        if asked and not any(region.split == name for region in regions):
            faults.add(
                f"split.{name}: no labelled pixel is left for it; give more labels, other shares,"
                " a smaller split.block_m or split.buffer_m, or names of scenes"
            )
    faults.raise_if_any()
