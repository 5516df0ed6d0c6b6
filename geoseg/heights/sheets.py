"""Lay out the rasters that are made of point clouds, and gather the points of each."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyproj
from affine import Affine

from geoseg.errors import Faults, InputError
from geoseg.geo.grid import Grid, Window, same_crs
from geoseg.heights.cells import Cells
from geoseg.heights.cloud import Cloud, read
from geoseg.heights.settings import GAP_M, HeightSettings
from geoseg.scenes.scene import Scene

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sheet:
    """One raster of each layer: that of a scene, or of a cloud."""

    name: str
    grid: Grid
    clouds: tuple[int, ...]
    """Numbers of the clouds that lie on it, or as near as the ground reaches."""


def sheets_of_clouds(clouds: Sequence[Cloud], settings: HeightSettings) -> list[Sheet]:
    """A sheet for each cloud, all on one lattice of pixels.

    Raises: InputError for clouds of several CRS, and for two of one name.
    """
    faults = Faults()
    first = clouds[0]
    for cloud in clouds[1:]:
        if not same_crs(cloud.crs, first.crs):
            faults.add(
                f"{cloud.path}: has another CRS than {first.path}; give scenes=… whose grids they"
                " are to be brought to, or the clouds of one CRS at a time"
            )
    faults.attempt(names_of, clouds)
    faults.raise_if_any()
    side = settings.resolution_m / first.unit
    grids = [snapped(cloud, side) for cloud in clouds]
    return [
        _with_clouds(name_of(cloud.path), grid, clouds, settings)
        for cloud, grid in zip(clouds, grids, strict=True)
    ]


def sheets_of_scenes(
    scenes: Sequence[Scene], clouds: Sequence[Cloud], settings: HeightSettings
) -> list[Sheet]:
    """A sheet on the grid of each scene. Raises: InputError for scenes that no cloud covers."""
    faults = Faults()
    made = []
    for scene in scenes:
        sheet = _with_clouds(scene.name, scene.grid, clouds, settings)
        bare = scene.grid.bounds
        if scene.grid.is_geographic:
            faults.add(
                f"scene {scene.name}: its pixels are in degrees, of which heights in metres can't"
                " be made; leave scenes out: bands.extra warps rasters of the clouds' own onto it"
            )
        elif not any(_meets(_bounds_in(clouds[n], scene.grid.crs), bare) for n in sheet.clouds):
            faults.add(
                f"scene {scene.name}: none of {len(clouds)} point clouds covers any of it"
                f" ({clouds[0].path}{' …' if len(clouds) > 1 else ''}); give those that do"
            )
        made.append(sheet)
    faults.raise_if_any()
    return made


def names_of(clouds: Sequence[Cloud]) -> list[str]:
    """Names of clouds. Raises: InputError if two have one."""
    faults = Faults()
    paths: dict[str, str] = {}
    for cloud in clouds:
        name = name_of(cloud.path)
        if name in paths:
            faults.add(
                f"{paths[name]} and {cloud.path} are called {name} both, and so would their rasters"
                " be; rename one"
            )
        paths[name] = cloud.path
    faults.raise_if_any()
    return list(paths)


def name_of(path: str) -> str:
    """A file's name without .laz, .las and what COPC puts before it."""
    return Path(path).stem.removesuffix(".copc")


def snapped(cloud: Cloud, side: float) -> Grid:
    """The grid over a cloud whose pixels begin at multiples of their side."""
    left, bottom, right, top = (math.floor(value / side) for value in cloud.bounds)
    transform = Affine(side, 0, left * side, 0, -side, (top + 1) * side)
    return Grid(cloud.crs, transform, top + 1 - bottom, right + 1 - left)


def _with_clouds(name: str, grid: Grid, clouds: Sequence[Cloud], settings: HeightSettings) -> Sheet:
    wide = grid.bounds_of(grid.window.grow(halo(grid, settings)))
    near = [n for n, c in enumerate(clouds) if _meets(_bounds_in(c, grid.crs), wide)]
    return Sheet(name, grid, tuple(near))


def halo(grid: Grid, settings: HeightSettings) -> int:
    """Pixels around a window that are read as well: across a gap that values are carried over."""
    return math.ceil(max(GAP_M, 2 * settings.carried_m) / grid.pixel_size_m) + 1


def _bounds_in(cloud: Cloud, crs: str) -> Bounds:
    if same_crs(cloud.crs, crs):
        return cloud.bounds
    way = pyproj.Transformer.from_crs(cloud.crs, crs, always_xy=True)
    left, bottom, right, top = way.transform_bounds(*cloud.bounds, densify_pts=21)
    return left, bottom, right, top


def _meets(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


@dataclass
class Gathered:
    """Points summed up by pixel, each cloud when it is first needed, and as long as it is."""

    folder: Path
    """For files that are of use as long as this object is."""
    clouds: Sequence[Cloud]
    settings: HeightSettings
    shared: bool
    """Whether all sheets have one lattice, so that a cloud is read once for all of them."""
    _kept: dict[tuple[int, str], Cells] = field(default_factory=dict)

    def of(self, sheet: Sheet, later: Sequence[Sheet]) -> list[Cells]:
        """The points of the clouds of a sheet. later: the sheets still to come."""
        found = {number: self._cells(number, sheet) for number in sheet.clouds}
        again = {number for one in later for number in one.clouds} if self.shared else set()
        for key in [key for key in self._kept if key[0] not in again | set(sheet.clouds)]:
            self._drop(key)
        if not self.shared:
            for key in [key for key in self._kept if key[1] != sheet.name]:
                self._drop(key)
        return list(found.values())

    def _cells(self, number: int, sheet: Sheet) -> Cells:
        key = (number, "" if self.shared else sheet.name)
        if key not in self._kept:
            self._kept[key] = self._read(number, sheet, self._folder(key))
        return self._kept[key]

    def _read(self, number: int, sheet: Sheet, folder: Path) -> Cells:
        cloud = self.clouds[number]
        bounds = _bounds_in(cloud, sheet.grid.crs)
        # A pixel more on each side: bounds in another CRS are followed at some points only.
        window: Window | None = sheet.grid.window_of(bounds).grow(1)
        if not self.shared and window is not None:
            window = window.intersect(sheet.grid.window.grow(halo(sheet.grid, self.settings)))
        if window is None:
            raise InputError(f"{cloud.path}: does not lie where its header says")
        cells = Cells(folder, sheet.grid.crop(window))
        way = None
        if not same_crs(cloud.crs, sheet.grid.crs):
            way = pyproj.Transformer.from_crs(cloud.crs, sheet.grid.crs, always_xy=True)
        for points in read(cloud):
            x, y = (points.x, points.y) if way is None else way.transform(points.x, points.y)
            cells.add(points, np.asarray(x), np.asarray(y), self.settings)
        return cells

    def _folder(self, key: tuple[int, str]) -> Path:
        return self.folder / f"{key[0]}_{key[1]}"

    def _drop(self, key: tuple[int, str]) -> None:
        del self._kept[key]
        shutil.rmtree(self._folder(key), ignore_errors=True)
