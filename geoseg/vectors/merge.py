"""Merge areas below the minimum mapping unit into their neighbours.

Of areas that touch, the smallest goes first: to the neighbour with which it shares the longest
edge; of equal ones to the more confident, then to the lower code, then to the one that begins
first. Nodata is no neighbour, and an area without decision takes none. What has no neighbour stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoseg.geo.legend import UNDECIDED
from geoseg.vectors.components import UNIT, Components, Strips, grouped, runs

NO_DECISION = UNDECIDED
"""Code of pixels that were given no class."""
SIDE = 1024
"""Units of length in a pixel of usual height: edges are whole numbers of them."""
MOST_PAIRS = 8_000_000
"""Edges that are gathered before equal ones are summed up."""


@dataclass
class Edges:
    """Shared edges of areas, each in both directions."""

    a: np.ndarray
    b: np.ndarray
    """(E,) places of the areas."""
    length: np.ndarray
    """(E,) int64, units of 1/SIDE pixel."""

    def take(self, chosen: np.ndarray) -> Edges:
        return Edges(self.a[chosen], self.b[chosen], self.length[chosen])

    def renamed(self, names: np.ndarray) -> Edges:
        """With other areas; edges between the same two become one, those within one go."""
        a, b = names[self.a], names[self.b]
        return _summed(a, b, self.length, len(names))


def _summed(a: np.ndarray, b: np.ndarray, length: np.ndarray, count: int) -> Edges:
    apart = a != b
    key = a[apart].astype(np.int64) * count + b[apart]
    order = np.argsort(key, kind="stable")
    key, length = key[order], length[apart][order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    sums = np.add.reduceat(length, first) if len(first) else length
    a, b = np.divmod(key[first], max(count, 1))
    return Edges(a, b, sums)


def is_small(found: Components, minimum: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Whether each area (N,) is to be merged away.

    minimum: (256,) least size of each code in UNITs of a pixel; keep: (256,) codes that stay.
    """
    return np.asarray((found.measures.size < minimum[found.code]) & ~keep[found.code])


def edges(strips: Strips, found: Components, small: np.ndarray) -> Edges:
    """The shared edges of the areas of which at least one is small: no others can change."""
    height, width = strips.grid.resolution
    # Its sides on the ground, by their relation: of degrees far north they differ.
    sides = strips.grid.pixel_sides_m
    height, width = sides if np.isfinite(sides).all() and min(sides) > 0 else (height, width)
    mean = (height * width) ** 0.5
    upright, level = round(height / mean * SIDE), round(width / mean * SIDE)
    chosen = np.r_[False, small]
    count = len(small)
    none = np.zeros(0, np.int64)
    pieces = [Edges(none, none, none)]
    waiting = 0
    for labels in painted(strips, found):
        for a, b, length in (
            (labels[1:, :-1], labels[1:, 1:], upright),
            (labels[:-1], labels[1:], level),
        ):
            at = (a != b) & (a > 0) & (b > 0)
            x, y = a[at], b[at]
            matters = chosen[x] | chosen[y]
            x, y = x[matters] - 1, y[matters] - 1
            lengths = np.full(2 * len(x), length, np.int64)
            pieces.append(_summed(np.r_[x, y], np.r_[y, x], lengths, count))
            waiting += len(pieces[-1].a)
        if waiting > MOST_PAIRS:
            pieces, waiting = [_joined(pieces, count)], 0
    return _joined(pieces, count)


def _joined(pieces: list[Edges], count: int) -> Edges:
    a, b, length = (np.concatenate([getattr(p, n) for p in pieces]) for n in ("a", "b", "length"))
    return _summed(a, b, length, count)


def painted(strips: Strips, found: Components) -> Iterator[np.ndarray]:
    """Numbers of the areas strip by strip, each with the row above it (0 above the first)."""
    above = np.zeros((1, strips.grid.width), np.int32)
    for window, part in zip(strips.windows(), found.parts, strict=True):
        labels = runs(strips.codes(window)).paint(part)
        yield np.concatenate((above, labels))
        above = labels[-1:]


class Merging:
    """Areas that become one another's, round by round."""

    def __init__(
        self, found: Components, shared: Edges, minimum: np.ndarray, keep: np.ndarray
    ) -> None:
        """shared: from `edges`; minimum, keep: as `is_small` takes them."""
        self.minimum, self.keep, self.count = minimum, keep, len(found.code)
        # Only these can change; they get places of their own.
        self.places = np.unique(shared.a)
        names = np.zeros(self.count, np.int64)
        names[self.places] = np.arange(len(self.places))
        self.edges = shared.renamed(names) if len(self.places) else shared
        measures = found.measures
        self.code = found.code[self.places].copy()
        self.size = measures.size[self.places].copy()
        self.confidence = measures.confidence[self.places].copy()
        self.sure = measures.sure[self.places].copy()
        self.parent = np.arange(len(self.places))

    def run(self) -> np.ndarray:
        """The area (N,), by its place, that each has become part of."""
        while self._round():
            pass
        while (self.parent != (up := self.parent[self.parent])).any():
            self.parent = up
        owner = np.arange(self.count)
        owner[self.places] = self.places[self.parent]
        return owner

    def _round(self) -> bool:
        """Merge all small areas that no smaller one touches; False if there are none left."""
        small = (self.size < self.minimum[self.code]) & ~self.keep[self.code]
        shared = self.edges = self.edges.take(small[self.edges.a] | small[self.edges.b])
        able = small[shared.a] & (self.code[shared.b] != NO_DECISION)
        waits = np.zeros(len(small), bool)
        waits[shared.a[able]] = True  # those that have somewhere to go
        own, other = self.size[shared.a], self.size[shared.b]
        smaller = (other < own) | ((other == own) & (shared.b < shared.a))
        later = waits[shared.b] & smaller
        goes = waits.copy()
        goes[shared.a[later]] = False
        options = shared.take(able & goes[shared.a])
        if not len(options.a):
            return False
        self._join(*self._best(options))
        self._fuse()
        return True

    def _best(self, options: Edges) -> tuple[np.ndarray, np.ndarray]:
        """Areas that go, and where each goes to."""
        confidence = self.confidence / np.maximum(self.sure, 1)
        b = options.b
        order = np.lexsort((b, self.code[b], -confidence[b], -options.length, options.a))
        a, b = options.a[order], b[order]
        first = np.flatnonzero(np.diff(a, prepend=-1))
        return a[first], b[first]

    def _join(self, goes: np.ndarray, to: np.ndarray) -> None:
        names = np.arange(len(self.parent))
        names[goes] = to
        self.parent[goes] = to
        np.add.at(self.size, to, self.size[goes])
        self.edges = self.edges.renamed(names)

    def _fuse(self) -> None:
        """Areas of one code that touch now are one, under the name of the first of them."""
        shared = self.edges
        alike = shared.take(self.code[shared.a] == self.code[shared.b])
        if not len(alike.a):
            return
        touched, place = np.unique(np.r_[alike.a, alike.b], return_inverse=True)
        group = grouped(len(touched), *place.reshape(2, -1))
        _, first = np.unique(group, return_index=True)
        names = np.arange(len(self.parent))
        names[touched] = touched[first][group]
        gone = touched[names[touched] != touched]
        for values in (self.size, self.confidence, self.sure):
            np.add.at(values, names[gone], values[gone])
        self.parent[gone] = names[gone]
        self.edges = shared.renamed(names)


@dataclass(frozen=True)
class Regions:
    """What the areas of a map have become: numbered from 1 in the order of their first pixel."""

    of: np.ndarray
    """(N,) number of the region of each area."""
    code: np.ndarray
    """(R,) code of each region."""

    def __len__(self) -> int:
        return len(self.code)


def merge(strips: Strips, found: Components, minimum: np.ndarray, keep: np.ndarray) -> Regions:
    """Merge small areas. minimum: least size of each code (256,) in pixels of usual size."""
    least = np.ceil(minimum * UNIT).astype(np.int64)
    small = is_small(found, least, keep)
    if not small.any():
        return Regions(np.arange(1, len(small) + 1), found.code)
    owner = Merging(found, edges(strips, found, small), least, keep).run()
    _, first, of = np.unique(owner, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    order = np.argsort(first)
    rank[order] = np.arange(1, len(first) + 1)
    return Regions(rank[of], found.code[owner[first[order]]])
