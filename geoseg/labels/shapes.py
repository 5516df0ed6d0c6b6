"""Repair, reproject and widen geometries before they are burnt."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely

from geoseg.geo.extent import Bounds
from geoseg.geo.grid import same_crs, transformer
from geoseg.geo.ground import ground

POINT, LINE, RING, POLYGON, MULTIPOINT, MULTILINE, MULTIPOLYGON, COLLECTION = range(8)
"""Type numbers of shapely (and GEOS)."""
STRAIGHT = 0.1
"""Pixels by which an edge may leave its true course when its ends move to another CRS."""


def mend(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take geometries (N,) apart into valid polygons, and into lines.

    A multipolygon is what any of its parts covers, though these should not overlap. Points fall
    away, and so do lines in collections: they are what is left of broken polygons.
    Returns: parts (M,) Polygon or LineString, the geometry that each comes from (M,) int.
    """
    geometries = np.array(geometries, dtype=object)
    geometries[~finite(geometries)] = None
    areal = np.isin(shapely.get_type_id(geometries), (POLYGON, MULTIPOLYGON, COLLECTION))
    invalid = areal & ~shapely.is_valid(geometries)
    several = invalid & (shapely.get_type_id(geometries) != POLYGON)
    for place in np.flatnonzero(several):
        # As a whole, make_valid would leave out where two parts overlap.
        found, _ = explode(geometries[[place]])
        geometries[place] = shapely.union_all(shapely.make_valid(found))
    geometries[invalid & ~several] = shapely.make_valid(geometries[invalid & ~several])
    parts, index = explode(geometries)
    kinds = shapely.get_type_id(parts)
    use = (kinds == POLYGON) | (np.isin(kinds, (LINE, RING)) & ~areal[index])
    use &= ~shapely.is_empty(parts)
    return parts[use], index[use]


def explode(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Single parts (M,) of geometries (N,) of any nesting, and where each comes from (M,) int."""
    parts, index = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_type_id(parts) >= MULTIPOINT).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        index = index[inner]
    return parts, index


def unpack(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Geometries (M,) without collections: of these what is in them, and where each comes from."""
    index = np.arange(len(geometries))
    while (packed := shapely.get_type_id(geometries) == COLLECTION).any():
        parts, inner = shapely.get_parts(geometries[packed], return_index=True)
        index = np.concatenate([index[~packed], index[packed][inner]])
        geometries = np.concatenate([geometries[~packed], parts])
    return geometries, index


def finite(geometries: np.ndarray) -> np.ndarray:
    """Which geometries (N,) have nothing but finite coordinates: (N,) bool; None has none."""
    coordinates, index = shapely.get_coordinates(geometries, return_index=True)
    good = ~shapely.is_missing(geometries)
    good[index[~np.isfinite(coordinates).all(axis=1)]] = False
    return good


def project(
    geometries: np.ndarray,
    source: str,
    target: str,
    *,
    pixel: float,
    within: Bounds,
) -> tuple[np.ndarray, np.ndarray]:
    """Take geometries (N,) from the CRS `source` to `target`.

    Edges that would leave their course by more than a tenth of a pixel get more vertices first.
    pixel: its side in units of `target`. within: left, bottom, right, top in `source`; what
    reaches beyond is cut there, as `target` may not be defined all over the world.
    Returns: geometries (M,), where each comes from (M,) int: cutting makes parts, or nothing.
    """
    index = np.arange(len(geometries))
    if same_crs(source, target) or not len(geometries):
        return geometries, index
    left, bottom, right, top = shapely.bounds(geometries).T
    beyond = (left < within[0]) | (bottom < within[1]) | (right > within[2]) | (top > within[3])
    if beyond.any():
        parts, origin = explode(shapely.intersection(geometries[beyond], shapely.box(*within)))
        geometries = np.concatenate([geometries[~beyond], parts])
        index = np.concatenate([index[~beyond], index[beyond][origin]])
    moved = _move(geometries, transformer(source, target), STRAIGHT * pixel)
    good = finite(moved) & ~shapely.is_empty(moved)
    return moved[good], index[good]


def _move(geometries: np.ndarray, transformer: pyproj.Transformer, tolerance: float) -> np.ndarray:
    """Transform the vertices; the result depends on each geometry alone, not on its company."""
    # The deviation falls with the square of the length; the second round mends what was longer
    # than that rule is good for.
    for _ in range(2):
        length = _longest_edges(geometries, transformer, tolerance)
        if np.isinf(length).all():
            break
        bent = np.isfinite(length)
        geometries = geometries.copy()
        geometries[bent] = shapely.segmentize(geometries[bent], length[bent])
    coordinates = shapely.get_coordinates(geometries)
    x, y = transformer.transform(coordinates[:, 0], coordinates[:, 1])
    return shapely.set_coordinates(geometries.copy(), np.stack([x, y], axis=1))


def _longest_edges(
    geometries: np.ndarray, transformer: pyproj.Transformer, tolerance: float
) -> np.ndarray:
    """Length (N,) to which edges must be cut to keep their course; infinite = none must be."""
    longest = np.full(len(geometries), np.inf)
    coordinates, index = shapely.get_coordinates(geometries, return_index=True)
    if len(coordinates) < 2:
        return longest
    ends = np.stack(transformer.transform(coordinates[:, 0], coordinates[:, 1]), axis=1)
    middle = (coordinates[1:] + coordinates[:-1]) / 2
    true = np.stack(transformer.transform(middle[:, 0], middle[:, 1]), axis=1)
    with np.errstate(invalid="ignore"):
        deviation = np.hypot(*(true - (ends[1:] + ends[:-1]) / 2).T)
        # From one ring to the next there is no edge; taking it for one only adds vertices.
        bent = (index[1:] == index[:-1]) & (deviation > tolerance) & np.isfinite(deviation)
    edge = np.hypot(*(coordinates[1:] - coordinates[:-1]).T)[bent]
    np.minimum.at(longest, index[1:][bent], 0.9 * edge * np.sqrt(tolerance / deviation[bent]))
    return longest


def widen(lines: np.ndarray, widths_m: np.ndarray, crs: str) -> np.ndarray:
    """Lines (N,) in a CRS, made polygons of these widths in metres on the ground (N,).

    Ends are round: networks are cut at junctions and bends, where flat ends leave wedges open.
    The scale of the CRS is taken at each line's middle, so degrees and Web Mercator do as well.
    """
    if not len(lines):
        return lines
    bounds = shapely.bounds(lines)
    middle = (bounds[:, :2] + bounds[:, 2:]) / 2
    forth = metre(crs, middle)
    coordinates, index = shapely.get_coordinates(lines, return_index=True)
    local = np.linalg.solve(forth[index], (coordinates - middle[index])[..., None])[..., 0]
    flat = shapely.set_coordinates(lines.copy(), local)
    wide = shapely.buffer(flat, widths_m / 2, cap_style="round", join_style="round")
    coordinates, index = shapely.get_coordinates(wide, return_index=True)
    back = (forth[index] @ coordinates[..., None])[..., 0] + middle[index]
    return shapely.set_coordinates(wide, back)


def metre(crs: str, places: np.ndarray) -> np.ndarray:
    """What a metre on the ground is at places (N, 2) of a CRS.

    Returns: (N, 2, 2) matrices that turn metres to the east and north into map units.
    """
    return np.linalg.inv(ground(crs).scale(places))
