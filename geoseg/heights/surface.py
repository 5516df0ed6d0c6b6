"""Make surfaces out of points summed up by pixel.

Letters in shapes: H rows, W columns.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError

from geoseg.heights.cells import LIFT, MM
from geoseg.heights.settings import GAP_M

JOGGLE = 0.01
"""Pixels by which places are moved: four corners of a square have two triangulations."""


def layers_of(
    planes: dict[str, np.ndarray],
    covered: np.ndarray,
    *,
    pixel_m: float,
    reach_m: float,
    origin: tuple[int, int],
) -> dict[str, np.ndarray]:
    """All layers (H, W) float32, NaN where there is none.

    planes, covered: as `cells.joined` gives them. origin: row and column of the upper left pixel,
    counted from a place that is the same for all windows.
    Pixels without a point have the values of the nearest one within GAP_M. Where there is none and
    the ground is known, as on water, nothing rises above it.
    """
    seen = planes["count"] > 0
    ground = carried(planes["ground"], planes["ground_count"], reach_m / pixel_m, origin)
    nearest, near = _nearest(seen, GAP_M / pixel_m)
    top = np.where(near, (planes["top"][nearest].astype(float) - LIFT) / MM, ground)
    count = planes["count"][nearest]
    mean = {
        name: np.where(near, planes[name][nearest] / np.maximum(count, 1), np.nan)
        for name in ("intensity", "returns")
    }
    density = np.where(covered, planes["count"] / pixel_m**2, np.nan)
    heights = {"ndsm": top - ground, "dsm": top, "dtm": ground}
    made = {name: np.round(values, 3) for name, values in heights.items()}
    made |= {"density": density} | mean
    return {name: np.where(covered, v, np.nan).astype(np.float32) for name, v in made.items()}


def carried(
    total: np.ndarray, count: np.ndarray, reach: float, origin: tuple[int, int]
) -> np.ndarray:
    """Heights (H, W) float64 of the ground in metres, NaN farther than `reach` pixels from any.

    total, count: sum in millimetres and number of the points of the ground (H, W).
    Between pixels that have one, the height is that of the triangles of Delaunay: a slope stays
    what it is below a house. Outside all triangles it is the nearest one's.
    """
    known = count > 0
    ground = np.full(total.shape, np.nan)
    ground[known] = total[known] / count[known] / MM
    if known.all() or not known.any():
        return ground
    nearest, near = _nearest(known, reach)
    wanted = near & ~known
    if not wanted.any():
        return ground
    # Triangles across gaps have their corners at the gaps' edges.
    edge = known & ndimage.binary_dilation(~known, np.ones((3, 3), bool))
    rows, columns = np.nonzero(edge)
    places = np.column_stack([rows, columns]) + _joggle(rows + origin[0], columns + origin[1])
    try:
        between = LinearNDInterpolator(places, ground[edge])(np.argwhere(wanted))
    except QhullError:  # fewer than three, or all in a line
        between = np.full(int(wanted.sum()), np.nan)
    beside = ground[nearest][wanted]
    ground[wanted] = np.where(np.isfinite(between), between, beside)
    return ground


def _joggle(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Small moves (N, 2), the same for a pixel whatever window it is seen in."""
    mixed = (rows.astype(np.int64) * 73_856_093) ^ (columns.astype(np.int64) * 19_349_663)
    down, right = mixed & 0xFFFF, (mixed * 2_654_435_761 >> 16) & 0xFFFF
    return (np.column_stack([down, right]) / 0x8000 - 1) * JOGGLE


def _nearest(known: np.ndarray, reach: float) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Rows and columns of the nearest known pixel of each, and whether it is within reach."""
    if not known.any():
        empty = np.zeros(known.shape, np.intp)
        return (empty, empty), np.zeros(known.shape, bool)
    distance, (rows, columns) = ndimage.distance_transform_edt(~known, return_indices=True)
    return (rows, columns), distance <= reach
