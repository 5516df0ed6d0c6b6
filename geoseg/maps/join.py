"""Join the pixels of many maps; where they overlap, the most confident wins."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA, UNDECIDED, UNLABELLED
from geoseg.geo.raster import BLOCK, Raster, environment, most_files
from geoseg.maps.joint_grid import place
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.closing import Closing

OPEN_MAPS = 128
"""Maps kept open for windows to come; each takes two file handles and 0.2 MB."""
HANDLES = 6
"""File handles that a process must be allowed for each of these."""
COARSER = 1.9
"""From this many times a map's pixel on, an output pixel takes the mode of those it covers; below,
the nearest."""


OPEN_RANK = 1
"""What no decision has as its rank; a class has more, no map less."""


@dataclass(frozen=True)
class Part:
    """A map that is joined with others."""

    map: ClassMap
    confidence: str | None
    """Raster of percent on the map's grid; without it, every other confidence wins."""
    layer: str | None = None
    """Another raster of uint8 on the map's grid, 0 = nothing, that is joined as the classes are."""


@dataclass(frozen=True)
class Files:
    """The open files of a part."""

    codes: Raster
    confidence: Raster | None
    layer: Raster | None

    def close(self) -> None:
        for file in (self.codes, self.confidence, self.layer):
            if file is not None:
                file.close()


@dataclass
class Clash:
    """Pixels to which several maps give a class, and those to which they give different ones."""

    twice: int = 0
    differ: int = 0

    def add(self, twice: np.ndarray, differ: np.ndarray) -> None:
        """twice, differ: (H, W) bool."""
        self.twice += int(np.count_nonzero(twice))
        self.differ += int(np.count_nonzero(differ))


class Join(Closing):
    """Maps on one grid, read by windows, by several threads if need be.

    Only maps that touch a window are read for it.
    """

    _layered = False
    """Whether values of a layer are read, instead of codes."""
    _of_codes = False

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
        self._idle: OrderedDict[int, Files] = OrderedDict()
        self._room = min(OPEN_MAPS, most_files() // HANDLES)
        self._lock = Lock()
        self.clash = Clash()
        """Of what was read so far."""

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
        values = codes.copy() if self._layered else codes
        twice, differ = np.zeros(codes.shape, bool), np.zeros(codes.shape, bool)
        for number in numbers:
            inside = self.places[number].intersect(window)
            assert inside is not None
            contested = self._contested(number, inside, numbers)
            with self._files(number, window) as files:
                found = self._codes(number, files.codes, inside)
                confidence = self._confidence(files.confidence, inside, contested)
                own = found if files.layer is None else files.layer.read(inside)[0][0]
            # Where nobody else has a say it is copied; the rest gets back what was there.
            joined = ((codes, found), (values, own)) if self._layered else ((codes, found),)
            before = [[into[p.within(window)].copy() for into, _ in joined] for p in contested]
            for into, new in joined:
                into[inside.within(window)] = new
            for part, olds in zip(contested, before, strict=True):
                for (into, _), old in zip(joined, olds, strict=True):
                    into[part.within(window)] = old
            places = [(part.within(inside), part.within(window)) for part in contested]
            ranks = [(here, at, _rank(found[here], confidence[here])) for here, at in places]
            # Before any of it is taken over: parts may overlap.
            for here, at, sure in ranks:
                both = (sure > OPEN_RANK) & (best[at] > OPEN_RANK)
                twice[at] |= both
                differ[at] |= both & (codes[at] != found[here])
            for here, at, sure in ranks:
                wins = sure > best[at]
                for into, new in joined:
                    np.copyto(into[at], new[here], where=wins)
                np.copyto(best[at], sure, where=wins)
        with self._lock:
            self.clash.add(twice, differ)
        return values

    def _codes(self, number: int, file: Raster, window: Window) -> np.ndarray:
        """Codes of a map: UNDECIDED where it says so; else what has no label has no class."""
        codes = self.parts[number].map.plain(file.read(window)[0][0])
        if strangers := codes.tobytes().translate(None, self._known):
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
    def _confidence(file: Raster | None, inside: Window, contested: list[Window]) -> np.ndarray:
        """Of a map in a window, at least 1; right where it is contested."""
        confidence = np.ones((inside.height, inside.width), np.uint8)
        if file is None:
            return confidence
        # Whole blocks are read anyway: of many narrow parts, some more than once.
        if sum(part.grow(BLOCK // 2).area for part in contested) > inside.area:
            contested = [inside]
        for part in contested:
            np.maximum(file.read(part)[0][0], 1, out=confidence[part.within(inside)])
        return confidence

    @contextmanager
    def _files(self, number: int, window: Window) -> Iterator[Files]:
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
                one.close()

    def _opened(self, number: int) -> Files:
        part = self.parts[number]
        own = part.map.grid
        coarser = self.grid.pixel_size_near(own) >= COARSER * own.pixel_size_m
        mode, average = ("mode", "average") if coarser else ("nearest", "nearest")
        # Only a warp needs to be told: looking for it in what is copied takes time.
        nodata = "none" if self.exact[number] else NODATA
        with ExitStack() as stack:

            def opened(path: str, how: str) -> Raster:
                file = Raster(path, grid=self.grid, resampling=how, nodata=nodata)
                return stack.enter_context(file)

            files = Files(
                opened(part.map.path, mode),
                opened(part.confidence, average) if part.confidence else None,
                opened(part.layer, mode if self._of_codes else average) if part.layer else None,
            )
            stack.pop_all()
        return files

    def close(self) -> None:
        """Close what no thread is reading; one that goes on after this closes its own."""
        with self._lock:
            self._room = 0
            while self._idle:
                self._idle.popitem()[1].close()


class LayerJoin(Join):
    """As `Join`, but what is read are the values of a layer, each from the map that wins."""

    _layered = True

    def __init__(self, parts: Sequence[Part], grid: Grid, *, mode: bool) -> None:
        """mode: whether the values are codes, of which a coarser pixel takes the mode."""
        super().__init__(parts, grid)
        self._of_codes = mode


def _rank(codes: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """What wins over what, uint8: any class over no decision, and that over no map.

    confidence: 1..100.
    """
    decided = (codes != NODATA) & (codes != UNDECIDED)
    return np.where(
        decided, np.minimum(confidence, 254) + np.uint8(1), (codes == UNDECIDED).astype(np.uint8)
    )
