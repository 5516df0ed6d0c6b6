"""Outline windows of several scenes in one CRS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from geoseg.geo.extent import WGS84, full_turn
from geoseg.geo.grid import Grid, Window, known_crs, same_crs, transformer
from geoseg.labels.shapes import STRAIGHT, project

NOWHERE = (-np.inf, -np.inf, np.inf, np.inf)
"""Bounds that cut nothing."""


def outlines(windows: Sequence[tuple[Grid, Window]]) -> tuple[np.ndarray, str]:
    """Polygons (N,) of windows of scenes, and their CRS: that of the first scene.

    Scenes of another CRS lie turned in it: their windows get the corners that they have there, so
    that what is burnt of them are the windows' pixels and no others. Where the first one's CRS has
    no place for all windows, or another than it came from, the polygons are in degrees.
    """
    first = windows[0][0].crs
    made = _in_crs(windows, first)
    if made is not None:
        return made, first
    found = _in_crs(windows, WGS84)
    # All scenes have a place on the Earth: what has none else lies at the edge of its own CRS.
    boxes = np.array([shapely.box(*grid.bounds_of(window)) for grid, window in windows])
    return (found, WGS84) if found is not None else (boxes, first)


def _in_crs(windows: Sequence[tuple[Grid, Window]], crs: str) -> np.ndarray | None:
    """The polygons (N,) in a CRS; None if one of them can't be drawn in it."""
    made = np.array([shapely.box(*grid.bounds_of(window)) for grid, window in windows])
    known: list[str] = []
    groups: dict[tuple[str, tuple[float, float]], list[int]] = {}
    for number, (grid, _) in enumerate(windows):
        own = known_crs(grid.crs, known)
        known += [own] if own not in known else []
        groups.setdefault((own, grid.resolution), []).append(number)
    for (own, resolution), places in groups.items():
        if same_crs(own, crs):
            continue
        drawn = _moved(made[places], own, crs, pixel=min(resolution))
        if drawn is None:
            return None
        made[places] = drawn
    return made


def _moved(boxes: np.ndarray, own: str, crs: str, *, pixel: float) -> np.ndarray | None:
    """Boxes (N,) of one CRS in another; None if one has no place there, or does not come back."""
    there = transformer(own, crs)
    corners = shapely.get_coordinates(shapely.centroid(boxes))
    steps = [there.transform(*(corners + by).T) for by in ((0.0, 0.0), (pixel, 0.0), (0.0, pixel))]
    sizes = [np.hypot(*np.subtract(step, steps[0])) for step in steps[1:]]
    if not np.isfinite(sizes).all():
        return None
    drawn, index = project(boxes, own, crs, pixel=float(np.min(sizes)), within=NOWHERE)
    if len(index) < len(boxes):
        return None
    if turn := full_turn(crs):
        drawn = np.array([_cut(polygon, turn) for polygon in drawn])
    corners, index = shapely.get_coordinates(drawn, return_index=True)
    back = np.stack(transformer(crs, own).transform(*corners.T), axis=1)
    if not np.isfinite(back).all():
        return None
    away = shapely.distance(boxes[index], shapely.points(back))
    return drawn if (away <= STRAIGHT * pixel).all() else None


def _cut(polygon: shapely.Polygon, turn: float) -> shapely.Geometry:
    """A polygon of degrees, in two parts where the antimeridian goes through it."""
    left, _, right, _ = polygon.bounds
    if right - left < turn / 2:
        return polygon
    east = np.array([turn, 0.0])
    whole = shapely.transform(polygon, lambda places: places + (places[:, :1] < 0) * east)
    half = shapely.box(turn / 2, -turn, turn, turn)
    parts = (
        shapely.difference(whole, half),
        shapely.transform(shapely.intersection(whole, half), lambda places: places - east),
    )
    return shapely.union_all([part for part in parts if not part.is_empty])
