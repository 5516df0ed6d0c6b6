"""Join: pixels of many maps on one grid; where several hold a class, the most confident wins."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from geoseg.errors import InputError
from geoseg.grid import Grid, Window
from geoseg.joint_grid import place
from geoseg.landcover import Map
from geoseg.legend import NODATA, UNLABELLED
from geoseg.raster import Raster

OPEN_MAPS = 64
"""Maps kept open; each takes two file handles and what GDAL holds for it."""
COARSER = 1.9
"""From this many times a map's pixel on, an output pixel takes the mode of those it covers; below,
the nearest."""


@dataclass(frozen=True)
class Part:
    """A map that is joined with others."""

    map: Map
    confidence: str | None
    """Raster of percent on the map's grid; without it, every other confidence wins."""


class Join:
    """Maps on one grid, read by windows. Only maps that touch a window are read for it."""

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
        self._known = np.zeros(256, bool)
        self._known[[NODATA, UNLABELLED, *parts[0].map.legend.codes]] = True
        self._open: OrderedDict[int, list[Raster]] = OrderedDict()

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
        codes = np.zeros((window.height, window.width), np.uint8)
        best = np.zeros_like(codes)
        for number in numbers:
            inside = self.places[number].intersect(window)
            assert inside is not None
            there = inside.within(window)
            found = self._codes(number, inside)
            confidence = self._confidence(number, inside, self._contested(number, inside, numbers))
            confidence *= (found != NODATA) & (found != UNLABELLED)
            wins = confidence > best[there]
            np.copyto(codes[there], found, where=wins)
            np.copyto(best[there], confidence, where=wins)
        return codes

    def _codes(self, number: int, window: Window) -> np.ndarray:
        file = self._files(number)[0]
        codes = file.read(window)[0][0]
        if not self._known[codes].all():
            stranger = int(codes[~self._known[codes]][0])
            raise InputError(
                f"{file.path}: holds code {stranger}, which its legend does not know;"
                " make this map anew"
            )
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

    def _confidence(self, number: int, inside: Window, contested: list[Window]) -> np.ndarray:
        """At least 1 everywhere."""
        confidence = np.ones((inside.height, inside.width), np.uint8)
        files = self._files(number)
        for window in contested if len(files) == 2 else ():
            part = confidence[window.within(inside)]
            np.maximum(files[1].read(window)[0][0], 1, out=part)
        return confidence

    def _files(self, number: int) -> list[Raster]:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        while len(self._open) >= OPEN_MAPS:
            _close(self._open.popitem(last=False)[1])
        part = self.parts[number]
        coarser = self.grid.pixel_size_m >= COARSER * part.map.grid.pixel_size_m
        files = self._open[number] = []
        wanted = [(part.map.path, "mode" if coarser else "nearest")]
        if part.confidence:
            wanted.append((part.confidence, "average" if coarser else "nearest"))
        for path, resampling in wanted:
            files.append(Raster(path, grid=self.grid, resampling=resampling, nodata=NODATA))
        return files

    def close(self) -> None:
        while self._open:
            _close(self._open.popitem()[1])

    def __enter__(self) -> Join:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _close(files: list[Raster]) -> None:
    for file in files:
        file.close()
