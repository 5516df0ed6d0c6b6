"""Divide the ground of a data set's tiles into blocks, with buffers around held-out ones.

Blocks lie on the lattice that prepare cuts splits on; regions no larger than a block stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from geoseg.crossvalidation.draw import Folding
from geoseg.dataset.split import Split, block_side, buffer_px, cells_in, leakage_m
from geoseg.dataset.targets import counter
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window, known_crs


@dataclass(frozen=True)
class Part:
    """A rectangle of a region of the data set, all in one unit."""

    scene: str
    window: Window
    home: Window
    """The region: all of one split."""
    key: Any
    """Of its unit: what goes whole into one fold."""
    tiles: tuple[Tile, ...]
    """With labelled pixels; none where nothing is labelled."""


@dataclass(frozen=True)
class Layout:
    """The ground that takes part, in units."""

    parts: tuple[Part, ...]
    tiles: tuple[Tile, ...]
    """As prepare cut them."""
    grids: dict[str, Grid]
    buffers: dict[str, int]
    """Pixels of a scene around what is held out that do not train."""
    cut: Callable[[str, Window], tuple[Tile, ...]] = field(repr=False)
    """(scene, region) → its tiles that have labelled pixels."""
    by: str = "block"

    @classmethod
    def of(cls, dataset: Dataset, tiles: Sequence[Tile], split: Folding) -> Layout:
        """Cut the regions of tiles. split: by block, scene or random (each tile by itself)."""
        told = dataset.settings.get("split") or {}
        buffer_m = told.get("buffer_m") if split.buffer_m is None else split.buffer_m
        rule = Split(
            val=0,
            test=0,
            block_m=split.block_m or told.get("block_m"),
            # Neighbours of what is held out train: that is what a random split does.
            buffer_m=0 if split.by == "random" else buffer_m,
        )
        size = dataset.tiling.size
        grids = {scene.name: scene.grid for scene in dataset.scenes}
        cut = _Cutter(dataset, tiles).cut
        if split.by == "random":
            pieces = [(t.scene, t.window, t.home, number) for number, t in enumerate(tiles)]
        else:
            pieces = list(_pieces(tiles, grids, rule, size, scenes=split.by == "scene"))
        parts = tuple(
            Part(scene, window, home, key, cut(scene, window))
            for scene, window, home, key in pieces
        )
        buffers = {name: buffer_px(rule.buffer_m, grid, size) for name, grid in grids.items()}
        return cls(parts, tuple(tiles), grids, buffers, cut, split.by)

    @cached_property
    def unit(self) -> np.ndarray:
        """(P,) number of each part's unit; −1 where a unit has no labelled pixel."""
        keys = list(dict.fromkeys(part.key for part in self.parts if part.tiles))
        place = {key: number for number, key in enumerate(keys)}
        return np.array([place.get(part.key, -1) for part in self.parts], np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """Labelled pixels (U, K) of each unit and class."""
        classes = len(self.tiles[0].counts)
        counts = np.zeros((int(self.unit.max()) + 1, classes), np.int64)
        for number, part in zip(self.unit, self.parts, strict=True):
            for tile in part.tiles:
                counts[number] += tile.counts
        return counts

    def held_out(self, units: np.ndarray) -> list[Tile]:
        """The tiles of some units, which together hold each of their labelled pixels once."""
        held = np.isin(self.unit, units)
        return [t for i in np.flatnonzero(held) for t in self.parts[i].tiles]

    def train(self, units: np.ndarray) -> list[Tile]:
        """The tiles of all other units, less what lies within the buffer of these.

        Regions that are clear as a whole stay as prepare made them; of the others each block
        becomes a region of its own, cut back to a rectangle that is clear.
        """
        whole, homes = self._clear(units)
        found = [tile for tile in self.tiles if (tile.scene, tile.home) in whole]
        for scene, home in homes:
            found += self.cut(scene, home)
        return found

    def homes(self, units: np.ndarray) -> list[tuple[str, Window]]:
        """What may be seen in training when some units are held out: scene and window."""
        whole, homes = self._clear(units)
        return [*whole, *homes]

    def _clear(
        self, units: np.ndarray
    ) -> tuple[dict[tuple[str, Window], None], list[tuple[str, Window]]]:
        """Regions that are clear of some units as a whole, and rectangles of the others."""
        held = np.isin(self.unit, units)
        near = [[w for other, w in found if held[other]] for found in self._near]
        regions = dict.fromkeys((part.scene, part.home) for part in self.parts)
        if self.by == "random":  # its parts do not cover a region
            regions = {}
        for i, part in enumerate(self.parts):
            if held[i] or near[i]:
                regions.pop((part.scene, part.home), None)
        rest = []
        for i, part in enumerate(self.parts):
            if held[i] or not part.tiles or (part.scene, part.home) in regions:
                continue
            if window := part.window.clear_of(near[i]):
                rest.append((part.scene, window))
        return regions, rest

    @cached_property
    def _near(self) -> list[list[tuple[int, Window]]]:
        """For each part the others within the buffer: their number, and the window to avoid.

        That window lies on the part's own grid, whatever grid the other part has.
        """
        import shapely

        found: list[list[tuple[int, Window]]] = [[] for _ in self.parts]
        for crs in dict.fromkeys(grid.crs for grid in self.grids.values()):
            crops = [self.grids[p.scene].crop(p.window) for p in self.parts]
            boxes = [extent.bounds_in(crop.bounds, crop.crs, crs) for crop in crops]
            # What has no place in a CRS lies far from all that has.
            tree = shapely.STRtree([None if box is None else shapely.box(*box) for box in boxes])
            for i, part in enumerate(self.parts):
                grid = self.grids[part.scene]
                if grid.crs != crs:
                    continue
                buffer = self.buffers[part.scene]
                reach = grid.crop(part.window.grow(buffer + 1)).bounds
                for other in sorted(int(n) for n in tree.query(shapely.box(*reach))):
                    if self.parts[other].key == part.key:
                        continue
                    if self.parts[other].scene == part.scene:
                        avoid = self.parts[other].window
                    else:
                        box = boxes[other]
                        assert box is not None
                        avoid = grid.window_of(box)
                    avoid = avoid.grow(buffer)
                    if avoid.intersect(part.window):
                        found[i].append((other, avoid))
        return found

    def nearest_m(self, units: np.ndarray) -> float | None:
        """Smallest distance in metres from what trains to some units; None if nothing does."""
        held = [(self.grids[t.scene], t.window) for t in self.held_out(units)]
        train = [(self.grids[scene], window) for scene, window in self.homes(units)]
        return leakage_m({"train": train, "held out": held}, "train", "held out")


class _Cutter:
    """Cuts regions into tiles, and counts their labelled pixels once."""

    def __init__(self, dataset: Dataset, tiles: Iterable[Tile]) -> None:
        self._dataset, self._count = dataset, counter(dataset)
        self._known = {(tile.scene, tile.window): tile.counts for tile in tiles}

    def cut(self, scene: str, region: Window) -> tuple[Tile, ...]:
        found = []
        for window in self._dataset.tiling.tiles(region):
            key = (scene, window)
            if key not in self._known:
                self._known[key] = tuple(int(n) for n in self._count(scene, window))
            if sum(self._known[key]):
                found.append(Tile(scene, "train", window, region, self._known[key]))
        return tuple(found)


def _pieces(
    tiles: Sequence[Tile], grids: dict[str, Grid], rule: Split, size: int, *, scenes: bool
) -> Iterator[tuple[str, Window, Window, Any]]:
    """Scene, window, region and key of the squares that regions are cut into.

    scenes: whether the scene is the unit, and not the square.
    """
    lattices: dict[str, tuple[float, float, float, float]] = {}
    sides: dict[str, int] = {}
    for grid in grids.values():
        crs = known_crs(grid.crs, lattices)
        if crs not in lattices:
            side = sides[crs] = block_side(rule, grids, grid, size)
            x, y = grid.transform @ (0, 0)
            lattices[crs] = (x, y, side * grid.resolution[1], side * grid.resolution[0])
    for scene, home in dict.fromkeys((tile.scene, tile.home) for tile in tiles):
        crs = known_crs(grids[scene].crs, lattices)
        cells = [
            (row, column, part.shift(home.top, home.left))
            for row, column, part in cells_in(grids[scene].crop(home), lattices[crs])
        ]
        if max(home.height, home.width) <= sides[crs]:
            row, column, _ = max(cells, key=lambda cell: cell[2].area)
            cells = [(row, column, home)]
        for row, column, part in cells:
            yield scene, part, home, scene if scenes else (crs, row, column)


def check_units(layout: Layout, count: int) -> None:
    """Raises: InputError if there are fewer units than folds."""
    units = len(layout.counts)
    if units < max(2, count):
        noun, remedy = {
            "block": ("blocks", "set fewer folds or a smaller split.block_m"),
            "scene": ("scenes", "set fewer folds or split.by=block"),
            "random": ("tiles", "set fewer folds"),
        }[layout.by]
        raise InputError(
            f"{max(2, count)} folds need as many {noun} with labels, got {units}; {remedy}"
        )
