"""Measure distances and areas on the ellipsoid, whatever the CRS.

A metre of Web Mercator is half a metre on the ground at 60° N, a degree has no size of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj

HECTARE = 10_000.0
"""In square metres."""
STEP_M = 100.0
"""Metres over which the scale at a place is measured: far above rounding, far below any change."""
TRUE = 0.01
"""By how much a map's scale may differ from 1 to be measured on the map itself."""


@lru_cache(maxsize=64)
def ground(crs: str) -> Ground:
    """The ground of a CRS (WKT or authority code)."""
    system = pyproj.CRS.from_user_input(crs)
    unit = system.axis_info[0].unit_conversion_factor if system.axis_info else 1.0
    base = system.geodetic_crs
    if base is not None and base.type_name.startswith("Derived"):
        base = base.source_crs
    geod = base.get_geod() if base is not None else None
    if base is None or geod is None or not base.is_geographic:
        return Ground(unit, None)
    try:
        transformer = pyproj.Transformer.from_crs(system, base, always_xy=True)
    except pyproj.exceptions.ProjError:
        return Ground(unit, None)
    radian = base.axis_info[0].unit_conversion_factor
    step = STEP_M / (geod.a if system.is_geographic else 1.0) / unit
    return Ground(unit, Ellipsoid(transformer, radian, geod.a, geod.es), step)


@dataclass(frozen=True)
class Ellipsoid:
    """The figure of the Earth that a CRS lies on."""

    transformer: pyproj.Transformer
    """From map coordinates to longitude and latitude."""
    radian: float
    """Radians in a unit of these."""
    a: float
    """Semi-major axis in metres."""
    es: float
    """Square of the eccentricity."""

    def angles(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude in radians (…) of map coordinates (…, 2); NaN where undefined."""
        flat = places.reshape(-1, 2)
        found = self.transformer.transform(flat[:, 0], flat[:, 1])
        longitude, latitude = (np.asarray(part, float) * self.radian for part in found)
        lost = ~(np.isfinite(longitude) & (np.abs(latitude) <= math.pi / 2 + 1e-3))
        longitude[lost] = latitude[lost] = np.nan
        return longitude.reshape(places.shape[:-1]), latitude.reshape(places.shape[:-1])

    def points(self, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        """Cartesian coordinates (…, 3) in metres: they have neither poles nor a date line."""
        sine = np.sin(latitude)
        across = self.a / np.sqrt(1 - self.es * sine**2)
        level = across * np.cos(latitude)
        return np.stack(
            (
                level * np.cos(longitude),
                level * np.sin(longitude),
                across * (1 - self.es) * sine,
            ),
            axis=-1,
        )


@dataclass(frozen=True)
class Ground:
    """What map units are on the ground."""

    unit: float
    """Metres of a map unit by the CRS's own word (of degrees: radians)."""
    ellipsoid: Ellipsoid | None
    """None: a local CRS that is tied to no place on Earth; its unit is taken at its word."""
    step: float = 1.0
    """STEP_M in map units."""

    @property
    def is_local(self) -> bool:
        return self.ellipsoid is None

    def scale(self, places: np.ndarray) -> np.ndarray:
        """What map units are at places (N, 2).

        Returns: (N, 2, 2) matrices that turn map units in x and y into metres to the east and
        north; NaN where the CRS is not defined.
        """
        places = np.asarray(places, float).reshape(-1, 2)
        if self.ellipsoid is None:
            return np.tile(self.unit * np.eye(2), (len(places), 1, 1))
        h = self.step / 2
        ends = places + np.array([[[0, 0]], [[-h, 0]], [[h, 0]], [[0, -h]], [[0, h]]])
        longitude, latitude = self.ellipsoid.angles(ends)
        points = self.ellipsoid.points(longitude[1:], latitude[1:])
        moves = np.stack((points[1] - points[0], points[3] - points[2]), axis=-1) / self.step
        longitude, latitude = longitude[0], latitude[0]
        # One that lies beyond a pole, as the edge of a global grid may, is nowhere.
        longitude = np.where(np.abs(latitude) > math.pi / 2 + 1e-9, np.nan, longitude)
        sines, cosines = (f(np.stack((longitude, latitude))) for f in (np.sin, np.cos))
        east = np.stack((-sines[0], cosines[0], np.zeros(len(places))), axis=-1)
        north = np.stack((-sines[1] * cosines[0], -sines[1] * sines[0], cosines[1]), axis=-1)
        axes = np.stack((east, north), axis=1)
        found: np.ndarray = axes @ moves
        return found

    def areas(self, places: np.ndarray) -> np.ndarray:
        """Square metres (N,) of a square map unit at places (N, 2); NaN where undefined."""
        (east_x, east_y), (north_x, north_y) = self.scale(places).transpose(1, 2, 0)
        return np.asarray(np.abs(east_x * north_y - east_y * north_x))

    def sides(self, places: np.ndarray) -> np.ndarray:
        """Metres (N, 2) of a map unit along x and along y at places (N, 2)."""
        found: np.ndarray = np.sqrt((self.scale(places) ** 2).sum(axis=1))
        return found

    def plane(self, places: np.ndarray) -> np.ndarray:
        """As `scale`, (N, 2, 2), but turned so that the map's x remains x: only stretched and
        sheared to metres."""
        x, y = self.scale(places).transpose(2, 0, 1)
        along = np.hypot(*x.T)
        area = np.abs(x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0])
        rows = (along, (x * y).sum(axis=1) / along), (np.zeros_like(along), area / along)
        return np.asarray(np.array(rows).transpose(2, 0, 1))

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Metres (N,) from places (N, 2) to others: straight, which is short of the way by 1 m in
        100 km; NaN where undefined."""
        a, b = (np.asarray(places, float).reshape(-1, 2) for places in (a, b))
        if self.ellipsoid is None:
            return np.asarray(np.hypot(*(a - b).T) * self.unit)
        ends = [self.ellipsoid.points(*self.ellipsoid.angles(places)) for places in (a, b)]
        return np.asarray(np.linalg.norm(ends[0] - ends[1], axis=-1))

    def flat(self, places: np.ndarray) -> np.ndarray:
        """Places (N, 2) in metres on a plane.

        The map's own where it is true to a hundredth at all of them, else an equal-area one around
        their middle.
        """
        places = np.asarray(places, float).reshape(-1, 2)
        if self.ellipsoid is None or not len(places):
            return places * self.unit
        with np.errstate(invalid="ignore"):
            if (np.abs(self.sides(places) / self.unit - 1) <= TRUE).all():
                return places * self.unit
        longitude, latitude = self.ellipsoid.angles(places)
        x, y, z = np.nanmean(self.ellipsoid.points(longitude, latitude), axis=0)
        middle = math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))
        figure = f"+a={self.ellipsoid.a} +es={self.ellipsoid.es}"
        equal_area = pyproj.Proj(f"+proj=laea +lon_0={middle[0]} +lat_0={middle[1]} {figure}")
        return np.stack(equal_area(np.degrees(longitude), np.degrees(latitude)), axis=1)
