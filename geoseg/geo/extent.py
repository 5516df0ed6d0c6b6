"""Compare the extents of layers and scenes across CRSs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from pyproj.aoi import AreaOfInterest
from pyproj.exceptions import ProjError
from pyproj.transformer import TransformerGroup

from geoseg.geo.grid import Grid

WGS84 = "EPSG:4326"
Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""
GEOCENTRIC = 6_378_137.0
"""Metres: larger half axis of the ellipsoids of datums that lie about the Earth's centre."""
MODERN_M = 2.0
"""By which these may differ."""


@lru_cache(maxsize=10_000)  # many label files ask for the same scene
def bounds_in(bounds: Bounds, source: str, target: str) -> Bounds | None:
    """Bounds in another CRS, with edges followed; None where that CRS isn't defined."""
    box = _raw(bounds, source, target)
    if not np.isfinite(box).all():
        return None
    if box[0] > box[2]:  # the antimeridian lies within
        return -180.0, box[1], 180.0, box[3]
    return box


@lru_cache(maxsize=256)
def datum_error_m(source: str, target: str, within: Bounds) -> float:
    """Metres by which places may be off that are taken from one CRS to another; infinity where
    nothing is known here of how their datums lie, so that the shift between them is left out.

    within: degrees of where the places lie.
    """
    one, two = (pyproj.CRS.from_user_input(crs) for crs in (source, target))
    west, south, east, north = within
    area: Any = AreaOfInterest(west, max(south, -90.0), east, min(north, 90.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a better way that needs a grid
        try:
            best = TransformerGroup(one, two, always_xy=True, area_of_interest=area).transformers[0]
        except (ProjError, IndexError):
            return 0.0
    if "Ballpark" not in best.description:
        return max(0.0, best.accuracy)
    axes = {system.ellipsoid.semi_major_metre for system in (one, two) if system.ellipsoid}
    return MODERN_M if axes == {GEOCENTRIC} else math.inf


@lru_cache(maxsize=64)
def full_turn(crs: str) -> float:
    """After how many units of longitude a geographic CRS is at the same place; 0 of others."""
    system = pyproj.CRS.from_user_input(crs)
    if not system.is_geographic:
        return 0.0
    return float(round(2 * np.pi / system.axis_info[0].unit_conversion_factor, 6))


@lru_cache(maxsize=10_000)
def across_antimeridian(bounds: Bounds, source: str, target: str) -> bool:
    """Whether the antimeridian of `target`, a geographic CRS, cuts bounds of less than half the
    world."""
    turn = full_turn(target)
    if not turn or not np.isfinite(box := _raw(bounds, source, target)).all():
        return False
    return box[0] > box[2] and box[2] + turn - box[0] < turn / 2


def bounds_beyond(bounds: Bounds, source: str, target: str) -> Bounds | None:
    """As `bounds_in`, of places that are near the antimeridian: longitudes from 0 to a full turn,
    which go on where it is crossed."""
    box, turn = _raw(bounds, source, target), full_turn(target)
    if not np.isfinite(box).all():
        return None
    left, bottom, right, top = box
    return left % turn, bottom, left % turn + (right - left) % turn, top


def sides_in(bounds: Bounds, source: str, target: str) -> list[Bounds]:
    """As `bounds_in`, but in two parts where the antimeridian goes through small ones."""
    if across_antimeridian(bounds, source, target):
        left, bottom, right, top = _raw(bounds, source, target)
        half = full_turn(target) / 2
        return [(left, bottom, half, top), (-half, bottom, right, top)]
    box = bounds_in(bounds, source, target)
    return [] if box is None else [box]


def is_torn(grid: Grid, crs: str) -> bool:
    """Whether a grid lies across the antimeridian, and a CRS draws its two sides far apart."""
    if not across_antimeridian(grid.bounds, grid.crs, WGS84):
        return False
    beyond = bounds_beyond(grid.bounds, grid.crs, WGS84)
    latitude = (beyond[1] + beyond[3]) / 2 if beyond else 0.0
    hair = 1e-6
    to_crs = pyproj.Transformer.from_crs(WGS84, crs, always_xy=True)
    places = to_crs.transform([180 - 2 * hair, 180 - hair, -180 + hair], [latitude] * 3)
    beside, across = np.hypot(*np.diff(places))
    return bool(across > 100 * beside)


def turned(box: Bounds, crs: str) -> list[tuple[float, Bounds]]:
    """A box, and in a geographic CRS where the same ground lies a turn to the east and west.

    Files count longitudes from -180 or from 0, and go on beyond 180 where they cross it.
    Returns: units by which it is moved, and the moved box.
    """
    turn = full_turn(crs)
    if not turn or box[2] - box[0] >= turn / 2:
        return [(0.0, box)]
    left, bottom, right, top = box
    return [(by, (left + by, bottom, right + by, top)) for by in (0.0, turn, -turn)]


def apart_by_a_turn(boxes: Sequence[Bounds], crs: str) -> bool:
    """Whether boxes lie around the antimeridian of a geographic CRS, on both sides of it.

    Then what covers them goes around the world, and at least twice as far as the way across.
    """
    turn = full_turn(crs)
    whole = union(boxes)
    if not turn or whole is None or any(box[2] - box[0] >= turn / 2 for box in boxes):
        return False
    begins = sorted((box[0] % turn, box[2] - box[0]) for box in boxes)
    reached, gap = begins[0][0], 0.0
    for begin, width in [*begins, (begins[0][0] + turn, 0.0)]:
        gap = max(gap, begin - reached)
        reached = max(reached, begin + width)
    return turn - gap < (whole[2] - whole[0]) / 2


def _raw(bounds: Bounds, source: str, target: str) -> Bounds:
    """Bounds in another CRS, left above right across the antimeridian; infinite = nowhere."""
    left, bottom, right, top = bounds
    # A point is an extent too, but a grid of no size has no transform.
    grid = Grid(source, Affine(right - left or 1e-9, 0, left, 0, bottom - top or -1e-9, top), 1, 1)
    try:
        return grid.bounds_in(target)
    except pyproj.exceptions.ProjError:
        return np.inf, np.inf, np.inf, np.inf


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
