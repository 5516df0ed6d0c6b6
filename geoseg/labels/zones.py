"""Read the zones of a vector file, and number the pixels of a grid by them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import canonical
from geoseg.geo.rasterize import burn
from geoseg.geo.vector import Features, Layer
from geoseg.labels.shapes import LINE, RING, mend, project

OUTSIDE = 0
"""Number of pixels in no zone."""
MOST = 100_000
"""Zones of a file, at most: a field of numbers that are all different is not what was meant."""


def is_zones(given: str) -> bool:
    """Whether a setting names a file and its field: communes.gpkg:name."""
    path, _, field = given.rpartition(":")
    # C:\zones.gpkg has a colon, but no field.
    named = bool(field) and "/" not in field and "\\" not in field
    return named and len(path) > 1 and not os.path.exists(given)


@dataclass(frozen=True)
class Zones:
    """Named areas, opened for one grid; features of one name are one zone.

    Where zones overlap, a pixel counts once, for the zone whose first feature comes first.
    """

    path: str
    field: str
    crs: str
    """Of `geometries`."""
    names: tuple[str, ...]
    geometries: np.ndarray
    """(Z,) whole zones, as the file has them."""
    notes: tuple[str, ...]
    """What people must be told of the file."""
    _grid: Grid
    _polygons: np.ndarray
    _numbers: np.ndarray
    _tree: shapely.STRtree

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def open(cls, given: str, grid: Grid, *, key: str = "zones", apart: bool = False) -> Zones:
        """Open <file>:<field>.

        apart: whether zones that overlap by more than a pixel are refused.
        Raises: InputError if file, field or polygons are missing, or none lies on the grid.
        """
        path, field = parse(given, key)
        layer = Layer(path, columns=(field,), prefix=f"{key}.")
        found = Features.joined(list(layer.scan()))
        names = _names(found.columns[field])
        parts, index = mend(found.geometries)
        areal = ~np.isin(shapely.get_type_id(parts), (LINE, RING))
        parts, index = parts[areal], index[areal]
        kept = np.array([names[i] is not None for i in index], bool)
        notes = _notes(path, field, names, index)
        parts, index = parts[kept], index[kept]
        if not len(parts):
            raise InputError(
                f"{key}={given}: no polygon with a value of {field}; zones are polygons"
            )
        order = {name: None for i in sorted(set(index.tolist())) if (name := names[i])}
        numbers = {name: number for number, name in enumerate(order, 1)}
        if len(numbers) > MOST:
            raise InputError(
                f"{key}={given}: {len(numbers)} different values of {field}, at most {MOST};"
                " choose an attribute that names the zones"
            )
        owner = np.array([numbers[str(names[i])] for i in index], np.int32)
        whole = [shapely.multipolygons(parts[owner == n]) for n in range(1, len(numbers) + 1)]
        placed, owner = _place(parts, owner, layer.crs, grid)
        zones = cls(
            *(path, field, layer.crs, tuple(numbers), np.array(whole, object), notes),
            *(grid, placed, owner, shapely.STRtree(placed)),
        )
        if not len(zones._near(grid.window)):
            where = extent.bounds_in(_box(parts), layer.crs, extent.WGS84)
            here = extent.bounds_in(grid.bounds, grid.crs, extent.WGS84)
            raise InputError(
                f"{key}={given}: no zone lies on the map; the zones are at"
                f" {extent.degrees(where)}, the map at {extent.degrees(here)}"
            )
        if apart:
            zones._check_apart()
        return zones

    def burn(self, window: Window) -> np.ndarray:
        """Zone of each pixel (h, w) int32: 1 = the first name, OUTSIDE = none.

        A pixel belongs to the zone that its centre lies in.
        """
        return self._burn(window, self._near(window)[::-1])

    def overlap(self, window: Window, burnt: np.ndarray) -> np.ndarray:
        """Which pixels (h, w) bool lie in several zones; burnt: what `burn` gave."""
        return np.asarray(self._burn(window, self._near(window)) != burnt)

    def _check_apart(self) -> None:
        a, b = self._tree.query(self._polygons)
        apart = (a < b) & (self._numbers[a] != self._numbers[b])
        a, b = a[apart], b[apart]
        shared = shapely.area(shapely.intersection(self._polygons[a], self._polygons[b]))
        pixel = float(np.prod(self._grid.resolution))
        if (shared > pixel).any():
            worst = int(shared.argmax())
            one, other = (self.names[self._numbers[side[worst]] - 1] for side in (a, b))
            raise InputError(
                f"{self.path}: zones overlap, {one} and {other} by {shared[worst] / pixel:,.0f}"
                f" pixels of the map ({int((shared > pixel).sum())} such pairs); a place may lie in"
                " one zone only: mend the layer"
            )

    def _burn(self, window: Window, chosen: np.ndarray) -> np.ndarray:
        if not len(chosen):
            return np.zeros((window.height, window.width), np.int32)
        values = self._numbers[chosen]
        return burn(self._polygons[chosen], values, self._grid, window=window)

    def _near(self, window: Window) -> np.ndarray:
        """Polygons that may touch a window, in the order of their zones."""
        found = self._tree.query(shapely.box(*self._grid.bounds_of(window.grow(1))))
        return np.asarray(found[np.lexsort((found, self._numbers[found]))])

    @property
    def settings(self) -> str:
        return f"{self.path}:{self.field}"


def parse(
    given: str, key: str, *, holds: str = "the zones' names", example: str = "name"
) -> tuple[str, str]:
    """File and field. holds, example: what the field is to hold, and what it may be called.

    Raises: InputError.
    """
    path, _, field = given.rpartition(":")
    if not is_zones(given):
        raise InputError(
            f"{key}={given}: no field; write {key}=<file>:<attribute with {holds}>, say"
            f" {key}={given.rstrip(':')}:{example}"
        )
    return os.path.expanduser(path), field


def _names(values: np.ndarray) -> list[str | None]:
    """Names of zones: text, with the same for 7 and 7.0; None where there is no value."""
    return [None if _missing(value) else canonical(value) or None for value in values]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _notes(path: str, field: str, names: list[str | None], polygons: np.ndarray) -> tuple[str, ...]:
    count = len(names)
    nameless = sum(name is None for name in names)
    shapeless = count - len(set(polygons.tolist()))
    said = []
    if nameless:
        said.append(f"{path}: {nameless} of {count} features have no {field} and count to no zone")
    if shapeless:
        said.append(f"{path}: {shapeless} of {count} features are no polygons and count to no zone")
    return tuple(said)


def _box(parts: np.ndarray) -> extent.Bounds:
    left, bottom, right, top = shapely.total_bounds(parts).tolist()
    return left, bottom, right, top


def _place(
    parts: np.ndarray, owner: np.ndarray, crs: str, grid: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """Polygons in the grid's CRS, and their zones."""
    around = extent.bounds_in(grid.bounds_of(grid.window.grow(16)), grid.crs, crs)
    if around is None:
        return parts[:0], owner[:0]
    within, pixel = extent.widen(around, 0.1), min(grid.resolution)
    found = []
    for by, box in extent.turned(within, crs):
        there, mine = parts, np.arange(len(parts))
        if by:  # the same ground, where the file counts its longitudes otherwise
            mine = np.flatnonzero(shapely.intersects(parts, shapely.box(*box)))
            there = shapely.transform(parts[mine], lambda places, by=by: places - (by, 0.0))
        moved, index = project(there, crs, grid.crs, pixel=pixel, within=within)
        polygons, origin = mend(moved)
        areal = ~np.isin(shapely.get_type_id(polygons), (LINE, RING))
        found.append((polygons[areal], owner[mine][index][origin][areal]))
    drawn, owners = (np.concatenate(column) for column in zip(*found, strict=True))
    return drawn, owners
