"""Burn polygons, or a raster of codes in any CRS, onto a grid."""

from __future__ import annotations

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from geoseg.geo.grid import Grid, Window, same_crs
from geoseg.geo.legend import UNLABELLED

STEPS = 1024
"""Vertices snap to this fraction of a pixel: the same on whichever window they are burnt."""
LONG = 200
"""Vertices from which it pays to drop those that lie outside the window."""


def burn(
    polygons: np.ndarray,
    values: np.ndarray,
    grid: Grid,
    *,
    window: Window | None = None,
    all_touched: bool = False,
) -> np.ndarray:
    """Burn polygons in their order, a later one covers an earlier one.

    polygons: (N,) shapely Polygons in the grid's CRS; GDAL fills them by the even-odd rule.
    values: (N,) whole numbers; their dtype is the result's (uint8, int16, uint16, int32, uint32).
    window: of the grid, may reach outside; None = the whole grid.
    all_touched: burn each pixel that a polygon touches, not only those whose centre it covers.
    Returns: (height, width) of the window, 0 where nothing was burnt. It is the same as that part
    of the whole grid, to the pixel; only with all_touched GDAL may waver where a slanting edge
    runs exactly through a pixel's corner.
    """
    inner = window or grid.window
    # GDAL doesn't count what touches a raster's edge from outside: so the edge is moved away.
    window = inner.grow(1) if all_touched else inner
    target = np.zeros((window.height, window.width), values.dtype)
    placed = _place(polygons, grid, window)
    left, top, right, bottom = shapely.bounds(placed).reshape(-1, 4).T
    near = (right >= -1) & (bottom >= -1) & (left <= window.width + 1) & (top <= window.height + 1)
    shapes = [
        (_near_part(polygon, window), value)
        for polygon, value in zip(placed[near], values[near], strict=True)
    ]
    shapes = [(polygon, value) for polygon, value in shapes if not polygon.is_empty]
    if shapes:
        rasterio.features.rasterize(
            shapes, out=target, transform=Affine.identity(), all_touched=all_touched
        )
    return target[inner.within(window)]


def _place(polygons: np.ndarray, grid: Grid, window: Window) -> np.ndarray:
    """Polygons in pixels of the window, on the lattice of STEPS.

    Snapped before the window's corner is taken off, so that rounding is the same for all windows.
    """
    coordinates = shapely.get_coordinates(polygons)
    transform = grid.transform
    column = (coordinates[:, 0] - transform.c) / transform.a
    row = (coordinates[:, 1] - transform.f) / transform.e
    placed = np.rint(np.stack([column, row], axis=1) * STEPS) / STEPS
    placed -= (window.left, window.top)
    return shapely.set_coordinates(polygons.copy(), placed)


def _near_part(polygon: shapely.Polygon, window: Window) -> shapely.Polygon:
    """The polygon without vertices that don't matter to the window.

    A run of vertices on one side of the window is replaced by the chord between its ends: on that
    side too, so inside nothing changes, and no vertex is made that could be rounded otherwise.
    """
    if shapely.get_num_coordinates(polygon) < LONG:
        return polygon
    rings = [
        _near_ring(shapely.get_coordinates(ring), window) for ring in shapely.get_rings(polygon)
    ]
    return shapely.Polygon(rings[0], [ring for ring in rings[1:] if len(ring)])


def _near_ring(ring: np.ndarray, window: Window) -> np.ndarray:
    # One pixel more: with all_touched a line just outside counts.
    low, high = np.array([-1, -1]), np.array([window.width + 1, window.height + 1])
    sides = np.concatenate([ring < low, ring > high], axis=1)
    # The side that each edge lies on, one of perhaps two: a run may not go around a corner.
    common = sides[1:] & sides[:-1]
    side = np.where(common.any(axis=1), common.argmax(axis=1), -1)
    keep = (side != np.roll(side, 1)) | (side < 0)
    points = ring[:-1][keep]
    return np.concatenate([points, points[:1]]) if len(points) > 2 else ring[:0]


def resample(
    codes: np.ndarray, source: Grid, grid: Grid, *, window: Window, mode: bool
) -> np.ndarray:
    """Codes (H, W) uint8 on the grid `source` brought onto a window of another grid.

    mode: by the most frequent code of the pixels beneath (for a finer source), else by nearest.
    Source pixels of code 0 don't count. Returns: (height, width) uint8, 0 where nothing lies.
    """
    # A rim of nothing: GDAL lets the outermost pixels vote for a target pixel beyond them too.
    codes, source = np.pad(codes, 1), source.crop(source.window.grow(1))
    source_crs, target_crs = source.crs, grid.crs
    source_transform, transform = source.transform, grid.crop(window).transform
    if same_crs(source_crs, target_crs):
        # In pixels of the source, rounded: in map units, pixels that coincide do so only up to
        # rounding, and a hair's breadth brings another column of pixels in.
        source_crs = target_crs = "EPSG:3857"
        step = ~source_transform @ grid.transform
        step = Affine(round(step.a, 9), 0, round(step.c, 6), 0, round(step.e, 9), round(step.f, 6))
        upright = Affine(1, 0, 0, 0, -1, codes.shape[0])
        source_transform = upright
        transform = upright @ step @ Affine.translation(window.left, window.top)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 0}
    profile |= {"height": codes.shape[0], "width": codes.shape[1]}
    profile |= {"crs": source_crs, "transform": source_transform}
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(codes, 1)
        # By default an eighth of a pixel: then pixels depend on the window. 0 is refused.
        with (
            memory.open() as dataset,
            WarpedVRT(
                dataset,
                crs=target_crs,
                transform=transform,
                height=window.height,
                width=window.width,
                resampling=Resampling.mode if mode else Resampling.nearest,
                tolerance=1e-6,
            ) as warped,
        ):
            return warped.read(1)


def ignore_borders(codes: np.ndarray, pixels: int) -> np.ndarray:
    """Codes (H, W) with UNLABELLED wherever two classes meet within that many pixels.

    Pixels are counted along rows and columns, diagonally too. The border to unlabelled pixels
    stays. At the array's edge it sees no further: give that many pixels more, and cut them off.
    """
    from scipy.ndimage import maximum_filter, minimum_filter  # half as slow as all of geoseg

    size = 2 * pixels + 1
    labelled = codes != UNLABELLED
    low = minimum_filter(np.where(labelled, codes, 255), size=size, mode="nearest")
    high = maximum_filter(np.where(labelled, codes, 0), size=size, mode="nearest")
    return np.where(labelled & (low != high), UNLABELLED, codes).astype(codes.dtype)
