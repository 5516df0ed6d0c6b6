"""Trace the outlines of regions in a block of pixels, and simplify them with shared edges.

Coordinates are corners of pixels: x columns, y rows downwards. An outline has vertices where it
turns and where three regions meet, so that the polygons of a block are a valid coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.vectors.components import runs

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

    def take(self, chosen: np.ndarray | slice) -> Pieces:
        return Pieces(self.polygons[chosen], self.region[chosen])


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
    y, x = rings.y, rings.x
    kept = rings.turns | meeting(np.pad(labels, 1), y, x) | frame.holds(labels.shape, y, x)
    rings = rings.take(kept)
    coordinates = np.stack((rings.x + origin[1], rings.y + origin[0]), axis=1).astype(float)
    # The outer ring of each piece first, then its holes.
    order = np.lexsort((rings.ring, rings.hole, rings.owner))
    ring = rings.ring[order]
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    number = np.repeat(np.arange(len(first)), np.diff(first, append=len(ring)))
    made = shapely.linearrings(coordinates[order], indices=number)
    polygons = shapely.polygons(made, indices=rings.owner[order][first] - 1)
    return Pieces(polygons, part.codes.astype(np.int64))


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
    differ = np.zeros(len(y), np.int8)
    for i in range(4):
        for j in range(i):
            differ += around[i] != around[j]
    crosswise = (around[NW] == around[SE]) & (around[NE] == around[SW]) & (differ > 0)
    return np.asarray((differ >= 5) | crosswise)  # of two regions, four pairs differ at most


@dataclass(frozen=True)
class _Rings:
    """Vertices (V,) of closed rings, each after the other; regions lie on the right."""

    y: np.ndarray
    x: np.ndarray
    turns: np.ndarray
    """Whether the ring turns there."""
    owner: np.ndarray
    """Piece, from 1."""
    ring: np.ndarray
    hole: np.ndarray

    def take(self, chosen: np.ndarray) -> _Rings:
        return _Rings(*(values[chosen] for values in vars(self).values()))


def _rings(padded: np.ndarray) -> _Rings:
    """Rings around pieces in a block padded with 0.

    At a corner where a piece meets itself crosswise, its ring is cut in two, so that none touches
    itself: one of them is a hole.
    """
    height, width = padded.shape[0] - 1, padded.shape[1] - 1
    views = [padded[i : i + height, j : j + width] for i, j in BEFORE.values()]
    leaves = np.stack(
        [(views[o] != views[p]) & (views[o] > 0) for o, p in zip(OWNER, OTHER, strict=True)], -1
    )
    edge = np.flatnonzero(leaves)
    number = np.full(leaves.size, -1, np.int32)
    number[edge] = np.arange(len(edge), dtype=np.int32)
    corner, direction = np.divmod(edge, 4)
    owner = np.empty(len(edge), padded.dtype)
    flat = padded.ravel()
    place = corner // width * (width + 1) + corner % width
    offset = np.array([i * (width + 1) + j for i, j in BEFORE.values()])
    owner = flat[place + offset[OWNER[direction]]]
    step = np.array([1, width, -1, -width])
    ahead = np.array([1, width + 1, -1, -(width + 1)])[direction] + place
    on_right = flat[ahead + offset[OWNER[direction]]] == owner
    on_left = flat[ahead + offset[OTHER[direction]]] == owner
    onward = (direction + np.where(on_left, 3, np.where(on_right, 0, 1))) % 4
    after = number[(corner + step[direction]) * 4 + onward]
    turns = np.zeros(len(edge), bool)
    turns[after] = onward != direction
    ring, order = _ordered(after)
    y, x = np.divmod(corner[order], width)
    ring = ring[order]
    # Twice the area below each edge; it is positive around what lies on the right.
    area = np.bincount(ring, weights=np.array([-1, 0, 1, 0])[direction[order]] * y)
    return _Rings(y, x, turns[order], owner[order].astype(np.int64), ring, area[ring] < 0)


def _ordered(after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number (E,) of the cycle of each edge, and the order (E,) that lists each cycle in turn.

    after: the edge that follows each. By doubling of steps (Wyllie 1979): log2 of the longest ring.
    """
    count = len(after)
    head, jump = np.arange(count, dtype=np.int32), after.copy()
    while True:
        lower = np.minimum(head, head[jump])
        if (lower == head).all():
            break
        head, jump = lower, jump[jump]
    last = after == head
    left = (~last).astype(np.int32)
    jump = np.where(last, np.arange(count, dtype=np.int32), after)
    while (moved := left[jump]).any():
        left = left + moved
        jump = jump[jump]
    order = np.lexsort((-left, head))
    first = np.flatnonzero(np.diff(head[order], prepend=-1))
    ring = np.empty(count, np.int32)
    ring[order] = np.repeat(np.arange(len(first), dtype=np.int32), np.diff(first, append=count))
    return ring, order
