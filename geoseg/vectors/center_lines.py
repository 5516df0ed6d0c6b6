"""Draw centre lines of roads, with the width that they have on the map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import shapely
from scipy import ndimage

HALO = 96
"""Pixels around a block that are thinned with it: what is wider than that is no road."""
SPUR = 1.5
"""Widths below which a line that ends in nothing is a bump of the edge, not a road."""
Sides = tuple[float, float]
SQUARE: Sides = (1.0, 1.0)
_RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""Neighbours P2 … P9 of Zhang and Suen, from north clockwise."""


def thinned(mask: np.ndarray) -> np.ndarray:
    """The skeleton (H, W) bool of a mask: Zhang and Suen 1984, on the pixels of the mask only."""
    padded = np.pad(mask, 1).astype(np.uint8)
    flat, width = padded.ravel(), padded.shape[1]
    steps = [i * width + j for i, j in _RING]
    pixels = np.flatnonzero(flat)
    changed = True
    while changed:
        changed = False
        for second in (False, True):
            near = np.stack([flat[pixels + step] for step in steps])
            count = near.sum(axis=0)
            rises = ((near == 0) & (np.roll(near, -1, axis=0) == 1)).sum(axis=0)
            north, east, south, west = near[0], near[2], near[4], near[6]
            if second:
                open_ = (north * east * west == 0) & (north * south * west == 0)
            else:
                open_ = (north * east * south == 0) & (east * south * west == 0)
            gone = (count >= 2) & (count <= 6) & (rises == 1) & open_
            if gone.any():
                flat[pixels[gone]] = 0
                pixels, changed = pixels[~gone], True
    return np.asarray(padded[1:-1, 1:-1].astype(bool))


@dataclass(frozen=True)
class Skeleton:
    """Pixels of the skeleton of a whole map, in rows from above."""

    row: np.ndarray
    column: np.ndarray
    across: np.ndarray
    """(N,) width of the road there."""


def skeleton(blocks: Iterable[tuple[int, np.ndarray]], sides: Sides = SQUARE) -> Skeleton:
    """Thin a mask that comes in rows of blocks (top, (H, W) bool).

    sides: height and width of a pixel, in which widths are told.
    """
    found = []
    for top, mask, begin, end in _with_halo(blocks):
        row, column = np.nonzero(thinned(mask)[begin:end])
        across = _across(mask, (row + begin, column), sides)
        found.append((row + top, column, across))
    parts = [np.concatenate(part) for part in zip(*found, strict=True)]
    return Skeleton(*parts)


def _across(mask: np.ndarray, pixels: tuple[np.ndarray, np.ndarray], sides: Sides) -> np.ndarray:
    """Twice the way (N,) from pixels, rows and columns, to the nearest one that is no road.

    That begins half a pixel before its middle, on either side.
    """
    if sides == SQUARE:
        distance = ndimage.distance_transform_edt(mask)[pixels].astype(np.float32)
        return np.asarray(2 * distance.astype(float) - 1)
    distance, nearest = ndimage.distance_transform_edt(mask, sides, return_indices=True)
    way = distance[pixels]
    shares = [
        ((to[pixels] - at) * side / way) ** 2
        for to, at, side in zip(nearest, pixels, sides, strict=True)
    ]
    return np.asarray(2 * way - sides[0] * shares[0] - sides[1] * shares[1])


def _with_halo(
    blocks: Iterable[tuple[int, np.ndarray]],
) -> Iterator[tuple[int, np.ndarray, int, int]]:
    """Top of each block, its rows with those around it, and where in these it begins and ends."""
    before: np.ndarray | None = None
    last: tuple[int, np.ndarray] | None = None
    for block in chain(blocks, [None]):
        if last is not None:
            top, mask = last
            above = mask[:0] if before is None else before[-HALO:]
            below = mask[:0] if block is None else block[1][:HALO]
            rows = np.concatenate((above, mask, below))
            yield top, rows, len(above), len(above) + len(mask)
            before = mask
        last = block


def center_lines(
    found: Skeleton, width: int, sides: Sides = SQUARE
) -> tuple[np.ndarray, np.ndarray]:
    """Lines along a skeleton, from fork to fork, and the median width of each.

    width: of the map. sides: as the skeleton's.
    Returns: (L,) LineStrings in pixels, through the middles of pixels, and (L,).
    """
    key = found.row.astype(np.int64) * (width + 2) + found.column + 1
    lines = shapely.get_parts(shapely.line_merge(shapely.multilinestrings(_steps(key, width + 2))))
    if not len(lines):
        return lines, np.zeros(0)
    widths = _widths(lines, key, found.across, width + 2)
    kept = lines[~_spurs(lines, widths, sides)]
    lines = shapely.get_parts(shapely.line_merge(shapely.multilinestrings(kept)))
    return lines, _widths(lines, key, found.across, width + 2)


def _steps(key: np.ndarray, stride: int) -> np.ndarray:
    """Lines from each pixel to its neighbours; diagonal ones only where there is no way around."""
    pairs = []
    for step, around in (
        (1, ()),
        (stride, ()),
        (stride + 1, (1, stride)),
        (stride - 1, (-1, stride)),
    ):
        on = _find(key, key + step) >= 0
        for other in around:
            on &= _find(key, key + other) < 0
        pairs.append(np.stack((key[on], key[on] + step), axis=1))
    ends = np.concatenate(pairs)
    row, column = np.divmod(ends, stride)
    return np.asarray(shapely.linestrings(np.stack((column - 0.5, row + 0.5), axis=-1)))


def _find(key: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Place (N,) of each wanted number in sorted ones; -1 where it is missing."""
    if not len(key):
        return np.full(len(wanted), -1)
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[place] == wanted, place, -1)


def _widths(lines: np.ndarray, key: np.ndarray, across: np.ndarray, stride: int) -> np.ndarray:
    coordinates, owner = shapely.get_coordinates(lines, return_index=True)
    x, y = coordinates.T
    place = _find(key, np.floor(y).astype(np.int64) * stride + np.floor(x).astype(np.int64) + 1)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    return np.array([np.median(part) for part in np.split(across[place], first[1:])])


def _spurs(lines: np.ndarray, widths: np.ndarray, sides: Sides) -> np.ndarray:
    """Whether lines (L,) end in nothing, begin at a fork, and are short."""
    ends = np.stack([shapely.get_coordinates(shapely.get_point(lines, i)) for i in (0, -1)], axis=1)
    _, place, count = np.unique(
        ends.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True
    )
    meets = count[place.reshape(-1, 2)]
    dangling = (meets.min(axis=1) == 1) & (meets.max(axis=1) >= 3)
    true = lines if sides == SQUARE else shapely.transform(lines, lambda c: c * sides[::-1])
    return np.asarray(dangling & (shapely.length(true) < SPUR * widths))
