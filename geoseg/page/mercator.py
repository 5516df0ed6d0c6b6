"""Cut tiles in web mercator (XYZ) for QGIS and other programs out of scenes in any CRS."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyproj

from geoseg.geo.grid import Window
from geoseg.page.layers import TILE, Pictures

WORLD = 2 * math.pi * 6378137
"""Metres around the equator in EPSG:3857."""
MOST_ZOOM = 24
Draw = Callable[[Window, int], np.ndarray]
"""Window and level → picture (h, w, 4) uint8."""


def tile(pictures: Pictures, draw: Draw, zoom: int, column: int, row: int) -> np.ndarray | None:
    """Picture (256, 256, 4) uint8 of an XYZ tile, the nearest pixels; None beside the scene."""
    side = WORLD / 2**zoom
    steps = (np.arange(TILE) + 0.5) / TILE
    x, y = np.meshgrid(-WORLD / 2 + (column + steps) * side, WORLD / 2 - (row + steps) * side)
    to = pyproj.Transformer.from_crs("EPSG:3857", pictures.grid.crs, always_xy=True)
    x, y = to.transform(x, y)
    t = pictures.grid.transform
    with np.errstate(invalid="ignore"):
        columns, rows = (x - t.c) / t.a, (y - t.f) / t.e
        inside = (columns >= 0) & (columns < pictures.grid.width)
        inside &= (rows >= 0) & (rows < pictures.grid.height)
    if not inside.any():
        return None
    # Of the scene as many pixels as the tile has are read, or up to four times as many.
    with np.errstate(invalid="ignore"):
        apart = np.hypot(np.diff(columns, axis=1), np.diff(rows, axis=1))
    scale = float(np.median(apart[np.isfinite(apart)]))
    level = min(max(0, int(math.log2(max(scale, 1)))), pictures.levels)
    columns, rows = columns[inside], rows[inside]
    height = max(1, pictures.grid.height >> level)
    width = max(1, pictures.grid.width >> level)
    left = np.minimum(columns.astype(int) >> level, width - 1)
    top = np.minimum(rows.astype(int) >> level, height - 1)
    window = Window(int(top.min()), int(left.min()), int(np.ptp(top)) + 1, int(np.ptp(left)) + 1)
    found = draw(window, level)
    made = np.zeros((TILE, TILE, 4), np.uint8)
    made[inside] = found[top - window.top, left - window.left]
    return made
