"""Merge areas below the minimum mapping unit into their neighbours, square by square.

Within a square, areas merge that lie in it whole and touch no smaller one that goes on outside. So
of millions of small areas few are left for the last pass, over the whole map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.vectors.components import UNIT, Components, Strips
from geoseg.vectors.edges import Edges, PixelEdges, joined, summed
from geoseg.vectors.label_rows import label_rows
from geoseg.vectors.merging import Areas, Merging, Rule
from geoseg.vectors.outlines import Frame

SQUARE = 1024
"""Side in pixels of the squares. Which of areas that do not touch goes first depends on it a
little, so it is no setting."""


@dataclass(frozen=True)
class Regions:
    """What the areas of a map have become: numbered from 1 in the order of their first pixel."""

    of: np.ndarray
    """(N + 1,) number of the region of each area from 1; 0 of 0, which is nodata."""
    code: np.ndarray
    """(R,) code of each region."""

    def __len__(self) -> int:
        return len(self.code)


def merge(strips: Strips, found: Components, minimum: np.ndarray, keep: np.ndarray) -> Regions:
    """Merge small areas. minimum: least size of each code (256,) in pixels of usual size."""
    rule = Rule(np.ceil(minimum * UNIT).astype(np.int64), keep)
    small = rule.applies(found.code, found.measures.size)
    if not small.any():
        return Regions(np.arange(len(small) + 1, dtype=np.int32), found.code)
    owner = _Map(strips, found, rule).merged(PixelEdges.of(strips.grid, small))
    # An area may have become part of one that begins later.
    first = np.full(len(owner), len(owner), np.int32)
    np.minimum.at(first, owner, np.arange(len(owner), dtype=np.int32))
    begins = np.zeros(len(owner), bool)
    roots = np.flatnonzero(first < len(owner))
    begins[first[roots]] = True
    number = np.cumsum(begins, dtype=np.int32)
    return Regions(np.r_[np.int32(0), number[first[owner]]], found.code[owner[begins]])


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
