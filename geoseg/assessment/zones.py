"""Read zones, polygons with a name, and burn them on a map's grid."""

from __future__ import annotations

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import canonical
from geoseg.geo.rasterize import burn
from geoseg.geo.vector import Layer
from geoseg.labels.shapes import POLYGON, mend, project
from geoseg.outputs.counted import counted

MOST = 60_000
"""Zones that fit into the numbers they are burnt with."""


def is_zones(text: str) -> bool:
    """Whether a setting names a file and its attribute: communes.gpkg:name."""
    path, _, field = text.rpartition(":")
    return bool(path and field) and "/" not in field and "\\" not in field


class Zones:
    """Polygons of N zones on a grid; features of one name are one zone."""

    def __init__(self, text: str, grid: Grid, *, key: str) -> None:
        """Read all of a layer. text: <vector file>:<attribute>. key: name of the setting.

        Raises: InputError if the file or attribute is missing, zones overlap, or miss the grid.
        """
        path, _, field = text.rpartition(":")
        if not is_zones(text):
            raise InputError(
                f"{key}={text}: expected <vector file>:<attribute with the zone's name>, as in"
                " communes.gpkg:name"
            )
        layer = Layer(path, columns=(field,), prefix=f"{key}.")
        parts = list(layer.scan())
        geometries = np.concatenate([part.geometries for part in parts])
        values = np.concatenate([np.asarray(part.columns[field], object) for part in parts])
        said = ["" if value is None or value != value else canonical(value) for value in values]
        named = np.array([name != "" for name in said], bool)
        names = [name for name in said if name]
        self.path, self._grid = path, grid
        self.names = sorted(set(names))
        """Names of the zones; number k on the grid is that at k - 1."""
        if not self.names:
            raise InputError(f"{path}: no feature has a value in {field!r}; give another attribute")
        if len(self.names) > MOST:
            raise InputError(f"{path}: {len(self.names)} zones by {field!r}; at most {MOST}")
        numbers = {name: number for number, name in enumerate(self.names, 1)}
        owner = np.array([numbers[name] for name in names], np.uint16)
        self._polygons, index = self._placed(geometries[named], layer.crs)
        self._numbers = owner[index]
        self.notes: list[str] = []
        """What a summary must say."""
        if not named.all():
            self.notes.append(
                f"{path}: {int((~named).sum())} of {counted(len(named), 'feature')} have no {field}"
                " and count to no zone"
            )
        self._check()

    def _placed(self, geometries: np.ndarray, crs: str) -> tuple[np.ndarray, np.ndarray]:
        """Polygons in the grid's CRS, mended, and which feature each comes from."""
        polygons, index = mend(geometries)
        areal = shapely.get_type_id(polygons) == POLYGON
        polygons, index = polygons[areal], index[areal]
        if not len(polygons):
            raise InputError(f"{self.path}: none of its features is a polygon; zones are polygons")
        bounds = extent.bounds_in(self._grid.bounds, self._grid.crs, crs)
        within = extent.widen(bounds, 0.5) if bounds else (-np.inf, -np.inf, np.inf, np.inf)
        pixel = min(self._grid.resolution)
        moved, again = project(polygons, crs, self._grid.crs, pixel=pixel, within=within)
        polygons, last = mend(moved)
        areal = shapely.get_type_id(polygons) == POLYGON
        return polygons[areal], index[again][last][areal]

    def _check(self) -> None:
        """Raises: InputError for zones that overlap by more than a pixel, or miss the grid."""
        box = shapely.box(*self._grid.bounds)
        if not len(self._polygons) or not shapely.intersects(box, self._polygons).any():
            raise InputError(
                f"{self.path}: no zone lies on the map; are they of another place, or their CRS"
                " wrong?"
            )
        a, b = shapely.STRtree(self._polygons).query(self._polygons)
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

    def read(self, window: Window) -> np.ndarray:
        """Numbers of zones (height, width) uint16, 0 where there is none."""
        return burn(self._polygons, self._numbers, self._grid, window=window)
