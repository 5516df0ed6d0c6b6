"""Compute overviews of class codes by the mode of four pixels."""

from __future__ import annotations

import numpy as np

from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA

BLOCK = 512
"""Side in pixels of the blocks of a Cloud Optimized GeoTIFF."""


def halve(codes: np.ndarray) -> np.ndarray:
    """Mode of each 2 × 2 pixels: (H, W) uint8 to (⌈H/2⌉, ⌈W/2⌉) uint8.

    As GDAL has it: nodata does not count while there is a class; of classes that are as frequent,
    the first to get its count wins, read row by row.
    """
    height, width = codes.shape
    if height % 2 or width % 2:
        codes = np.pad(codes, ((0, height % 2), (0, width % 2)), constant_values=NODATA)
    # Neighbours in a row are the bytes of one number: half as many to look at.
    upper, lower = (np.ascontiguousarray(codes[row::2]).view("<u2").ravel() for row in (0, 1))
    half = upper.astype(np.uint8)
    # Nearly all pixels lie inside of something; the rest is worked out alone.
    mixed = np.flatnonzero((upper != lower) | (upper != half * np.uint16(257)))
    if mixed.size:
        upper, lower = upper[mixed], lower[mixed]
        four = (upper & 255, upper >> 8, lower & 255, lower >> 8)
        half[mixed] = _mode(*four)
    return half.reshape(codes.shape[0] // 2, codes.shape[1] // 2)


def _mode(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Of four (N,) codes, in the order of rows."""
    mode = np.where(a, a, np.where(b, b, np.where(c, c, d)))
    for later, earlier in ((d, (a, b, c)), (c, (a, b)), (b, (a,))):  # the first pair comes last
        again = np.logical_or.reduce([later == one for one in earlier]) & (later != NODATA)
        np.copyto(mode, later, where=again)
    return mode


def shapes(grid: Grid) -> list[tuple[int, int]]:
    """Height and width of a grid and its overviews, down to one that fits in a block."""
    found = [(grid.height, grid.width)]
    while max(found[-1]) > BLOCK:
        height, width = found[-1]
        found.append((-(-height // 2), -(-width // 2)))
    return found


def windows(shape: tuple[int, int], side: int) -> list[Window]:
    """Windows of this side that partition a shape, row by row."""
    height, width = shape
    return [
        Window(top, left, min(side, height - top), min(side, width - left))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def blocks(codes: np.ndarray) -> list[np.ndarray]:
    """Whole blocks of an array (H, W), row by row; what lies outside it is nodata."""
    found = []
    for place in windows((codes.shape[0], codes.shape[1]), BLOCK):
        block = codes[place.top : place.bottom, place.left : place.right]
        missing = [(0, BLOCK - side) for side in block.shape]
        if block.shape != (BLOCK, BLOCK):
            block = np.pad(block, missing, constant_values=NODATA)
        found.append(np.ascontiguousarray(block))
    return found
