"""Measure the outlines of a tile's parcels and find overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj
import shapely

from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import ground
from geoseg.labels.shapes import MULTIPOINT, POINT, POLYGON, mend, project

OVERLAP = 0.05
"""Share of the smaller parcel from which two count as overlapping: less is a careless border."""
LARGE = 500
"""Vertices from which it pays to prepare a polygon for many questions."""


@dataclass(frozen=True)
class Outlines:
    """Single polygons and points of N parcels, in the CRS of a grid."""

    parts: np.ndarray
    """(M,) shapely polygons, valid."""
    owner: np.ndarray
    """(M,) which parcel each part belongs to, ascending."""
    points: np.ndarray
    """(L, 2) coordinates."""
    point_owner: np.ndarray
    """(L,) which parcel each point belongs to."""
    count: int
    """N."""

    def inside(self, distance: float, grid: Grid) -> Outlines:
        """The outlines without what lies nearer to the edge than that many metres."""
        if not distance:
            return self
        plane = _plane(self.parts, grid)
        inner = shapely.buffer(_laid(self.parts, plane), -distance)
        parts, index = mend(_laid(inner, np.linalg.inv(plane)))
        return Outlines(parts, self.owner[index], self.points, self.point_owner, self.count)

    def pixels_of_points(
        self, grid: Grid, window: Window
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Owner, row and column of the points in a window of full width."""
        t = grid.transform
        column = np.floor((self.points[:, 0] - t.c) / t.a).astype(np.int64)
        row = np.floor((self.points[:, 1] - t.f) / t.e).astype(np.int64)
        inside = (row >= window.top) & (row < window.bottom)
        inside &= (column >= 0) & (column < grid.width)
        return self.point_owner[inside], row[inside], column[inside]

    def take(self, chosen: np.ndarray) -> Outlines:
        """Those parts whose parcel is chosen (N,) bool; the numbers of the parcels stay."""
        of, at = chosen[self.owner], chosen[self.point_owner]
        return Outlines(
            self.parts[of], self.owner[of], self.points[at], self.point_owner[at], self.count
        )


def outlines(geometries: np.ndarray, crs: str, grid: Grid) -> Outlines:
    """Bring parcels (N,) shapely to the CRS of a grid, mended and taken apart."""
    dots = np.isin(shapely.get_type_id(geometries), (POINT, MULTIPOINT))
    none = np.full(len(geometries), None, object)
    parts, owner = mend(np.where(dots, none, geometries))
    pixel, world = min(grid.resolution), (-np.inf, -np.inf, np.inf, np.inf)
    bounds = extent.bounds_in(grid.bounds, grid.crs, crs)
    # Far wider than the tile: what reaches out of it keeps its measures.
    within = extent.widen(bounds, 1) if bounds else world
    parts, index = project(parts, crs, grid.crs, pixel=pixel, within=within)
    parts, again = mend(parts)
    owner = owner[index][again]
    areal = shapely.get_type_id(parts) == POLYGON
    order = np.argsort(owner[areal], kind="stable")
    coordinates, point_owner = shapely.get_coordinates(
        np.where(dots, geometries, none), return_index=True
    )
    moved, index = project(shapely.points(coordinates), crs, grid.crs, pixel=pixel, within=world)
    return Outlines(
        parts[areal][order],
        owner[areal][order],
        shapely.get_coordinates(moved).reshape(-1, 2),
        point_owner[index],
        len(geometries),
    )


def footprint(grid: Grid, crs: str) -> shapely.Polygon | None:
    """The outline of a grid in another CRS, its edges followed; None where that isn't defined."""
    box = np.array([shapely.box(*grid.bounds)])
    metres = 1e-4 if pyproj.CRS.from_user_input(crs).is_geographic else 10.0
    moved, _ = project(box, grid.crs, crs, pixel=metres, within=grid.bounds)
    parts, _ = mend(moved)
    return shapely.union_all(parts) if len(parts) else None


def _plane(parts: np.ndarray, grid: Grid) -> np.ndarray:
    """What turns map units into metres on the ground at the middle of each part: (M, 2, 2)."""
    bounds = shapely.bounds(parts).reshape(-1, 4)
    own = ground(grid.crs)
    planes = own.plane((bounds[:, :2] + bounds[:, 2:]) / 2)
    known = np.isfinite(planes).all(axis=(1, 2))
    if not known.all():
        planes[~known] = own.plane(np.array([grid.transform @ (grid.width / 2, grid.height / 2)]))
    return planes


def shape_features(outlines: Outlines, grid: Grid) -> np.ndarray:
    """Perimeter in metres, area in m², perimeter over area, share of the bounding box: (N, 4).

    0 for points. As in Garnot et al. 2020, in metres instead of pixels.
    """
    count, owner = outlines.count, outlines.owner
    # Each by the scale at its first part: its parts lie to each other as they do on the map.
    plane = _plane(outlines.parts, grid)
    _, first, number = np.unique(owner, return_index=True, return_inverse=True)
    parts = _laid(outlines.parts, plane[first][number.ravel()])
    perimeter = np.bincount(owner, weights=shapely.length(parts), minlength=count)
    area = np.bincount(owner, weights=shapely.area(parts), minlength=count)
    boxes = shapely.bounds(parts).reshape(-1, 4)
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, owner, boxes[:, :2])
    np.maximum.at(high, owner, boxes[:, 2:])
    outlined = area > 0
    features = np.zeros((count, 4))
    box = np.prod((high - low)[outlined], axis=1)
    features[outlined, 0] = perimeter[outlined]
    features[outlined, 1] = area[outlined]
    features[outlined, 2] = perimeter[outlined] / area[outlined]
    features[outlined, 3] = area[outlined] / box
    return features


def overlaps(outlines: Outlines) -> np.ndarray:
    """Pairs of parcels (Q, 2), a < b, that share more than OVERLAP of the smaller one's area."""
    parts, owner = outlines.parts, outlines.owner
    area = np.bincount(owner, weights=shapely.area(parts), minlength=outlines.count)
    a, b = shapely.STRtree(parts).query(parts)
    a, b = a[owner[a] < owner[b]], b[owner[a] < owner[b]]
    # Neighbours touch: what their boxes share tells most of them from those that overlap.
    boxes = shapely.bounds(parts).reshape(-1, 4)
    size = np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])
    least = OVERLAP * np.minimum(area[owner[a]], area[owner[b]])
    manifold = np.bincount(owner, minlength=outlines.count) > 1
    near = (size.prod(axis=1) > least) | manifold[owner[a]] | manifold[owner[b]]
    a, b = a[near], b[near]
    meet = _meet(parts, a, b)
    a, b = a[meet], b[meet]
    shared = shapely.area(shapely.intersection(parts[a], parts[b]))
    pairs, index = np.unique(
        np.stack([owner[a], owner[b]], axis=1).reshape(-1, 2), axis=0, return_inverse=True
    )
    shared = np.bincount(index.ravel(), weights=shared, minlength=len(pairs))
    return pairs[shared > OVERLAP * np.minimum(area[pairs[:, 0]], area[pairs[:, 1]])]


def _meet(parts: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether parts a and b (Q,) have a point in common; fast for large ones beside many small."""
    vertices = shapely.get_num_coordinates(parts)
    large = parts[vertices > LARGE]
    shapely.prepare(large)
    first = np.where(vertices[a] >= vertices[b], a, b)
    meet: np.ndarray = shapely.intersects(parts[first], parts[a + b - first])
    shapely.destroy_prepared(large)
    return meet


def layers(count: int, pairs: np.ndarray) -> np.ndarray:
    """A number (N,) for each parcel so that no two of a pair have the same: 0 for most."""
    number = np.zeros(count, np.int32)
    before: dict[int, set[int]] = {}
    for a, b in pairs.tolist():
        before.setdefault(b, set()).add(a)
    for b in sorted(before):
        taken = {int(number[a]) for a in before[b]}
        number[b] = next(n for n in range(len(taken) + 1) if n not in taken)
    return number


def _laid(parts: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Parts (M,) with their coordinates multiplied by a matrix of each (M, 2, 2)."""
    coordinates, index = shapely.get_coordinates(parts, return_index=True)
    moved = (planes[index] @ coordinates[..., None])[..., 0]
    return np.asarray(shapely.set_coordinates(parts.copy(), moved))
