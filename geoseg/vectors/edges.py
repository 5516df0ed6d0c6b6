"""Measure the edges that areas share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.geo.grid import Grid

SIDE = 1024
"""Units of length in a pixel of usual height: edges are whole numbers of them."""


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
        return summed(names[self.a], names[self.b], self.length)


def summed(a: np.ndarray, b: np.ndarray, length: np.ndarray) -> Edges:
    """Edges in the order of their areas, equal ones as one, without those of an area with itself.

    a, b: (E,) numbers below 2³¹.
    """
    apart = a != b
    key = (a[apart].astype(np.int64) << 31) | b[apart]
    order = np.argsort(key, kind="stable")
    key, length = key[order], length[apart][order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    sums = np.add.reduceat(length, first) if len(first) else length
    key = key[first]
    return Edges(key >> 31, key & 0x7FFFFFFF, sums)


def joined(pieces: Sequence[Edges]) -> Edges:
    """All edges of several lists, as they are."""
    if not pieces:
        none = np.zeros(0, np.int64)
        return Edges(none, none, none)
    return Edges(*(np.concatenate([getattr(p, n) for p in pieces]) for n in ("a", "b", "length")))


@dataclass(frozen=True)
class PixelEdges:
    """Lengths of the sides of a map's pixels, and which areas' edges matter."""

    upright: int
    level: int
    """Units of 1/SIDE pixel."""
    chosen: np.ndarray
    """(N + 1,) whether edges of an area matter, by its number from 1."""

    @classmethod
    def of(cls, grid: Grid, chosen: np.ndarray) -> PixelEdges:
        """chosen: (N,) areas of which one at least must have part in an edge."""
        # Its sides on the ground, by their relation: of degrees far north they differ.
        sides = grid.pixel_sides_m
        fine = np.isfinite(sides).all() and min(sides) > 0
        height, width = sides if fine else grid.resolution
        mean = (height * width) ** 0.5
        return cls(round(height / mean * SIDE), round(width / mean * SIDE), np.r_[False, chosen])

    def within(self, labels: np.ndarray) -> Edges:
        """Edges between the areas in a part of the map (H, W) of their numbers, 0 nodata."""
        return joined(
            [
                self.between(labels[:, :-1], labels[:, 1:], self.upright),
                self.between(labels[:-1], labels[1:], self.level),
            ]
        )

    def between(self, one: np.ndarray, two: np.ndarray, length: int) -> Edges:
        """Edges where pixels of `one` lie beside those of `two`, each `length` long."""
        at = one != two
        x, y = one[at], two[at]
        matters = (self.chosen[x] | self.chosen[y]) & (x > 0) & (y > 0)
        x, y = x[matters] - 1, y[matters] - 1
        return summed(np.r_[x, y], np.r_[y, x], np.full(2 * len(x), length, np.int64))
