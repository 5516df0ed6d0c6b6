"""Agreement: a map and labels compared window by window, everything counted in one pass."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from geoseg.accuracy import BoundaryF1, Scores, confusion
from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.landcover import Map
from geoseg.legend import IGNORED, NODATA, UNLABELLED, Legend
from geoseg.places import Place, Places
from geoseg.raster import Raster
from geoseg.truth import Truth

COMPARED = "compared"
NO_MAP = "without map"
NO_SPLIT = "outside the split"
NO_LABEL = "without label"
RIGHT, WRONG = 1, 2
ERRORS = Legend.parse(
    [
        {"code": RIGHT, "name": "right", "color": "#bcd9e8"},
        {"code": WRONG, "name": "wrong", "color": "#c2002f"},
    ],
    "errors",
)
"""Legend of a map of errors; 0 = not compared."""


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
    places: list[Place]
    """Parts of the map with labels."""

    @property
    def scores(self) -> Scores:
        return Scores.of(self.confusion, self.legend.names)


def compare(
    found: Map,
    truth: Truth,
    *,
    tolerance: int = 2,
    write: Callable[[np.ndarray, Window], None] | None = None,
) -> Agreement:
    """Compare a map with the truth; only pixels with a class in both count.

    tolerance: of boundaries, in pixels. write: takes errors (h, w) uint8 (0 not compared, RIGHT,
    WRONG) and their window.
    Raises: InputError if a file is damaged, or the map holds codes that the legend does not know.
    """
    legend, size = found.legend, len(found.legend)
    places, pixels = Places(found.grid), Counter[str]()
    boundary = BoundaryF1(size, tolerance)
    matrix = np.zeros((size, size), np.int64)
    mapped = np.zeros(size, np.int64)
    with Raster(found.path, nodata=NODATA) as file:
        for window in _progress(places.windows()):
            wide = window.grow(boundary.halo).intersect(found.grid.window)
            assert wide is not None
            keep = window.within(wide)
            codes = file.read(wide)[0][0]
            predicted = legend.encode(codes)
            _check_known(codes, predicted, found)
            own = predicted[keep]
            pixels[NO_MAP] += int(np.count_nonzero(own == IGNORED))
            if (own == IGNORED).all():
                continue
            mapped += _count(own, size)
            labels, inside = truth.read(wide)
            target = legend.encode(labels)
            boundary.add(target, predicted, keep)
            target, inside = target[keep], inside[keep]
            matrix += confusion(target, own, size)
            pixels += _left_out(target, own, inside)
            places.add(window, target, own)
            if write:
                compared = (target != IGNORED) & (own != IGNORED)
                write(np.where(target == own, RIGHT, WRONG).astype(np.uint8) * compared, window)
    return Agreement(legend, matrix, boundary, pixels, mapped, places.found)


def _check_known(codes: np.ndarray, indices: np.ndarray, found: Map) -> None:
    strange = (indices == IGNORED) & (codes != NODATA) & (codes != UNLABELLED)
    if strange.any():
        raise InputError(
            f"{found.path}: holds code {int(codes[strange][0])}, which the legend"
            f" ({', '.join(f'{c.code} {c.name}' for c in found.legend.classes)}) does not know;"
            " set legend.path=<the legend of this map>"
        )


def _left_out(target: np.ndarray, own: np.ndarray, inside: np.ndarray) -> Counter[str]:
    has_class = own != IGNORED
    labelled = target != IGNORED
    return Counter(
        {
            COMPARED: int(np.count_nonzero(has_class & labelled)),
            NO_SPLIT: int(np.count_nonzero(has_class & ~inside)),
            NO_LABEL: int(np.count_nonzero(has_class & inside & ~labelled)),
        }
    )


def _count(indices: np.ndarray, classes: int) -> np.ndarray:
    """Pixels per class (K,)."""
    return np.diagonal(confusion(indices, indices, classes)).copy()


def _progress(windows: list[Window]) -> Iterator[Window]:
    shown = sys.stderr.isatty() and len(windows) > 1
    console = Console(stderr=True)
    yield from track(windows, "comparing", console=console, disable=not shown, transient=True)
