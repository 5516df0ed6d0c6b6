"""Trace the outlines of regions in a block of pixels, and simplify them with shared edges.

Coordinates are corners of pixels: x columns, y rows downwards. An outline has vertices where it
turns and where three regions meet, so that the polygons of a block are a valid coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.vectors.components import runs
from geoseg.vectors.rings import listed

BEFORE = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (1, 1)}
"""Offsets in the padded block of the pixels NW, NE, SW and SE of a corner."""
NW, NE, SW, SE = range(4)
OWNER = np.array([SE, SW, NW, NE])
"""The pixel on the right of an edge that leaves a corner to the east, south, west or north."""
OTHER = np.array([NE, SE, SW, NW])
"""The pixel on its left."""


@dataclass(frozen=True)
class Pieces:
    """Polygons of a block, and the region that each is a part of."""

    polygons: np.ndarray
    """(P,) shapely polygons in pixels of the map."""
    region: np.ndarray
    """(P,)"""

    @classmethod
    def joined(cls, parts: Sequence[Pieces]) -> Pieces:
        """All of one or more."""
        return cls(
            np.concatenate([part.polygons for part in parts]),
            np.concatenate([part.region for part in parts]),
        )

    def take(self, chosen: np.ndarray | slice) -> Pieces:
        return Pieces(self.polygons[chosen], self.region[chosen])

    def __reduce__(self) -> tuple[Callable[..., Pieces], tuple[np.ndarray, np.ndarray]]:
        return _unpickled, (shapely.to_wkb(self.polygons), self.region)  # ten times as fast


def _unpickled(wkb: np.ndarray, region: np.ndarray) -> Pieces:
    return Pieces(shapely.from_wkb(wkb), region)


@dataclass(frozen=True)
class Frame:
    """Which sides of a block go on in another block."""

    top: bool
    left: bool
    bottom: bool
    right: bool

    def beside(self, labels: np.ndarray) -> np.ndarray:
        """The regions of a block (H, W) that lie on such a side."""
        sides = (
            (self.top, labels[0]),
            (self.left, labels[:, 0]),
            (self.bottom, labels[-1]),
            (self.right, labels[:, -1]),
        )
        return np.unique(np.concatenate([labels[:0, 0], *(v for on, v in sides if on)]))

    def holds(self, shape: tuple[int, int], y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Whether corners (N,) of a block of this shape lie on such a side."""
        sides = (
            (self.top, y == 0),
            (self.left, x == 0),
            (self.bottom, y == shape[0]),
            (self.right, x == shape[1]),
        )
        found = np.zeros(len(y), bool)
        for goes_on, at in sides:
            if goes_on:
                found |= at
        return found


def trace(labels: np.ndarray, origin: tuple[int, int], frame: Frame) -> Pieces:
    """Outlines of the regions in a block (H, W); 0 is nodata.

    origin: row and column of the block in the map. Sides that go on in another block have a vertex
    at each pixel, so that the polygons there fit together.
    """
    part = runs(labels)
    if not len(part.codes):
        return Pieces(np.zeros(0, object), np.zeros(0, np.int64))
    rings = _rings(np.pad(part.paint(np.arange(len(part.codes) + 1, dtype=np.int32)), 1))
    kept = rings.turns | frame.holds(labels.shape, rings.y, rings.x)
    other = np.flatnonzero(~kept)
    kept[other] = meeting(np.pad(labels, 1), rings.y[other], rings.x[other])
    # The outer ring of each piece first, then its holes.
    order = np.lexsort((rings.hole, rings.owner))
    vertices, made_of = _in_turn(np.flatnonzero(kept), rings.ring[kept], order)
    x, y = rings.x[vertices] + origin[1], rings.y[vertices] + origin[0]
    made = shapely.linearrings(np.stack((x, y), axis=1).astype(float), indices=made_of)
    return Pieces(
        shapely.polygons(made, indices=rings.owner[order] - 1), part.codes.astype(np.int64)
    )


def _in_turn(
    vertices: np.ndarray, ring: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V,) that are listed ring by ring, with the rings in another order (R,).

    Returns: them, and the place (V,) of each one's ring in that order.
    """
    length = np.bincount(ring, minlength=len(order))
    begin = np.cumsum(length) - length
    there = length[order]
    shift = begin[order] - (np.cumsum(there) - there)
    return vertices[np.arange(len(vertices)) + np.repeat(shift, there)], np.repeat(
        np.arange(len(order)), there
    )


def simplify(pieces: Pieces, tolerance: float) -> Pieces:
    """Simplify the polygons of a block in pixels; what only one of them borders on stays."""
    if not tolerance or not len(pieces.polygons):
        return pieces
    # Visvalingam and Whyatt 1993, as GEOS applies it to coverages.
    simple = shapely.coverage_simplify(pieces.polygons, tolerance, simplify_boundary=False)
    return Pieces(simple, pieces.region)


def meeting(padded: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether three regions or more, or two crosswise, meet at corners (N,) of a padded block."""
    around = [padded[y + i, x + j] for i, j in BEFORE.values()]
    changes = np.zeros(len(y), np.int8)
    for one, next_ in ((NW, NE), (NE, SE), (SE, SW), (SW, NW)):
        changes += around[one] != around[next_]
    return changes >= 3  # of two regions there are two, or four if they lie crosswise


@dataclass(frozen=True)
class _Rings:
    """Vertices (V,) of closed rings (R,), each after the other; regions lie on the right."""

    y: np.ndarray
    x: np.ndarray
    turns: np.ndarray
    """(V,) whether the ring turns there."""
    ring: np.ndarray
    """(V,) number of the ring, ascending."""
    owner: np.ndarray
    """(R,) piece, from 1."""
    hole: np.ndarray
    """(R,)"""


def _rings(padded: np.ndarray) -> _Rings:
    """Rings around pieces in a block padded with 0.

    At a corner where a piece meets itself crosswise, its ring is cut in two, so that none touches
    itself: one of them is a hole.
    """
    width = padded.shape[1] - 1
    edge = _edges(padded)
    number = np.empty(padded.shape[0] * width * 4, np.intp)
    number[edge] = np.arange(len(edge))
    corner, direction = edge >> 2, edge & 3
    flat = padded.ravel()
    row = corner // width
    place = corner + row
    offset = np.array([i * (width + 1) + j for i, j in BEFORE.values()])
    owner = flat[place + offset[OWNER][direction]]
    step = np.array([1, width, -1, -width])
    ahead = place + np.array([1, width + 1, -1, -(width + 1)])[direction]
    on_right = flat[ahead + offset[OWNER][direction]] == owner
    on_left = flat[ahead + offset[OTHER][direction]] == owner
    onward = (direction + np.where(on_left, 3, np.where(on_right, 0, 1))) & 3
    after = number[(corner + step[direction]) * 4 + onward]
    turns = np.empty(len(edge), bool)
    turns[after] = onward != direction
    ring, order = listed(after)
    ring, y = ring[order], row[order]
    # Twice the area below each edge; it is positive around what lies on the right.
    area = np.bincount(ring, weights=np.array([-1, 0, 1, 0])[direction[order]] * y)
    first = order[np.flatnonzero(np.diff(ring, prepend=-1))]
    x = corner[order] - y * width
    return _Rings(y, x, turns[order], ring, owner[first].astype(np.int64), area < 0)


def _edges(padded: np.ndarray) -> np.ndarray:
    """Edges (E,) between different pieces: 4 × corner + direction, for the piece on the right."""
    height, width = padded.shape[0] - 1, padded.shape[1] - 1
    views = [padded[i : i + height, j : j + width] for i, j in BEFORE.values()]
    right_below, above_below = views[SE] != views[SW], views[SE] != views[NE]
    west, north = views[NW] != views[SW], views[NE] != views[NW]
    leaves = np.empty((height, width, 4), bool)
    for direction, differ in enumerate((above_below, right_below, west, north)):
        np.logical_and(differ, views[OWNER[direction]] > 0, out=leaves[..., direction])
    return np.flatnonzero(leaves)
