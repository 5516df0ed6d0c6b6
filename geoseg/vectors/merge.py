"""Merge areas below the minimum mapping unit into their neighbours, square by square.

Within a square, areas merge that lie in it whole and touch no smaller one that goes on outside. So
of millions of small areas few are left for the last pass, over the whole map.

Of areas that touch, the smallest goes first, by whole pixels: to the neighbour with which it shares
the longest edge; of equal ones to the more confident, then to the lower code, then to the one that
begins first. An area without decision takes none. What has no neighbour stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.geo.legend import UNDECIDED
from geoseg.vectors.components import UNIT, Components, Strips, grouped, label_rows
from geoseg.vectors.edges import Edges, PixelEdges, joined, summed
from geoseg.vectors.outlines import Frame

NO_DECISION = UNDECIDED
"""Code of pixels that were given no class."""
SQUARE = 1024
"""Side in pixels of the squares. Which of areas that do not touch goes first depends on it a
little, so it is no setting."""


def merge(strips: Strips, found: Components, minimum: np.ndarray, keep: np.ndarray) -> Components:
    """The regions that the areas of a map become when small ones are merged away.

    minimum: least size of each code (256,) in pixels of usual size. keep: (256,) codes that stay.
    """
    rule = Rule(np.ceil(minimum * UNIT).astype(np.int64), keep)
    small = rule.applies(found.code, found.measures.size)
    if not small.any():
        return found
    owner = _Map(strips, found, rule).merged(PixelEdges.of(strips.grid, small))
    # An area may have become part of one that begins later.
    first = np.full(len(owner), len(owner), np.int32)
    np.minimum.at(first, owner, np.arange(len(owner), dtype=np.int32))
    begins = np.zeros(len(owner), bool)
    roots = np.flatnonzero(first < len(owner))
    begins[first[roots]] = True
    of = np.cumsum(begins, dtype=np.int32)[first[owner]]
    count = int(begins.sum())
    bottom = np.zeros(count, np.int32)
    np.maximum.at(bottom, of - 1, found.bottom)
    measures = found.measures.summed(of - 1, count).narrow()
    lookup = np.r_[np.int32(0), of]
    return Components(
        found.code[owner[begins]], measures, bottom, [lookup[part] for part in found.parts]
    )


class _Map:
    """All areas of a map, of which each may be part of another."""

    def __init__(self, strips: Strips, found: Components, rule: Rule) -> None:
        self.strips, self.found, self.rule = strips, found, rule
        self.looked_at = 0
        """Edges that the rounds have looked at."""
        self.parent = np.arange(len(found.code), dtype=np.int32)
        measures = found.measures
        self.sums = [
            values.astype(np.int64)
            for values in (measures.size, measures.confidence, measures.sure)
        ]

    def merged(self, edges: PixelEdges) -> np.ndarray:
        """The area (N,) that each has become part of."""
        height, width = self.strips.grid.height, self.strips.grid.width
        left_over: list[Edges] = []
        above = np.zeros((0, width), np.int32)
        for top, labels in label_rows(self.strips, self.found, SQUARE):
            left_over.append(edges.between(above, labels[: len(above)], edges.level))
            above = labels[-1:]
            for left in range(0, width, SQUARE):
                square = labels[:, left : left + SQUARE]
                if left:
                    before = labels[:, left - 1]
                    left_over.append(edges.between(before, square[:, 0], edges.upright))
                sides = Frame(top > 0, left > 0, top + len(square) < height, left + SQUARE < width)
                beside = sides.beside(square)
                outside = beside[beside > 0] - 1
                left_over.append(self._merge(edges.within(square), outside))
        self._merge(joined(left_over), np.zeros(0, np.int32))
        return self._roots(np.arange(len(self.parent), dtype=np.int32))

    def _merge(self, shared: Edges, outside: np.ndarray) -> Edges:
        """Merge areas that share edges. Returns: edges of those that are still small.

        outside: areas that have others.
        """
        areas, place = np.unique(shared.a, return_inverse=True)
        number, name = np.unique(self._roots(areas), return_inverse=True)
        edges = summed(name[place], name[np.searchsorted(areas, shared.b)], shared.length)
        size, confidence, sure = (every[number] for every in self.sums)
        goes_on = np.isin(number, self._roots(outside))
        here = Areas(number, self.found.code[number], size, confidence, sure, goes_on)
        merging = Merging(here, edges, self.rule)
        self.parent[number] = number[merging.run()]
        for every, own in zip(self.sums, (here.size, here.confidence, here.sure), strict=True):
            every[number] = own
        self.looked_at += merging.looked_at
        return Edges(number[merging.edges.a], number[merging.edges.b], merging.edges.length)

    def _roots(self, areas: np.ndarray) -> np.ndarray:
        """What areas (A,) have become part of."""
        owner = self.parent[areas]
        while (owner != (up := self.parent[owner])).any():
            owner = up
        self.parent[areas] = owner
        return owner


@dataclass(frozen=True)
class Rule:
    """Which areas are to be merged away."""

    minimum: np.ndarray
    """(256,) least size of each code in UNITs of a pixel."""
    keep: np.ndarray
    """(256,) codes that stay."""

    def applies(self, code: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Whether areas (N,) of these codes and sizes are to be merged away."""
        return np.asarray((size < self.minimum[code]) & ~self.keep[code])


@dataclass
class Areas:
    """Areas that may be merged, (A,) each."""

    number: np.ndarray
    """Of each in the map, ascending."""
    code: np.ndarray
    size: np.ndarray
    """UNITs of a pixel, int64."""
    confidence: np.ndarray
    """Sum of percent."""
    sure: np.ndarray
    """Pixels that have a confidence."""
    goes_on: np.ndarray
    """Whether an area has edges that are not known here; it may take others, but not go."""


class Merging:
    """Areas that become one another's."""

    def __init__(self, areas: Areas, shared: Edges, rule: Rule) -> None:
        """shared: edges between places of the areas of which at least one is small."""
        self.areas, self.edges, self.rule = areas, shared, rule
        self.parent = np.arange(len(areas.number))
        self.turn = _shuffled(areas.number)
        self.looked_at = 0
        """Edges that all rounds together have looked at: what the time depends on."""

    def run(self) -> np.ndarray:
        """The place (A,) of the area that each has become part of."""
        while self._round():
            pass
        while (self.parent != (up := self.parent[self.parent])).any():
            self.parent = up
        return self.parent

    def _round(self) -> bool:
        """Merge all small areas that no smaller one touches; False if there are none left."""
        small = self.rule.applies(self.areas.code, self.areas.size)
        shared = self.edges = self.edges.take(small[self.edges.a] | small[self.edges.b])
        self.looked_at += len(shared.a)
        able = small[shared.a] & (self.areas.code[shared.b] != NO_DECISION)
        waits = small & self.areas.goes_on
        waits[shared.a[able]] = True  # those that have somewhere to go
        goes = waits & ~self.areas.goes_on
        goes[shared.a[waits[shared.b] & self._smaller(shared.b, shared.a)]] = False
        options = shared.take(able & goes[shared.a])
        if not len(options.a):
            return False
        self._join(*self._best(options))
        self._fuse()
        return True

    def _smaller(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether areas come before others: by whole pixels, so that many may go in one round."""
        pixels = (self.areas.size + UNIT // 2) // UNIT
        a, b = pixels[one], pixels[other]
        return np.asarray((a < b) | ((a == b) & (self.turn[one] < self.turn[other])))

    def _best(self, options: Edges) -> tuple[np.ndarray, np.ndarray]:
        """Areas that go, and where each goes to."""
        confidence = self.areas.confidence / np.maximum(self.areas.sure, 1)
        b = options.b
        order = np.lexsort((b, self.areas.code[b], -confidence[b], -options.length, options.a))
        a, b = options.a[order], b[order]
        first = np.flatnonzero(np.diff(a, prepend=-1))
        return a[first], b[first]

    def _join(self, goes: np.ndarray, to: np.ndarray) -> None:
        names = np.arange(len(self.parent))
        names[goes] = to
        self.parent[goes] = to
        np.add.at(self.areas.size, to, self.areas.size[goes])
        self.edges = self.edges.renamed(names)

    def _fuse(self) -> None:
        """Areas of one code that touch now are one, under the name of the first of them."""
        shared, areas = self.edges, self.areas
        alike = shared.take(areas.code[shared.a] == areas.code[shared.b])
        if not len(alike.a):
            return
        touched, place = np.unique(np.r_[alike.a, alike.b], return_inverse=True)
        group = grouped(len(touched), *place.reshape(2, -1))
        _, first = np.unique(group, return_index=True)
        names = np.arange(len(self.parent))
        names[touched] = touched[first][group]
        gone = touched[names[touched] != touched]
        for values in (areas.size, areas.confidence, areas.sure):
            np.add.at(values, names[gone], values[gone])
        np.logical_or.at(areas.goes_on, names[gone], areas.goes_on[gone])
        self.parent[gone] = names[gone]
        self.edges = shared.renamed(names)


def _shuffled(numbers: np.ndarray) -> np.ndarray:
    """Different numbers (N,) uint32 in no order, for different ones below 2³².

    Of equal areas side by side, as in a chequerboard, those in rising order would go one after the
    other. The finalizer of MurmurHash3 (Appleby 2011), which gives no number twice.
    """
    mixed = numbers.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    return np.asarray(mixed ^ (mixed >> np.uint32(16)))
