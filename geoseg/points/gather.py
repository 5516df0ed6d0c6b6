"""Gather the points of a cloud with what a network is told of each.

Letters in shapes: N points, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from geoseg.errors import InputError
from geoseg.geo.grid import Grid
from geoseg.heights.cloud import Cloud, Points, read
from geoseg.heights.sheets import names_of, snapped
from geoseg.points.settings import PointNetSettings

FEATURES = ("height", "intensity", "number", "returns")
"""Of each point, beside its place in the tile: metres above the ground, what the scanner noted,
which return of its pulse it is, and of how many."""
CELL_M = 1.0
"""Side of the cells in whose lowest points the ground is looked for."""


@dataclass(frozen=True)
class Gathered:
    """The points of one cloud that count: neither withheld nor outliers."""

    cloud: Cloud
    x: np.ndarray
    """(N,) float64, metres east; as y, north."""
    y: np.ndarray
    features: np.ndarray
    """(N, F) float32, as FEATURES."""
    place: np.ndarray
    """(N,) int64: which point of the file each is."""

    def __len__(self) -> int:
        return len(self.x)

    def cells(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Row and column (N,) of the points in a grid of the cloud's CRS that holds all of them."""
        t, unit = grid.transform, self.cloud.unit
        row = np.floor((self.y / unit - t.f) / t.e).astype(np.intp)
        column = np.floor((self.x / unit - t.c) / t.a).astype(np.intp)
        return np.clip(row, 0, grid.height - 1), np.clip(column, 0, grid.width - 1)


def gather(cloud: Cloud, settings: PointNetSettings) -> Gathered:
    """Read a cloud; all of its points are held at once, some 80 bytes each.

    Raises: InputError if it is damaged, or no point is left.
    """
    parts = [_kept(points, settings) for points in read(cloud)]
    x, y, z, intensity, number, returns, place = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("x", "y", "z", "intensity", "number", "returns", "place")
    )
    if not len(x):
        raise InputError(
            f"{cloud.path}: all of its {cloud.count} points are withheld or of a class in"
            f" pointnet.outlier={settings.outlier}; leave it out"
        )
    x, y = x * cloud.unit, y * cloud.unit
    height = z - ground_below(x, y, z, reach_m=settings.reach_m)
    features = np.stack([height, intensity, number, returns], axis=1, dtype=np.float32)
    return Gathered(cloud, x, y, features, place)


def _kept(points: Points, settings: PointNetSettings) -> Points:
    kept = ~np.isin(points.codes, settings.outlier)
    return Points(**{name: values[kept] for name, values in vars(points).items()})


def ground_below(x: np.ndarray, y: np.ndarray, z: np.ndarray, *, reach_m: float) -> np.ndarray:
    """Height (N,) of the ground below points, in metres as these, found without classes.

    It is the opening of the lowest points (Zhang et al. 2003, with one window): what is narrower
    than 2 × reach_m and rises is no ground, and a slope stays one.
    """
    column = np.floor((x - x.min()) / CELL_M).astype(np.intp)
    row = np.floor((y - y.min()) / CELL_M).astype(np.intp)
    lowest = np.full((row.max() + 1, column.max() + 1), np.inf)
    np.minimum.at(lowest, (row, column), z)
    empty = ~np.isfinite(lowest)
    if empty.any():
        nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
        lowest = lowest[tuple(nearest)]
    reach = round(reach_m / CELL_M)
    # Turned around its edge a slope goes on outside; mirrored it would be a ridge, and cut off.
    wide = np.pad(lowest, 2 * reach, mode="reflect", reflect_type="odd")
    opened = ndimage.grey_opening(wide, size=(2 * reach + 1, 2 * reach + 1))
    return np.asarray(opened[row + 2 * reach, column + 2 * reach])


def grids_of(clouds: Sequence[Cloud], settings: PointNetSettings) -> dict[str, Grid]:
    """The grid of each cloud's map by name, whose pixels begin at multiples of their side.

    Raises: InputError if two clouds have one name.
    """
    side = settings.resolution_m
    return {
        name: snapped(cloud, side / cloud.unit)
        for name, cloud in zip(names_of(clouds), clouds, strict=True)
    }
