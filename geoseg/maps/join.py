"""Join the pixels of many maps; where they overlap, the most confident wins."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from types import TracebackType

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA, UNDECIDED, UNLABELLED
from geoseg.geo.raster import BLOCK, Raster, environment, most_files
from geoseg.maps.joint_grid import place
from geoseg.maps.landcover import ClassMap

OPEN_MAPS = 128
"""Maps kept open for windows to come; each takes two file handles and 0.2 MB."""
HANDLES = 6
"""File handles that a process must be allowed for each of these."""
COARSER = 1.9
"""From this many times a map's pixel on, an output pixel takes the mode of those it covers; below,
the nearest."""


@dataclass(frozen=True)
class Part:
    """A map that is joined with others."""

    map: ClassMap
    confidence: str | None
    """Raster of percent on the map's grid; without it, every other confidence wins."""


class Join:
    """Maps on one grid, read by windows, by several threads if need be.

    Only maps that touch a window are read for it.
    """

    def __init__(self, parts: Sequence[Part], grid: Grid) -> None:
        """Parts in the order in which equal confidences win. Raises: InputError."""
        self.parts = parts
        self.grid = grid
        self.exact = [grid.offset(part.map.grid) is not None for part in parts]
        """Which parts are copied pixel by pixel, not warped."""
        # The curved edges of a warped map may reach a little beyond what `place` finds.
        self.places = [
            place(part.map.grid, grid).grow(0 if exact else 1)
            for part, exact in zip(parts, self.exact, strict=True)
        ]
        self._edges = np.array([(w.top, w.left, w.bottom, w.right) for w in self.places])
        self._known = bytes((NODATA, UNLABELLED, *parts[0].map.legend.codes))
        self._idle: OrderedDict[int, list[Raster]] = OrderedDict()
        self._room = min(OPEN_MAPS, most_files() // HANDLES)
        self._lock = Lock()

    def touching(self, window: Window) -> list[int]:
        """Places in `parts` of the maps that may hold pixels of a window, in order."""
        top, left, bottom, right = self._edges.T
        touch = (top < window.bottom) & (window.top < bottom)
        touch &= (left < window.right) & (window.left < right)
        return np.flatnonzero(touch).tolist()

    def read(self, window: Window) -> np.ndarray | None:
        """Codes (height, width) uint8 of a window, 0 where no map has any; None if none touches it.

        Raises: InputError if a file is damaged, or holds codes that its legend does not know.
        """
        numbers = self.touching(window)
        if not numbers:
            return None
        with environment():
            return self._join(window, numbers)

    def _join(self, window: Window, numbers: list[int]) -> np.ndarray:
        codes = np.zeros((window.height, window.width), np.uint8)
        best = np.zeros_like(codes)
        for number in numbers:
            inside = self.places[number].intersect(window)
            assert inside is not None
            contested = self._contested(number, inside, numbers)
            with self._files(number, window) as files:
                found = self._codes(number, files[0], inside)
                confidence = self._confidence(files, inside, contested)
            # Where nobody else has a say it is copied; the rest gets back what was there.
            before = [codes[part.within(window)].copy() for part in contested]
            codes[inside.within(window)] = found
            for part, own in zip(contested, before, strict=True):
                codes[part.within(window)] = own
            for part in contested:
                here, at = part.within(inside), part.within(window)
                sure = _rank(found[here], confidence[here])
                wins = sure > best[at]
                np.copyto(codes[at], found[here], where=wins)
                np.copyto(best[at], sure, where=wins)
        return codes

    def _codes(self, number: int, file: Raster, window: Window) -> np.ndarray:
        """Codes of a map: UNDECIDED where it says so; else what has no label has no class."""
        codes = file.read(window)[0][0]
        strangers = codes.tobytes().translate(None, self._known)
        if strangers:
            raise InputError(
                f"{file.path}: holds code {strangers[0]}, which its legend does not know;"
                " make this map anew"
            )
        if codes.max() == UNLABELLED and not self.parts[number].map.leaves_open:
            codes[codes == UNLABELLED] = NODATA
        return codes

    def _contested(self, number: int, inside: Window, touching: list[int]) -> list[Window]:
        """Where confidence decides: the rest of it, the larger part of its bytes, isn't read."""
        others = (self.places[other].intersect(inside) for other in touching if other != number)
        shared = [window for window in others if window]
        # A warp may place pixels differently in windows of different size.
        if shared and (
            not self.exact[number] or sum(window.area for window in shared) > inside.area
        ):
            return [inside]
        return shared

    @staticmethod
    def _confidence(files: list[Raster], inside: Window, contested: list[Window]) -> np.ndarray:
        """Of a map in a window, at least 1; right where it is contested."""
        confidence = np.ones((inside.height, inside.width), np.uint8)
        if len(files) == 1:
            return confidence
        # Whole blocks are read anyway: of many narrow parts, some more than once.
        if sum(part.grow(BLOCK // 2).area for part in contested) > inside.area:
            contested = [inside]
        for part in contested:
            np.maximum(files[1].read(part)[0][0], 1, out=confidence[part.within(inside)])
        return confidence

    @contextmanager
    def _files(self, number: int, window: Window) -> Iterator[list[Raster]]:
        """The files of a map for a window; no other thread uses them meanwhile."""
        with self._lock:
            files = self._idle.pop(number, None)
        if files is None:
            files = self._opened(number)
        try:
            yield files
        finally:
            place = self.places[number]
            # Windows come row by row: those to come have nothing of what ends in this one.
            over = place.bottom <= window.bottom and place.right <= window.right
            with self._lock:
                # Another thread may have had to open them as well.
                surplus = [files] if over or number in self._idle else []
                if not surplus:
                    self._idle[number] = files
                while len(self._idle) > self._room:
                    surplus.append(self._idle.popitem(last=False)[1])
            for one in surplus:
                _close(one)

    def _opened(self, number: int) -> list[Raster]:
        part = self.parts[number]
        own = part.map.grid
        coarser = self.grid.pixel_size_near(own) >= COARSER * own.pixel_size_m
        wanted = [(part.map.path, "mode" if coarser else "nearest")]
        if part.confidence:
            wanted.append((part.confidence, "average" if coarser else "nearest"))
        files: list[Raster] = []
        try:
            for path, resampling in wanted:
                # Only a warp needs to be told: looking for it in what is copied takes time.
                nodata = "none" if self.exact[number] else NODATA
                files.append(Raster(path, grid=self.grid, resampling=resampling, nodata=nodata))
        except BaseException:
            _close(files)
            raise
        return files

    def close(self) -> None:
        """Close what no thread is reading; one that goes on after this closes its own."""
        with self._lock:
            self._room = 0
            while self._idle:
                _close(self._idle.popitem()[1])

    def __enter__(self) -> Join:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _rank(codes: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """What wins over what, uint8: any class over no decision, and that over no map.

    confidence: 1..100.
    """
    decided = (codes != NODATA) & (codes != UNDECIDED)
    return np.where(
        decided, np.minimum(confidence, 254) + np.uint8(1), (codes == UNDECIDED).astype(np.uint8)
    )


def _close(files: list[Raster]) -> None:
    for file in files:
        file.close()
