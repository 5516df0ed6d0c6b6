"""The canvas: reflectance and height of a window, and where on it a geometry lies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geoseg.demo.landscape.land import Floats, Landscape
from geoseg.demo.landscape.texture import TILE, Image, Textures
from geoseg.geo.grid import Window

PIXEL_M = 0.5
Spot = tuple[slice, slice]
"""Rows and columns of a part of the window."""


class Ground:
    """Reflectance (4, h, w) and height (h, w; metres) of a window, painted layer upon layer."""

    def __init__(self, land: Landscape, window: Window, textures: Textures) -> None:
        self.window = window
        self.centre = (land.width / 2, land.height / 2)
        self.x: Floats = (np.arange(window.left, window.right, dtype=float) + 0.5) * PIXEL_M
        self.y: Floats = (np.arange(window.top, window.bottom, dtype=float) + 0.5) * PIXEL_M
        self.u, self.v = (wave.on(self.x, self.y) * land.warp.size_m for wave in land.warp.shifts)
        self.u += self.x.astype(np.float32)
        self.v += self.y.astype(np.float32)[:, None]
        self.moisture = land.moisture.on(self.x, self.y)
        rows = np.arange(window.top, window.bottom) % TILE
        columns = np.arange(window.left, window.right) % TILE
        self.fine = textures.fine[np.ix_(rows, columns)]
        self.middle = textures.middle[np.ix_(rows, columns)]
        self.textures = textures
        self.albedo = np.zeros((4, window.height, window.width), np.float32)
        self.height = np.zeros((window.height, window.width), np.float32)

    def spot(self, bounds: tuple[float, float, float, float]) -> Spot | None:
        """The part of the window that covers bounds in metres (left, top, right, bottom)."""
        left, top, right, bottom = (value / PIXEL_M for value in bounds)
        rows = slice(max(0, math.floor(top) - self.window.top), math.ceil(bottom) - self.window.top)
        columns = slice(
            max(0, math.floor(left) - self.window.left), math.ceil(right) - self.window.left
        )
        rows = slice(rows.start, min(rows.stop, self.window.height))
        columns = slice(columns.start, min(columns.stop, self.window.width))
        return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None

    def inside(self, shape: BaseGeometry) -> tuple[Spot, NDArray[np.bool_]] | None:
        """Where the window meets a polygon: that part, and which of its pixel centres lie in it."""
        spot = None if shape.is_empty else self.spot(shape.bounds)
        if spot is None:
            return None
        origin = (float(self.x[spot[1].start]), float(self.y[spot[0].start]))
        size = (spot[0].stop - spot[0].start, spot[1].stop - spot[1].start)
        return spot, fill(shape, origin, size)

    def lay(self, spot: Spot, mask: NDArray[np.bool_], colors: list[Image] | Image) -> None:
        for band, color in zip(self.albedo, colors, strict=True):
            np.copyto(band[spot], color, where=mask)


def fill(
    shape: BaseGeometry, origin: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which pixel centres lie inside a polygon, by counting crossings row by row."""
    height, width = size
    flips = np.zeros(height * (width + 1), np.int64)
    parts = getattr(shape, "geoms", [shape])
    for ring in (r for part in parts for r in (part.exterior, *part.interiors)):
        points = (np.array(ring.coords)[:, :2] - origin) / PIXEL_M  # centres at whole numbers
        (x0, y0), (x1, y1) = points[:-1].T, points[1:].T
        first = np.clip(np.ceil(np.minimum(y0, y1)), 0, height).astype(int)
        last = np.clip(np.ceil(np.maximum(y0, y1)), 0, height).astype(int)
        edge = np.repeat(np.arange(len(x0)), last - first)
        row = np.arange(len(edge)) - np.repeat(
            np.cumsum(last - first) - (last - first), last - first
        )
        row += first[edge]
        share = (row - y0[edge]) / (y1 - y0)[edge]
        column = np.ceil(x0[edge] + share * (x1 - x0)[edge])
        column = np.clip(column, 0, width).astype(int)
        flips += np.bincount(row * (width + 1) + column, minlength=len(flips))
    parity = np.bitwise_xor.accumulate(
        (flips.reshape(height, width + 1) & 1).astype(np.uint8), axis=1
    )
    return parity[:, :width].astype(bool)
