"""Compare a map with labels window by window, counting everything in one pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.errors import InputError
from geoseg.evaluation.accuracy import BoundaryF1, Scores, confusion
from geoseg.evaluation.error_map import RIGHT, WRONG
from geoseg.evaluation.excerpts import Excerpt, Excerpts
from geoseg.evaluation.pairs import PairNumbers
from geoseg.evaluation.reliability import ByNovelty, Reliability
from geoseg.evaluation.truth import Truth
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import HECTARE
from geoseg.geo.legend import IGNORED, NODATA, UNDECIDED, UNLABELLED, Legend
from geoseg.geo.raster import Raster
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.closing import Closing
from geoseg.outputs.progress import follow

COMPARED = "compared"
NO_MAP = "without map"
NO_SPLIT = "outside the split"
NO_LABEL = "without label"
LEFT_OPEN = "left undecided"
ERRORS = Legend.parse(
    [
        {"code": RIGHT, "name": "right", "color": "#bcd9e8"},
        {"code": WRONG, "name": "wrong", "color": "#c2002f"},
    ],
    "errors",
)
"""Legend of pictures of errors: right or wrong; errors.tif says what was taken for what."""


@dataclass
class Hectares:
    """Areas on the ground, each pixel of its own size."""

    confusion: np.ndarray
    """(K, K) rows labels, columns map."""
    pixels: dict[str, float]
    """Of the grid: compared, and left out and why."""
    mapped: np.ndarray
    """(K,) per class of the whole map."""

    @property
    def labels(self) -> np.ndarray:
        """(K,) per class of the labels, where compared."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def map(self) -> np.ndarray:
        """(K,) per class of the map, where compared."""
        return np.asarray(self.confusion.sum(axis=0))


@dataclass
class Agreement:
    """What a map and labels have in common."""

    legend: Legend
    confusion: np.ndarray
    """(K, K) pixels, rows labels, columns map."""
    boundary: BoundaryF1
    pixels: Counter[str]
    """Of the grid: compared, and left out and why."""
    mapped: np.ndarray
    """(K,) pixels per class of the whole map."""
    places: list[Excerpt]
    """Parts of the map with labels."""
    hectares: Hectares
    """The same on the ground."""

    leaves_open: bool = False
    """Whether the map may leave pixels without decision."""
    reliability: Reliability | None = None
    """Of the confidence that lies beside the map; None without one."""
    by_novelty: ByNovelty | None = None
    """Hits by the novelty that lies beside the map; None without one."""

    @property
    def scores(self) -> Scores:
        return Scores.of(self.confusion, self.legend.names)

    @property
    def share_open(self) -> float:
        """Share of the labelled pixels of the map that it leaves without decision."""
        left = self.pixels[LEFT_OPEN]
        return left / max(1, left + self.pixels[COMPARED])


def compare(
    found: ClassMap,
    truth: Truth,
    *,
    tolerance: int = 2,
    take: Callable[[np.ndarray, Window], None] | None = None,
    confidence: str | Path | None = None,
    novelty: str | Path | None = None,
) -> Agreement:
    """Compare a map with the truth; only pixels with a class in both count.

    tolerance: of boundaries, in pixels. take: gets the pairs of label and mapped class (h, w), as
    PairNumbers has them (0 not compared), and their window. confidence: raster of percent on the
    map's grid. novelty: raster of ranks on it.
    Raises: InputError if a file is damaged, or the map holds codes that the legend does not know.
    """
    legend = found.legend
    counts, pairs = _Counts(found.grid, len(legend)), PairNumbers(len(legend))
    places, boundary = Excerpts(found.grid), BoundaryF1(len(legend), tolerance)
    with Raster(found.path, nodata=NODATA) as file, _Beside(confidence, novelty) as beside:
        for window in follow(places.windows(), "comparing"):
            wide = window.grow(boundary.halo).intersect(found.grid.window)
            assert wide is not None
            keep = window.within(wide)
            codes = found.plain(file.read(wide)[0][0])
            predicted = legend.encode(codes)
            _check_known(codes, predicted, found)
            own = predicted[keep]
            undecided = (codes[keep] == UNDECIDED) & found.leaves_open
            if (own == IGNORED).all() and not undecided.any():
                counts.add_unmapped(window)
                continue
            labels, inside = truth.read(wide)
            target = legend.encode(labels)
            boundary.add(target, predicted, keep)
            target, inside = target[keep], inside[keep]
            counts.add(window, target, own, inside, undecided)
            places.add(window, target, own)
            beside.add(window, target, own)
            if take:
                take(pairs.of_indices(target, own), window)
    return Agreement(
        legend,
        counts.confusion,
        boundary,
        counts.pixels,
        counts.mapped,
        places.found,
        counts.hectares,
        found.leaves_open,
        beside.reliability,
        beside.by_novelty,
    )


class _Beside(Closing):
    """Rasters beside a map, whose values are counted with whether the map is right there."""

    def __init__(self, confidence: str | Path | None, novelty: str | Path | None) -> None:
        self.reliability = None if confidence is None else Reliability()
        self.by_novelty = None if novelty is None else ByNovelty()
        with ExitStack() as stack:  # if the second can't be opened, the first is closed
            self._confidence, self._novelty = (
                None if path is None else stack.enter_context(Raster(str(path)))
                for path in (confidence, novelty)
            )
            self._stack = stack.pop_all()

    def add(self, window: Window, target: np.ndarray, own: np.ndarray) -> None:
        """Count a window: indices (H, W) of labels and map."""
        compared = (target != IGNORED) & (own != IGNORED)
        if not compared.any():
            return
        right = (target == own)[compared]
        if self._confidence is not None and self.reliability is not None:
            self.reliability.add(self._confidence.read(window)[0][0][compared] / 100, right)
        if self._novelty is not None and self.by_novelty is not None:
            self.by_novelty.add(self._novelty.read(window)[0][0][compared], right)

    def close(self) -> None:
        self._stack.close()


class _Counts:
    """Adds up what windows of a grid hold, in pixels and on the ground."""

    def __init__(self, grid: Grid, classes: int) -> None:
        self._grid, self._classes = grid, classes
        shape = (classes, classes)
        self.confusion, self.mapped = np.zeros(shape, np.int64), np.zeros(classes, np.int64)
        self.pixels = Counter[str]()
        self.hectares = Hectares(np.zeros(shape), defaultdict(float), np.zeros(classes))

    def add(
        self,
        window: Window,
        target: np.ndarray,
        own: np.ndarray,
        inside: np.ndarray,
        undecided: np.ndarray,
    ) -> None:
        """Count a window: indices of labels and map, where the split lies, where the map has no
        decision; (H, W) each.
        """
        for part, m2 in self._grid.alike(window):
            place, hectare = part.within(window), m2 / HECTARE
            matrix = confusion(target[place], own[place], self._classes)
            mapped = _count(own[place], self._classes)
            self.confusion += matrix
            self.mapped += mapped
            self.hectares.confusion += matrix * hectare
            self.hectares.mapped += mapped * hectare
            left = _left_out(target[place], own[place], inside[place], undecided[place])
            self._add(left, hectare)

    def add_unmapped(self, window: Window) -> None:
        """Count a window without map."""
        for part, m2 in self._grid.alike(window):
            self._add({NO_MAP: part.area}, m2 / HECTARE)

    def _add(self, pixels: Mapping[str, int], hectare: float) -> None:
        for name, count in pixels.items():
            self.pixels[name] += count
            self.hectares.pixels[name] += count * hectare


def _check_known(codes: np.ndarray, indices: np.ndarray, found: ClassMap) -> None:
    strange = (indices == IGNORED) & (codes != NODATA) & (codes != UNLABELLED)
    if strange.any():
        raise InputError(
            f"{found.path}: holds code {int(codes[strange][0])}, which the legend"
            f" ({', '.join(f'{c.code} {c.name}' for c in found.legend.classes)}) does not know;"
            " set legend.path=<the legend of this map>"
        )


def _left_out(
    target: np.ndarray, own: np.ndarray, inside: np.ndarray, undecided: np.ndarray
) -> Counter[str]:
    has_class = own != IGNORED
    mapped = has_class | undecided
    labelled = target != IGNORED
    found = {
        NO_MAP: ~mapped,
        COMPARED: has_class & labelled,
        NO_SPLIT: mapped & ~inside,
        NO_LABEL: mapped & inside & ~labelled,
        LEFT_OPEN: undecided & labelled,
    }
    counts = {name: int(np.count_nonzero(where)) for name, where in found.items()}
    # Maps that leave nothing open are not told about it.
    return Counter({name: n for name, n in counts.items() if n or name != LEFT_OPEN})


def _count(indices: np.ndarray, classes: int) -> np.ndarray:
    """Pixels per class (K,)."""
    return np.diagonal(confusion(indices, indices, classes)).copy()
