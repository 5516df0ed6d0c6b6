"""Find which pixels of a tile belong to which parcel."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.dataset.settings import SampleSettings
from geoseg.geo.grid import Grid, Window
from geoseg.geo.rasterize import burn
from geoseg.parcels.outlines import Outlines

SIDE = 2048
"""Side in pixels of the windows in which parcels are burnt."""


@dataclass(frozen=True)
class PixelSets:
    """Pixels of N parcels, the parcels in order, the pixels of each in order."""

    owner: np.ndarray
    """(P,) number of the parcel, ascending."""
    pixel: np.ndarray
    """(P,) row · width + column."""
    touched: np.ndarray
    """(N,) bool: holds no pixel's centre, so it got what it touches (or nothing)."""
    unbuffered: np.ndarray
    """(N,) bool: too thin for the inner buffer, so it kept its edge."""


def pixel_sets(
    outlines: Outlines,
    grid: Grid,
    settings: SampleSettings,
    *,
    ids: np.ndarray,
    layer: np.ndarray,
) -> PixelSets:
    """The pixels whose centre lies in each parcel, and the pixel that each point lies in.

    ids: (N,) text; seeds the draw where a parcel has more than samples.max_pixels.
    layer: (N,) numbers; parcels of one number don't overlap (outlines.layers).
    """
    seeds = np.array([zlib.crc32(str(name).encode()) for name in ids], np.uint64)
    draw = _Draw(seeds, settings.max_pixels)
    areal = np.zeros(outlines.count, bool)
    areal[outlines.owner] = True
    _burn_all(outlines.inside(settings.buffer_m, grid), grid, layer, draw)
    unbuffered = areal & ~draw.has
    if settings.buffer_m and unbuffered.any():
        _burn_all(outlines.take(unbuffered), grid, layer, draw)
    # One that reaches out of the tile may be large: it only has no pixel here.
    touched = areal & ~draw.has & _within(outlines, grid)
    if settings.tiny == "keep" and touched.any():
        _touch_all(outlines.take(touched), grid, draw)
    _place_points(outlines, grid, draw)
    owner, pixel = draw.result()
    kept_edge = unbuffered & ~touched if settings.buffer_m else np.zeros_like(touched)
    return PixelSets(owner, pixel, touched, kept_edge)


def points_together(sets: PixelSets, points: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Pairs (Q, 2) of samples that are points in one pixel and of one period.

    points: numbers of the samples that are points. period: (N,) number of each sample's.
    """
    dots = np.isin(sets.owner, points)
    owner, pixel = sets.owner[dots], sets.pixel[dots]
    order = np.lexsort((owner, period[owner], pixel))
    owner, pixel = owner[order], pixel[order]
    same = (pixel[1:] == pixel[:-1]) & (period[owner[1:]] == period[owner[:-1]])
    return np.stack([owner[:-1][same], owner[1:][same]], axis=1)


class _Draw:
    """Gathers pixels; keeps at most `most` per parcel, the same ones however they come in."""

    def __init__(self, seeds: np.ndarray, most: int) -> None:
        self.has = np.zeros(len(seeds), bool)
        """(N,) which parcels have pixels."""
        self._seeds, self._most = _mix(seeds), most
        self._owner: list[np.ndarray] = []
        self._pixel: list[np.ndarray] = []

    def add(self, owner: np.ndarray, pixel: np.ndarray) -> None:
        self.has[owner] = True
        owner, pixel = self._thin(owner.astype(np.int32), pixel.astype(np.int64))
        self._owner.append(owner)
        self._pixel.append(pixel)

    def _thin(self, owner: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those with the smallest keys of each parcel: a key depends on parcel and pixel alone."""
        counts = np.bincount(owner, minlength=len(self.has))
        if not self._most or not (counts > self._most).any():
            return owner, pixel
        key = _mix(self._seeds[owner] ^ pixel.astype(np.uint64))
        order = np.lexsort((key, owner))
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = order[place < self._most]
        return owner[kept], pixel[kept]

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Owner (P,) and pixel (P,), sorted."""
        owner = np.concatenate([np.empty(0, np.int32), *self._owner])
        pixel = np.concatenate([np.empty(0, np.int64), *self._pixel])
        self._owner, self._pixel = [], []
        owner, pixel = self._thin(owner, pixel)
        order = np.lexsort((pixel, owner))
        return owner[order], pixel[order]


def _mix(numbers: np.ndarray) -> np.ndarray:
    """uint64 → uint64, evenly spread (the finalizer of SplitMix64, Steele et al. 2014)."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _burn_all(outlines: Outlines, grid: Grid, layer: np.ndarray, draw: _Draw) -> None:
    """Add the pixels whose centre lies in each parcel."""
    if not len(outlines.parts):
        return
    parts, owner = outlines.parts, outlines.owner
    tree = shapely.STRtree(parts)
    for window in grid.window.blocks(SIDE, SIDE):
        found = np.sort(tree.query(shapely.box(*grid.bounds_of(window))))
        for number in np.unique(layer[owner[found]]):
            chosen = found[layer[owner[found]] == number]
            values = (owner[chosen] + 1).astype(np.int32)
            ids = burn(parts[chosen], values, grid, window=window).ravel()
            place = np.flatnonzero(ids)
            draw.add(ids[place] - 1, _flat(place, window, grid))


def _touch_all(outlines: Outlines, grid: Grid, draw: _Draw) -> None:
    """Add the pixels that each parcel touches; one by one, as neighbours may share them."""
    bounds = shapely.bounds(outlines.parts).reshape(-1, 4)
    found = [np.empty((0, 2), np.int64)]
    for part, owner, box in zip(outlines.parts, outlines.owner, bounds, strict=True):
        window = grid.window_of(tuple(box)).grow(1).intersect(grid.window)
        if window is None:
            continue
        one = np.ones(1, np.uint8)
        hit = burn(np.array([part]), one, grid, window=window, all_touched=True).ravel()
        pixel = _flat(np.flatnonzero(hit), window, grid)
        found.append(np.stack([np.full(len(pixel), owner), pixel], axis=1))
    both = np.unique(np.concatenate(found), axis=0)  # two parts may touch the same pixel
    draw.add(both[:, 0], both[:, 1])


def _within(outlines: Outlines, grid: Grid) -> np.ndarray:
    """Which parcels (N,) lie on the grid with all their parts."""
    left, bottom, right, top = grid.bounds
    x0, y0, x1, y1 = shapely.bounds(outlines.parts).reshape(-1, 4).T
    out = (x0 < left) | (y0 < bottom) | (x1 > right) | (y1 > top)
    within = np.ones(outlines.count, bool)
    within[outlines.owner[out]] = False
    return within


def _place_points(outlines: Outlines, grid: Grid, draw: _Draw) -> None:
    """Add the pixel that each point lies in; points outside the grid have none."""
    owner, row, column = outlines.pixels_of_points(grid, grid.window)
    both = np.unique(
        np.stack([owner, row * grid.width + column], axis=1), axis=0
    )  # two points in one pixel are one
    draw.add(both[:, 0], both[:, 1])


def _flat(place: np.ndarray, window: Window, grid: Grid) -> np.ndarray:
    """Places in a flattened window as places in the flattened grid."""
    row, column = np.divmod(place.astype(np.int64), window.width)
    return (row + window.top) * grid.width + column + window.left
