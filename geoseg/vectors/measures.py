"""Measure polygons on the ellipsoid."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyproj
import shapely

from geoseg.geo.grid import Grid
from geoseg.geo.ground import Ellipsoid, ground
from geoseg.vectors.components import on_map

Project = Callable[[np.ndarray, np.ndarray], np.ndarray]


def placed(polygons: np.ndarray, grid: Grid) -> np.ndarray:
    """Polygons or lines (N,) in pixels of a grid, brought to its map coordinates."""
    return np.asarray(shapely.transform(polygons, lambda corners: on_map(corners, grid)))


def measured(polygons: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Area in m² and perimeter in m (N,) on the ground of polygons in map coordinates.

    Areas by an equal-area projection of the vertices; edges of polygons that share them are the
    same lines in it, so the areas of a coverage sum up to that of the whole.
    """
    own = ground(grid.crs)
    if own.ellipsoid is None:
        return shapely.area(polygons) * own.unit**2, shapely.length(polygons) * own.unit
    project = _equal_area(own.ellipsoid, grid)
    longitude, latitude = own.ellipsoid.angles(shapely.get_coordinates(polygons))
    flat = shapely.set_coordinates(polygons.copy(), project(longitude, latitude))
    return np.asarray(shapely.area(flat)), _perimeters(polygons, own.ellipsoid)


def lengths(lines: np.ndarray, crs: str) -> np.ndarray:
    """Metres on the ground of lines (N,) in map coordinates."""
    coordinates, owner = shapely.get_coordinates(lines, return_index=True)
    steps = ground(crs).distance(coordinates[:-1], coordinates[1:])
    within = owner[1:] == owner[:-1]
    return np.bincount(owner[1:][within], weights=steps[within], minlength=len(lines))


def _perimeters(polygons: np.ndarray, ellipsoid: Ellipsoid) -> np.ndarray:
    """Straight from vertex to vertex, which is short of the way by 1 m in 100 km."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    points = ellipsoid.points(*ellipsoid.angles(coordinates))
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    within = ring[1:] == ring[:-1]
    return np.bincount(owner[ring[1:][within]], weights=steps[within], minlength=len(polygons))


def _equal_area(ellipsoid: Ellipsoid, grid: Grid) -> Project:
    """An equal-area projection of longitudes and latitudes in radians."""
    figure = f"+a={ellipsoid.a} +es={ellipsoid.es}"
    if grid.is_geographic:
        # Parallels and meridians, as pixels have them, are straight in a cylindrical one.
        text = f"+proj=cea {figure}"
    else:
        middle = on_map(np.array([(grid.width / 2, grid.height / 2)]), grid)
        longitude, latitude = (math.degrees(v[0]) for v in ellipsoid.angles(middle))
        text = f"+proj=laea +lon_0={longitude} +lat_0={latitude} {figure}"
    made = pyproj.Proj(text)

    def project(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        return np.stack(made(np.degrees(longitude), np.degrees(latitude)), axis=1)

    return project
