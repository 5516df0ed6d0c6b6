"""Choose the places of a map where it agrees best and worst with the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import IGNORED

SIDE = 400
"""Side of a place in pixels, about: what fits four times beside each other on a page."""
TOGETHER = 5
"""Places read at once, down and across."""


@dataclass(frozen=True)
class Excerpt:
    """A part of a map and how well it agrees with the labels."""

    window: Window
    compared: int
    """Pixels that have a class in the map and in the labels."""
    right: int
    """Of these, pixels with the same class."""
    classes: int
    """Different classes in the labels."""
    rank: str = ""
    """worst, median or best; only, where there is one."""

    @property
    def agreement(self) -> float:
        return self.right / max(1, self.compared)


class Excerpts:
    """The places of a grid: they partition it."""

    def __init__(self, grid: Grid) -> None:
        self._rows, self._columns = cuts(grid.height), cuts(grid.width)
        self.found: list[Excerpt] = []
        """Those with labels."""

    def windows(self) -> list[Window]:
        """Larger windows that partition the grid, each of whole places, row by row."""
        return between(
            *([*ends[:-1][::TOGETHER], ends[-1]] for ends in (self._rows, self._columns))
        )

    def add(self, window: Window, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Compare indices (H, W) on one of `windows()`; 255 in either is left out."""
        compared = (truth != IGNORED) & (predicted != IGNORED)
        right = compared & (truth == predicted)
        for place in self._inside(window):
            part = place.within(window)
            if count := int(np.count_nonzero(compared[part])):
                classes = np.count_nonzero(np.bincount(truth[part][compared[part]]))
                hits = int(np.count_nonzero(right[part]))
                self.found.append(Excerpt(place, count, hits, int(classes)))

    def _inside(self, window: Window) -> list[Window]:
        rows = [r for r in self._rows if window.top <= r <= window.bottom]
        columns = [c for c in self._columns if window.left <= c <= window.right]
        return between(rows, columns)


def between(rows: Sequence[int], columns: Sequence[int]) -> list[Window]:
    """The windows that lie between such rows and columns."""
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def choose(places: Sequence[Excerpt], each: int) -> list[Excerpt]:
    """`each` of the worst, of those around the median, and of the best, in this order.

    Excerpts with few labels are left out, and those of a single class if there are enough others:
    nobody learns from a picture of one colour.
    """
    most = max((place.compared for place in places), default=0)
    worthy = [place for place in places if place.compared >= most / 2]
    varied = [place for place in worthy if place.classes > 1]
    ranked = sorted(
        varied if len(varied) >= 3 * each else worthy,
        key=lambda p: (p.agreement, p.window.top, p.window.left),
    )
    count = len(ranked)
    if count <= 3 * each:
        numbers = {i: _name(i, count) for i in range(count)}
    else:
        middle = (count - each) // 2
        numbers = dict.fromkeys(range(each), "worst")
        numbers |= dict.fromkeys(range(middle, middle + each), "median")
        numbers |= dict.fromkeys(range(count - each, count), "best")
    return [
        Excerpt(p.window, p.compared, p.right, p.classes, numbers[i])
        for i, p in enumerate(ranked)
        if i in numbers
    ]


def _name(number: int, count: int) -> str:
    return ("worst", "median", "best")[min(2, 3 * number // count)] if count > 1 else "only"


def cuts(length: int) -> list[int]:
    """Where an axis is cut into parts of about one length."""
    parts = max(1, round(length / SIDE))
    return [length * i // parts for i in range(parts + 1)]
