"""Read the polygons that vectorize made of a map, to be drawn over pictures of places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from geoseg.errors import InputError
from geoseg.geo.grid import Grid
from geoseg.geo.legend import UNDECIDED, UNDECIDED_COLOR, Legend
from geoseg.geo.vector import SUFFIXES, Layer

LAYER = "landcover"
"""The layer of vectorize with all areas."""
CODE = "code"
DECIMALS = 1
"""Of a pixel, in the outlines of a picture."""


@dataclass(frozen=True)
class Outlines:
    """Polygons with a class each."""

    layer: Layer
    legend: Legend

    @classmethod
    def open(cls, path: str, crs: str, legend: Legend) -> Outlines:
        """Open a file of vectorize. crs: of the map that it was made of.

        Raises: InputError if it can't be read, has no classes, or is in another CRS.
        """
        if not path.lower().endswith(SUFFIXES):
            raise InputError(f"polygons={path}: expected a file of geoseg.vectorize")
        name = LAYER if path.lower().endswith(".gpkg") else None
        layer = Layer(path, name=name, columns=(CODE,), prefix="polygons.")
        if pyproj.CRS.from_user_input(layer.crs) != pyproj.CRS.from_user_input(crs):
            raise InputError(
                f"polygons={path}: in another CRS than the map; give those that geoseg.vectorize"
                " made of this map"
            )
        return cls(layer, legend)

    @property
    def title(self) -> str:
        return Path(self.layer.path).name

    def paths(self, grid: Grid) -> list[dict[str, Any]]:
        """Outlines on a grid, as SVG paths in its pixels with a colour, largest areas first."""
        left, bottom, right, top = grid.bounds
        found = self.layer.read(grid.bounds)
        found = found.take(np.flatnonzero(shapely.is_geometry(found.geometries)))
        whole = shapely.make_valid(found.geometries)
        cut = shapely.clip_by_rect(whole, left, bottom, right, top)
        pixel = (right - left) / grid.width, (top - bottom) / grid.height
        colors = {c.code: c.color for c in self.legend.classes} | {UNDECIDED: UNDECIDED_COLOR}
        drawn = []
        for place in np.argsort(-shapely.area(cut), kind="stable"):
            if shapely.is_empty(cut[place]):
                continue
            code = int(found.columns[CODE][place])
            rings = shapely.get_rings(shapely.get_parts(cut[place]))
            if text := "".join(_path(ring, (left, top), pixel) for ring in rings):
                drawn.append({"color": colors.get(code, UNDECIDED_COLOR), "d": text})
        return drawn


def _path(ring: Any, origin: tuple[float, float], pixel: Sequence[float]) -> str:
    points = shapely.get_coordinates(ring)
    x = ((points[:, 0] - origin[0]) / pixel[0]).round(DECIMALS)
    y = ((origin[1] - points[:, 1]) / pixel[1]).round(DECIMALS)
    steps = [f"{a:g} {b:g}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return f"M{'L'.join(steps[:-1])}Z" if len(steps) > 3 else ""
