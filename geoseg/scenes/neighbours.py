"""Lay the windows of adjoining scenes on one lattice, and read across their edges.

The windows of adjoining scenes are those of the one raster that they would be merged into: so
their maps agree with its map, and with each other along their edges. Whole numbers only, no pixels.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window, offsets, same_crs
from geoseg.geo.open_files import OpenFiles
from geoseg.geo.tiling import Tiling
from geoseg.outputs.closing import Closing
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.scene import Scene


@dataclass(frozen=True)
class Neighbour:
    """A scene that shows what lies beyond the edge of another."""

    scene: AnyScene
    offset: tuple[int, int]
    """Row and column of the other's corner in this one's grid."""


@dataclass(frozen=True)
class WindowLayout:
    """The windows of a scene, and who shows what lies around it."""

    rows: tuple[int, ...]
    """Tops of the windows in the scene's pixels; the first may begin, the last end outside."""
    columns: tuple[int, ...]
    """Lefts, likewise."""
    neighbours: tuple[Neighbour, ...] = ()
    """Where several show a pixel, the first one counts."""


def places(scenes: Sequence[AnyScene], tiling: Tiling, *, halo: bool = True) -> list[WindowLayout]:
    """The place of each scene among the others.

    halo: False = each scene stands alone, and its windows see nothing beyond its edge.
    Stacks of dated images stand alone always: their dates differ from those beside them.
    """
    alone = [
        WindowLayout(
            tuple(tiling.starts(scene.grid.height)), tuple(tiling.starts(scene.grid.width))
        )
        for scene in scenes
    ]
    images = [number for number, scene in enumerate(scenes) if scene.adjoins]
    if not halo or len(images) < 2:
        return alone
    on: dict[Grid, list[int]] = defaultdict(list)
    for number in images:
        on[scenes[number].grid].append(number)
    grids = list(on)
    near = _near(grids, tiling.size)
    dates = [Dates([scenes[number] for number in on[grid]]) for grid in grids]
    for group in _groups(grids, near):
        if len(group) == 1:
            continue
        corners = _corners(group, near)
        top, left = (min(corner[axis] for corner in corners.values()) for axis in (0, 1))
        height = max(corners[g][0] + grids[g].height for g in group) - top
        width = max(corners[g][1] + grids[g].width for g in group) - left
        rows, columns = tiling.starts(height), tiling.starts(width)
        for g in group:
            down, right = corners[g][0] - top, corners[g][1] - left
            touching = (
                _touching(rows, down, grids[g].height, tiling.size),
                _touching(columns, right, grids[g].width, tiling.size),
            )
            for number in on[grids[g]]:
                name = scenes[number].name
                beside = [(dates[o].likest(name), at) for o, at in near[g].items()]
                alone[number] = WindowLayout(*touching, _neighbours(scenes[number], beside))
    return alone


def _near(grids: Sequence[Grid], reach: int) -> list[dict[int, tuple[int, int]]]:
    """For each grid those within `reach` pixels on the same lattice, and its corner in them."""
    near: list[dict[int, tuple[int, int]]] = [{} for _ in grids]
    for members in _by_crs(grids):
        bounds = np.array([grids[g].bounds for g in members])
        sides = np.array([grids[g].resolution[::-1] for g in members]) * reach
        wide = shapely.box(
            bounds[:, 0] - sides[:, 0], bounds[:, 1] - sides[:, 1],
            bounds[:, 2] + sides[:, 0], bounds[:, 3] + sides[:, 1],
        )  # fmt: skip
        tree = shapely.STRtree(shapely.box(*bounds.T))
        pairs = tree.query(wide, predicate="intersects")
        pairs = pairs[:, pairs[0] != pairs[1]]
        at, fits = offsets([grids[g] for g in members], pairs[1], pairs[0])
        for (a, b), offset in zip(pairs[:, fits].T.tolist(), at[fits].tolist(), strict=True):
            near[members[a]][members[b]] = offset[0], offset[1]
    # Rounding may let one see the other, but not the other way round.
    return [{o: at for o, at in mine.items() if n in near[o]} for n, mine in enumerate(near)]


def _by_crs(grids: Sequence[Grid]) -> Iterable[list[int]]:
    known: dict[str, list[int]] = {}
    for number, grid in enumerate(grids):
        crs = grid.crs
        if crs not in known:
            crs = next((other for other in known if same_crs(other, crs)), crs)
        known.setdefault(crs, []).append(number)
    return known.values()


def _groups(grids: Sequence[Grid], near: Sequence[dict[int, tuple[int, int]]]) -> list[list[int]]:
    """Grids that hang together."""
    groups, seen = [], [False] * len(grids)
    for start in range(len(grids)):
        if seen[start]:
            continue
        group, waiting = [], [start]
        seen[start] = True
        while waiting:
            g = waiting.pop()
            group.append(g)
            for other in near[g]:
                if not seen[other]:
                    seen[other] = True
                    waiting.append(other)
        groups.append(sorted(group))
    return groups


def _corners(
    group: list[int], near: Sequence[dict[int, tuple[int, int]]]
) -> dict[int, tuple[int, int]]:
    """Row and column of each grid's corner, counted from that of the first."""
    corners = {group[0]: (0, 0)}
    waiting = [group[0]]
    while waiting:
        g = waiting.pop()
        down, right = corners[g]
        for other, (row, column) in near[g].items():
            if other not in corners:
                corners[other] = down - row, right - column
                waiting.append(other)
    return corners


def _touching(starts: Sequence[int], begin: int, length: int, size: int) -> tuple[int, ...]:
    """The windows of an axis that reach into `length` pixels from `begin`, counted from there."""
    first, last = bisect(starts, begin - size), bisect_left(starts, begin + length)
    return tuple(start - begin for start in starts[first:last])


def _neighbours(
    scene: AnyScene, beside: Sequence[tuple[AnyScene, tuple[int, int]]]
) -> tuple[Neighbour, ...]:
    """Those that show pixels which the scene does not have."""
    found = []
    for other, offset in beside:
        inside = Window(*offset, scene.grid.height, scene.grid.width)
        hidden = other.grid.window.intersect(inside) == other.grid.window
        if other.adjoins and not hidden:
            found.append(Neighbour(other, offset))
    found.sort(key=lambda n: (-_likeness(n.scene.name, scene.name), n.scene.name))
    return tuple(found)


def wide_enough(scene: AnyScene, place: WindowLayout) -> AnyScene:
    """The scene in a data type that holds the values of its neighbours, too."""
    dtype = np.result_type(scene.dtype, *(one.scene.dtype for one in place.neighbours))
    dtype = np.dtype("float32") if dtype.itemsize > 4 else dtype
    if dtype == scene.dtype or not isinstance(scene, Scene):
        return scene
    return replace(scene, dtype=str(dtype))


class Dates:
    """Scenes of one grid: the file of the likest name is most probably of the same flight."""

    def __init__(self, scenes: Sequence[AnyScene]) -> None:
        self._scenes = {scene.name: scene for scene in scenes}
        self._forward = sorted(self._scenes)
        self._backward = sorted(name[::-1] for name in self._scenes)

    def likest(self, name: str) -> AnyScene:
        """The scene whose name shares most letters at its beginning and end with this one."""
        if len(self._forward) == 1:
            return self._scenes[self._forward[0]]
        # Names that begin alike lie side by side, and those that end alike, too, read backwards.
        found = set(_around(self._forward, name))
        found |= {other[::-1] for other in _around(self._backward, name[::-1])}
        return self._scenes[min(found, key=lambda other: (-_likeness(other, name), other))]


def _around(names: list[str], name: str) -> list[str]:
    at = bisect(names, name)
    return names[max(0, at - 2) : at + 2]


def _likeness(a: str, b: str) -> int:
    """Letters that two names share at their beginning and at their end."""
    return _shared(a, b) + _shared(a[::-1], b[::-1])


def _shared(a: str, b: str) -> int:
    for count, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return count
    return min(len(a), len(b))


OPEN_SCENES = 32
"""Scenes kept open: a folder is gone through in order, and neighbours come up again and again."""
OPEN_FILES = 300
"""Files that these may have, more only if a single scene does; systems allow 1,024 or so."""


class OpenScenes(Closing):
    """Open scenes; the one that was longest not asked for is closed first. For one thread."""

    def __init__(self) -> None:
        self._open = OpenFiles(OPEN_SCENES, OPEN_FILES)
        self.broken: dict[str, InputError] = {}
        """By name: scenes that were needed as neighbours and can't be read."""

    def reader(self, scene: AnyScene) -> Any:
        """Its reader. Raises: InputError if it can't be opened."""
        # A reader holds its scene, and ids of the living are unique.
        return self._open.get(id(scene), scene.open, len(set(scene.inputs)))

    def close(self) -> None:
        self._open.close()


class HaloReader:
    """A scene with what its neighbours show around it."""

    def __init__(
        self, scene: AnyScene, neighbours: Sequence[Neighbour], scenes: OpenScenes
    ) -> None:
        self._scene = scene
        self._neighbours = neighbours
        self._scenes = scenes

    def block_height(self) -> int:
        """Rows that are read at once best. Raises: InputError if the scene can't be opened."""
        height: int = self._scenes.reader(self._scene).block_height
        return height

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of a window, which may reach beyond the scene.

        Returns: image (C, h, w), where it shows anything (h, w), and where the scene itself does.
        Raises: InputError if the scene is damaged. A damaged neighbour shows nothing.
        """
        image, valid = self._scenes.reader(self._scene).read(window)
        outside = list(_outside(window, self._scene.grid.window)) if self._neighbours else []
        if not outside:
            return image, valid, valid
        seen = valid.copy()
        for part in outside:
            self._fill(part, image[(slice(None), *part.within(window))], seen[part.within(window)])
        return image, seen, valid

    def _fill(self, part: Window, image: np.ndarray, seen: np.ndarray) -> None:
        for neighbour in self._neighbours:
            there = part.shift(*neighbour.offset)
            name = neighbour.scene.name
            if there.intersect(neighbour.scene.grid.window) is None or name in self._scenes.broken:
                continue
            try:
                more, shown = self._scenes.reader(neighbour.scene).read(there)
            except InputError as error:
                self._scenes.broken[name] = error
                continue
            new = shown & ~seen
            image[:, new] = more[:, new]
            seen |= shown
            if seen.all():
                return


def _outside(window: Window, inner: Window) -> Iterator[Window]:
    """Rectangles that make up what of a window lies outside another."""
    common = window.intersect(inner)
    if common is None:
        yield window
        return
    top, bottom = common.top - window.top, window.bottom - common.bottom
    left, right = common.left - window.left, window.right - common.right
    if top:
        yield Window(window.top, window.left, top, window.width)
    if bottom:
        yield Window(common.bottom, window.left, bottom, window.width)
    if left:
        yield Window(common.top, window.left, common.height, left)
    if right:
        yield Window(common.top, common.right, common.height, right)
