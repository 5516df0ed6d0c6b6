"""Compare the extents of layers and scenes across CRSs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import pyproj
from affine import Affine

from geoseg.geo.grid import Grid

WGS84 = "EPSG:4326"
Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@lru_cache(maxsize=10_000)  # many label files ask for the same scene
def bounds_in(bounds: Bounds, source: str, target: str) -> Bounds | None:
    """Bounds in another CRS, with edges followed; None where that CRS isn't defined."""
    left, bottom, right, top = bounds
    # A point is an extent too, but a grid of no size has no transform.
    grid = Grid(source, Affine(right - left or 1e-9, 0, left, 0, bottom - top or -1e-9, top), 1, 1)
    try:
        box = grid.bounds_in(target)
    except pyproj.exceptions.ProjError:
        return None
    if not np.isfinite(box).all():
        return None
    if box[0] > box[2]:  # the antimeridian lies within
        return -180.0, box[1], 180.0, box[3]
    return box


def widen(bounds: Bounds, share: float) -> Bounds:
    """Bounds moved outwards by a share of their width and height."""
    left, bottom, right, top = bounds
    x, y = share * (right - left), share * (top - bottom)
    return left - x, bottom - y, right + x, top + y


def union(boxes: Iterable[Bounds | None]) -> Bounds | None:
    held = np.array([box for box in boxes if box is not None])
    if not len(held):
        return None
    low, high = held.min(axis=0), held.max(axis=0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])


def cross(a: Bounds | None, b: Bounds | None) -> bool:
    """Whether two bounds of one CRS have an area in common."""
    if a is None or b is None:
        return False
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def is_local(crs: str) -> bool:
    """Whether a CRS is a drawing's or a building site's own, without a place on the Earth."""
    return bool(pyproj.CRS.from_user_input(crs).is_engineering)


def swapped(bounds: Bounds | None) -> Bounds | None:
    """With x and y exchanged."""
    return bounds and (bounds[1], bounds[0], bounds[3], bounds[2])


def degrees(bounds: Bounds | None) -> str:
    """Text for bounds in WGS84."""
    if bounds is None:
        return "nowhere"
    left, bottom, right, top = bounds
    return f"longitude {left:.5f}..{right:.5f}, latitude {bottom:.5f}..{top:.5f}"
