"""Find one grid for many rasters on which most are copied unchanged."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo import extent
from geoseg.geo.grid import ALIGNMENT_TOLERANCE, Grid, Window, same_crs
from geoseg.geo.raster import info, resolution_in
from geoseg.maps.mosaic_note import relative

FINER = 0.9
"""Pixels of another CRS count as finer below this share of the side of those at hand: the same
ground distance differs by less from one map projection to the next."""
LARGE = 10_000_000_000
"""Pixels from which a grid must be filled to a hundredth: maps far apart are a mistake."""
LONGEST = 2**31 - 1
"""Pixels of a side that GDAL can count."""


def parse_crs(text: str) -> str:
    """A CRS that the user typed. Raises: InputError if it isn't one for maps."""
    code = f"EPSG:{text}" if text.isdigit() else text
    try:
        crs = pyproj.CRS.from_user_input(code)
    except pyproj.exceptions.CRSError as error:
        raise InputError(f"crs={text}: not a CRS ({error}); write EPSG:<number>") from None
    if not (crs.is_projected or crs.is_geographic):
        raise InputError(f"crs={text}: {crs.name} is no system of map coordinates; choose another")
    return code


def joint_grid(
    grids: Sequence[Grid], *, crs: str | None = None, resolution: float | None = None
) -> Grid:
    """The grid that covers all grids.

    crs: None = that of most of the area. resolution: side of a pixel in units of the CRS, None =
    the finest. Pixels lie where they do in most of the area; the first grid wins a tie.
    Raises: InputError if the grids can't be drawn in the CRS, or lie too far apart.
    """
    if resolution is not None and not 0 < resolution < math.inf:
        raise InputError(f"resolution={resolution}: must be above 0, in units of the CRS")
    crs = crs or _main_crs(grids)
    for grid in grids:
        if not same_crs(grid.crs, crs) and extent.is_torn(grid, crs):
            where = extent.degrees(extent.bounds_beyond(grid.bounds, grid.crs, extent.WGS84))
            raise InputError(
                f"the antimeridian goes through a map ({where}), and the CRS"
                f" {_name(crs)} is torn there; choose crs=… that is whole there, such as the"
                f" map's own ({_name(grid.crs)}) or EPSG:3832"
            )
    boxes = [extent.bounds_in(grid.bounds, grid.crs, crs) for grid in grids]
    if extent.apart_by_a_turn([box for box in boxes if box is not None], crs):
        raise InputError(
            f"the maps lie on both sides of the antimeridian, and a grid over them in {_name(crs)}"
            " would go around the whole world; choose crs=… that is whole there, such as EPSG:3832,"
            " or join the maps of each side by themselves"
        )
    pixel = (resolution, resolution) if resolution else _finest(grids, crs)
    reference = _reference(grids, crs, pixel)
    windows = [place(grid, reference) for grid in grids]
    top, left = min(w.top for w in windows), min(w.left for w in windows)
    bottom, right = max(w.bottom for w in windows), max(w.right for w in windows)
    whole = Window(top, left, bottom - top, right - left)
    if max(whole.height, whole.width) > LONGEST:
        raise InputError(
            f"a grid over all maps has {whole.height} × {whole.width} pixels of"
            f" {pixel[0]:g} × {pixel[1]:g}, more than a GeoTIFF holds ({LONGEST} a side);"
            " set a coarser resolution, or join near maps"
        )
    filled = sum(w.area for w in windows)
    if whole.area > LARGE and filled < whole.area / 100:
        raise InputError(
            f"the maps lie so far apart that a grid over all has {whole.height} × {whole.width}"
            f" pixels, of which they fill {filled / whole.area:.2%}; join near ones, or set a"
            " coarser resolution"
        )
    return reference.crop(whole)


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a joint raster lie; what is none follows from what is joined."""

    crs: str | None = None
    """None = that of most of the area."""
    resolution: float | None = None
    """Side of a pixel in units of the CRS; None = the finest."""
    like: str | Path | None = None
    """Raster whose grid it is, in place of these."""

    def __post_init__(self) -> None:
        if self.like is not None and (self.crs or self.resolution):
            raise InputError("like: says CRS and pixels; leave out crs and resolution")

    def grid(self, grids: Sequence[Grid]) -> Grid:
        """For what lies on these grids. Raises: InputError as `joint_grid`, or by a raster's."""
        if self.like is not None:
            return grid_like(str(self.like), grids)
        crs = parse_crs(self.crs) if self.crs else None
        return joint_grid(grids, crs=crs, resolution=self.resolution)

    def told(self, out: Path) -> dict[str, Any]:
        """For the note of what an output was made with."""
        crs = parse_crs(self.crs) if self.crs else None
        told: dict[str, Any] = {"crs": crs, "resolution": self.resolution}
        # Named only where it is given, or older mosaics would be others.
        if self.like is not None:
            told["like"] = relative(self.file, out)
        return told

    @property
    def file(self) -> str:
        """The raster that it is like."""
        return os.path.expanduser(str(self.like))


def grid_like(path: str, grids: Sequence[Grid]) -> Grid:
    """The grid of a raster. Raises: InputError if it has none, or none of the grids touches it."""
    facts = info(os.path.expanduser(path))
    if facts.grid is None:
        raise InputError(f"like: {facts.problem}")
    if all(place(grid, facts.grid).intersect(facts.grid.window) is None for grid in grids):
        raise InputError(f"like={path}: no map lies there; give a raster of the same place")
    return facts.grid


def place(grid: Grid, reference: Grid) -> Window:
    """Where a grid lies on another: exactly if their pixels coincide, else what covers it.

    Raises: InputError if the grid can't be drawn in the other's CRS.
    """
    corner = reference.offset(grid)
    if corner is not None:
        return Window(*corner, grid.height, grid.width)
    bounds = grid.bounds_in(reference.crs)
    if not all(map(math.isfinite, bounds)):
        raise InputError(f"bounds {grid.bounds} can't be drawn in the CRS {reference.crs}")
    return reference.window_of(bounds)


def _name(crs: str) -> str:
    system = pyproj.CRS.from_user_input(crs)
    code = system.to_authority()
    return ":".join(code) if code else str(system.name)


def _main_crs(grids: Sequence[Grid]) -> str:
    areas: dict[str, float] = {}
    for grid in grids:
        crs = next((known for known in areas if same_crs(known, grid.crs)), grid.crs)
        areas[crs] = areas.get(crs, 0) + grid.window.area * grid.pixel_size_m**2
    return max(areas, key=lambda crs: areas[crs])


def _finest(grids: Sequence[Grid], crs: str) -> tuple[float, float]:
    own = [grid.resolution for grid in grids if same_crs(grid.crs, crs)]
    best = min(own, key=math.prod) if own else (math.inf, math.inf)
    others = [resolution_in(grid, crs) for grid in grids if not same_crs(grid.crs, crs)]
    finer = [pixel for pixel in others if math.prod(pixel) < FINER**2 * math.prod(best)]
    return min(finer, key=math.prod) if finer else best


def _reference(grids: Sequence[Grid], crs: str, pixel: tuple[float, float]) -> Grid:
    """One pixel of the lattice that most of the area shares."""
    height, width = pixel
    fitting = [grid for grid in grids if same_crs(grid.crs, crs) and _fits(grid, pixel)]
    if not fitting:
        return Grid(crs, Affine(width, 0, 0, 0, -height, 0), 1, 1)
    corners = np.array([(g.transform.c / width, g.transform.f / height) for g in fitting]) % 1
    areas = np.array([grid.window.area for grid in fitting])
    _, firsts = np.unique(corners.round(3), axis=0, return_index=True)
    shared = {}
    for first in sorted(firsts.tolist()):
        apart = np.abs(corners - corners[first])
        apart = np.minimum(apart, 1 - apart).max(axis=1)
        shared[first] = areas[apart <= ALIGNMENT_TOLERANCE].sum()
    best = fitting[max(shared, key=lambda first: shared[first])]
    return Grid(crs, best.transform, 1, 1)


def _fits(grid: Grid, pixel: tuple[float, float]) -> bool:
    """Whether pixels of this size stay together over the whole grid."""
    drift = max(
        abs(own / wanted - 1) * size
        for own, wanted, size in zip(grid.resolution, pixel, (grid.height, grid.width), strict=True)
    )
    return drift <= ALIGNMENT_TOLERANCE
