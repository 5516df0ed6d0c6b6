"""Merge areas that are below the minimum into their neighbours, round by round.

Of areas that touch, the smallest goes first, by whole pixels: to the neighbour with which it shares
the longest edge; of equal ones to the more confident, then to the lower code, then to the one that
begins first. An area without decision takes none. What has no neighbour stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.geo.legend import UNDECIDED
from geoseg.vectors.components import UNIT, grouped
from geoseg.vectors.edges import Edges

NO_DECISION = UNDECIDED
"""Code of pixels that were given no class."""


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
