"""Place what a person drew over a map on the grid of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.geo import extent
from geoseg.geo.grid import Grid
from geoseg.labels.shapes import (
    MULTIPOINT,
    POINT,
    POLYGON,
    explode,
    mend,
    project,
    unpack,
    widen,
)

LINES = 1
"""Rank of lines."""
SHARED = 0.2
"""Pixels that two corrections have in common from which on they tell of the same ones: a point
stands for a quarter of the one that it lies in."""
PAIRS = 1 << 12
"""Pairs of corrections that are looked at at once: what they share is kept in memory."""
MOST = 1000
"""Pairs that contradict each other from which on no more are sought: there may be millions."""
SMALL = 4
"""Pixels: polygons smaller than that may cover the centre of none, and then count for the pixel
that they lie in."""


@dataclass(frozen=True)
class Drawn:
    """The corrections of one layer."""

    layer: str
    crs: str
    geometries: np.ndarray
    """(N,) shapely, none of them empty."""
    codes: np.ndarray
    """(N,) uint8."""
    widths: np.ndarray
    """(N,) metres; NaN = none given."""
    ids: np.ndarray
    """(N,) numbers of the features in the file."""

    @property
    def names(self) -> list[str]:
        """What messages call them."""
        return [f"{self.layer} {number}" for number in self.ids.tolist()]


@dataclass(frozen=True)
class Placed:
    """Corrections as polygons on a grid, in the order in which they are burnt."""

    polygons: np.ndarray
    """(M,) in the grid's CRS; each covers the centre of a pixel at least."""
    codes: np.ndarray
    """(M,) uint8."""
    owners: np.ndarray
    """(M,) number of the correction that each comes from."""
    ranks: np.ndarray
    """(M,) 0 areas, 1 lines, 2 points: a higher one lies over a lower one."""
    tree: shapely.STRtree

    def contrary(self, grid: Grid) -> set[tuple[int, int]]:
        """Numbers of areas, or of points, that share pixels of a grid and differ in class.

        Of MOST or more some may be missing. Lines may cross: that of a river and that of a road
        are both right.
        """
        near = np.flatnonzero(self.ranks != LINES)
        a, b = near[np.stack(shapely.STRtree(self.polygons[near]).query(self.polygons[near]))]
        wanted = (a < b) & (self.codes[a] != self.codes[b]) & (self.ranks[a] == self.ranks[b])
        a, b = a[wanted], b[wanted]
        pairs: set[tuple[int, int]] = set()
        for begin in range(0, len(a), PAIRS):
            pairs |= self._share(a[begin : begin + PAIRS], b[begin : begin + PAIRS], grid)
            if len(pairs) >= MOST:
                break
        return pairs

    def _share(self, a: np.ndarray, b: np.ndarray, grid: Grid) -> set[tuple[int, int]]:
        """Those of pairs (N,) of polygons that share pixels, as numbers of corrections."""
        # Moved to another CRS, what was valid may cross itself.
        one, other = (shapely.make_valid(self.polygons[place]) for place in (a, b))
        shared = shapely.area(shapely.intersection(one, other))
        within = shapely.intersects(self.polygons[b], shapely.box(*grid.bounds))
        found = within & (shared > SHARED * np.prod(grid.resolution))
        return set(zip(self.owners[a[found]].tolist(), self.owners[b[found]].tolist(), strict=True))


def placed(drawn: Iterable[Drawn], grid: Grid) -> Placed:
    """The corrections of all layers on a grid; what lies beside it may be missing."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    first = 0
    for one in drawn:
        for geometries, index, rank in _on(one, grid):
            ranks = np.full(len(index), rank)
            parts.append((geometries, one.codes[index], first + index, ranks))
        first += len(one.codes)
    if not parts:
        empty = np.empty(0, object)
        none = np.empty(0, int)
        return Placed(empty, np.empty(0, np.uint8), none, none, shapely.STRtree(empty))
    polygons, codes, owners, ranks = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((owners, ranks))
    polygons = polygons[order]
    tree = shapely.STRtree(polygons)
    return Placed(polygons, codes[order], owners[order], ranks[order], tree)


def _on(drawn: Drawn, grid: Grid) -> Iterable[tuple[np.ndarray, np.ndarray, int]]:
    """Polygons (M,) on a grid, what each comes from (M,), and rank: 0 areas, 1 lines, 2 points."""
    box = extent.bounds_in(grid.bounds_of(grid.window.grow(16)), grid.crs, drawn.crs)
    if box is None:
        return
    geometries, owner = unpack(drawn.geometries)
    kinds = shapely.get_type_id(geometries)
    is_point = np.isin(kinds, (POINT, MULTIPOINT))
    points = np.flatnonzero(is_point)
    others = np.flatnonzero(~is_point)
    shapes, index = mend(geometries[others])
    spots, place = explode(geometries[points])
    shapes = np.concatenate([shapes, spots])
    index = owner[np.concatenate([others[index], points[place]]).astype(int)]
    pixel = min(grid.resolution)
    within = extent.widen(box, 0.01)
    shapes, origin = project(shapes, drawn.crs, grid.crs, pixel=pixel, within=within)
    index = index[origin]
    kinds = shapely.get_type_id(shapes)
    areas = kinds == POLYGON
    small = areas & (shapely.area(shapes) < SMALL * np.prod(grid.resolution))
    yield _pixels(shapely.point_on_surface(shapes[small]), grid), index[small], 0
    yield shapes[areas], index[areas], 0
    lines = ~areas & (kinds != POINT)
    # Half a diagonal on either side covers a centre wherever a line runs.
    widths = np.where(np.isnan(drawn.widths), 1.42 * grid.pixel_size_m, drawn.widths)
    yield widen(shapes[lines], widths[index[lines]], grid.crs), index[lines], 1
    spots = kinds == POINT
    yield _pixels(shapes[spots], grid), index[spots], 2
    wide = spots & ~np.isnan(drawn.widths[index])
    yield widen(shapes[wide], drawn.widths[index[wide]], grid.crs), index[wide], 2


def _pixels(points: np.ndarray, grid: Grid) -> np.ndarray:
    """A polygon (N,) for each point that covers the centre of its pixel, and of no other."""
    x, y = shapely.get_x(points), shapely.get_y(points)
    t = grid.transform
    column, row = np.floor((x - t.c) / t.a), np.floor((y - t.f) / t.e)
    left, right = (t.c + t.a * (column + side) for side in (0.25, 0.75))
    top, bottom = (t.f + t.e * (row + side) for side in (0.25, 0.75))
    return np.asarray(shapely.box(left, bottom, right, top))
