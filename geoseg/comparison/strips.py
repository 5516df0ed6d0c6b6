"""Read two maps strip by strip as numbers of pairs of classes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from geoseg.comparison.pair import MapPair, check_codes
from geoseg.errors import InputError
from geoseg.evaluation.pairs import PairNumbers
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import IGNORED, NODATA, UNLABELLED
from geoseg.geo.raster import Raster
from geoseg.geo.raster.counts import CHUNK
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
        first, second = _Run.of(self._first), _Run.of(self._second)
        self._runs = (first, second) if small and first and second else None

    def read(self) -> Iterator[Strip]:
        """Raises: InputError if a file is damaged, or holds codes that its legend does not know."""
        with closing(prefetch(self._strips(), depth=1)) as strips:
            yield from strips

    def _strips(self) -> Generator[Strip, None, None]:
        pair = self.pair
        paths = [pair.before.path, pair.after.path]
        if self._confidence is not None and pair.confidences is not None:
            paths += pair.confidences
        with ExitStack() as stack:
            parts = [
                stack.enter_context(closing(prefetch(self._file(path), depth=1))) for path in paths
            ]
            for window, *codes in zip(self.windows, *parts, strict=True):
                before, after = pair.before.plain(codes[0]), pair.after.plain(codes[1])
                yield window, self._numbers(before, after, codes[2:])

    def _file(self, path: str) -> Generator[np.ndarray, None, None]:
        with Raster(path, grid=self.grid, resampling="nearest", nodata=NODATA) as file:
            for window in self.windows:
                yield file.codes(window)

    def _numbers(
        self, before: np.ndarray, after: np.ndarray, confidences: list[np.ndarray]
    ) -> np.ndarray:
        """Numbers (h, W) of pairs and reasons."""
        numbers = np.empty(before.shape, self.pairs.dtype)
        # A few rows at once stay in the processor's cache.
        rows = max(1, CHUNK // before.shape[1])
        for top in range(0, len(before), rows):
            part = slice(top, top + rows)
            one, other = before[part], after[part]
            gone = (self._counted_up if self._runs else self._looked_up)(one, other, numbers[part])
            if gone is not None:
                numbers[part][gone] = self._reasons(one[gone], other[gone])
            for percent in confidences:
                unsure = percent[part] < np.float32(self._confidence)
                if gone is not None:
                    unsure &= ~gone
                numbers[part][unsure] = self.pairs.reason(UNSURE)
        return numbers

    def _looked_up(
        self, before: np.ndarray, after: np.ndarray, numbers: np.ndarray
    ) -> np.ndarray | None:
        """Write numbers of pairs (h, W). Returns: where there is none, if any is."""
        second = _translate(after, self._second.tobytes())
        first = _translate(before, self._starts)
        if self.pairs.dtype.itemsize == 1:
            gone = first == 0
            np.add(first, second, out=numbers)
        else:
            gone = first == IGNORED
            numbers[:] = self.pairs.of_indices(first, second)
        gone |= second == IGNORED
        return gone if gone.any() else None

    def _counted_up(
        self, before: np.ndarray, after: np.ndarray, numbers: np.ndarray
    ) -> np.ndarray | None:
        """As `_looked_up` for codes that follow each other: sums take a third of its time."""
        assert self._runs is not None
        first, second = self._runs
        size = self.pairs.size
        start = np.uint8((first.place * size + second.place + 1) % 256)
        one, other = before - np.uint8(first.code), after - np.uint8(second.code)
        gone = None
        if one.max() >= first.length or other.max() >= second.length:
            gone = (one >= first.length) | (other >= second.length)
        one *= np.uint8(size)
        one += other
        np.add(one, start, out=numbers)
        return gone

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


@dataclass(frozen=True)
class _Run:
    """Codes that follow each other, as do their places among the classes."""

    code: int
    """The first."""
    length: int
    place: int
    """Of the first."""

    @classmethod
    def of(cls, places: np.ndarray) -> _Run | None:
        """places: of each code (256,); IGNORED = none. None if the codes have gaps."""
        codes = np.flatnonzero(places != IGNORED)
        if not len(codes):
            return None
        code, place = int(codes[0]), int(places[codes[0]])
        run = np.arange(len(codes))
        if not (np.array_equal(codes, code + run) and np.array_equal(places[codes], place + run)):
            return None
        return cls(code, len(codes), place)


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
