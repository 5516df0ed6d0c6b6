"""Read two maps strip by strip as numbers of pairs of classes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing

import numpy as np

from geoseg.comparison.pair import MapPair, check_codes
from geoseg.errors import InputError
from geoseg.evaluation.pairs import PairNumbers
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import IGNORED, NODATA, UNLABELLED
from geoseg.geo.raster import Raster
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.threads import prefetch

HEIGHT = 512
"""Rows of a strip: a row of blocks of a Cloud Optimized GeoTIFF of geoseg."""
NO_BEFORE, NO_AFTER, UNDECIDED, UNSURE = 1, 2, 3, 4
"""Reasons why a pixel is not compared; 0 = neither map has anything there."""
Strip = tuple[Window, np.ndarray]
"""Where it lies, and its numbers (h, W)."""


def strips_of(grid: Grid, height: int = HEIGHT) -> list[Window]:
    """Windows of full width that partition a grid, from top to bottom."""
    tops = range(0, grid.height, height)
    return [Window(top, 0, min(height, grid.height - top), grid.width) for top in tops]


class Reader:
    """Reads two maps on the grid of the first, and makes numbers of their codes."""

    def __init__(self, pair: MapPair, *, confidence: float | None, height: int = HEIGHT) -> None:
        """confidence: percent that both maps must have for a pixel to count; None = any."""
        self.pair = pair
        self.grid = pair.before.grid
        self.pairs = PairNumbers(len(pair.classes))
        self.windows = strips_of(self.grid, height)
        self._confidence = confidence
        self._first, self._second = (pair.indices(m) for m in (pair.before, pair.after))
        size, small = len(pair.classes), self.pairs.dtype.itemsize == 1
        step = np.where(self._first == IGNORED, 0, self._first.astype(np.uint16) * size + 1)
        # Bytes translate themselves six times as fast as numpy looks numbers up.
        self._starts = step.astype(np.uint8).tobytes() if small else self._first.tobytes()

    def read(self) -> Iterator[Strip]:
        """Raises: InputError if a file is damaged, or holds codes that its legend does not know."""
        pair = self.pair
        paths = [pair.before.path, pair.after.path]
        if self._confidence is not None and pair.confidences is not None:
            paths += pair.confidences
        with ExitStack() as stack:
            parts = [
                stack.enter_context(closing(prefetch(self._file(path), depth=1))) for path in paths
            ]
            for window, *codes in zip(self.windows, *parts, strict=True):
                yield window, self._numbers(codes[0], codes[1], codes[2:])

    def _file(self, path: str) -> Generator[np.ndarray, None, None]:
        with Raster(path, grid=self.grid, resampling="nearest", nodata=NODATA) as file:
            for window in self.windows:
                yield file.read(window)[0][0]

    def _numbers(
        self, before: np.ndarray, after: np.ndarray, confidences: list[np.ndarray]
    ) -> np.ndarray:
        second = _translate(after, self._second.tobytes())
        numbers = _translate(before, self._starts)
        if self.pairs.dtype.itemsize == 1:
            gone = numbers == 0
            numbers += second
        else:
            gone = numbers == IGNORED
            numbers = self.pairs.of_indices(numbers, second)
        gone |= second == IGNORED
        if gone.any():
            numbers[gone] = self._reasons(before[gone], after[gone])
        for percent in confidences:
            unsure = percent < np.float32(self._confidence)
            unsure &= ~gone
            numbers[unsure] = self.pairs.reason(UNSURE)
        return numbers

    def _reasons(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Numbers (N,) of pixels that are no pair, by their codes (N,)."""
        found: ClassMap
        for codes, table, found in (
            (before, self._first, self.pair.before),
            (after, self._second, self.pair.after),
        ):
            check_codes(codes, table, found)
        numbers = np.zeros(len(before), self.pairs.dtype)
        numbers[(before == UNLABELLED) | (after == UNLABELLED)] = self.pairs.reason(UNDECIDED)
        numbers[(before == NODATA) & (after != NODATA)] = self.pairs.reason(NO_BEFORE)
        numbers[(after == NODATA) & (before != NODATA)] = self.pairs.reason(NO_AFTER)
        return numbers


def _translate(codes: np.ndarray, table: bytes) -> np.ndarray:
    made = bytearray(np.ascontiguousarray(codes)).translate(table)
    return np.ndarray(codes.shape, np.uint8, made)


def check_compared(compared: int, pair: MapPair) -> None:
    """Raises: InputError if no pixel has a class in both maps."""
    if not compared:
        raise InputError(
            f"{pair.before.path} and {pair.after.path}: no pixel has a class in both maps; give"
            " maps of the same ground"
        )
