"""Make polygons of a map's regions, block by block, each as soon as its last block is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.geo.grid import Grid
from geoseg.outputs.crew import in_processes
from geoseg.vectors.components import Components, Strips, label_rows
from geoseg.vectors.outlines import Frame, Pieces, meeting, simplify, trace

BLOCK = 1024
"""Side in pixels of the blocks that are simplified at once. The result depends on it a little, so
it is no setting: outlines keep their place where they cross from one block to the next."""
GROUP = 1 << 16
"""Polygons that are measured and written at once."""


@dataclass
class _Seams:
    """Where regions meet on the lines between blocks: there a vertex must stay."""

    across: dict[int, np.ndarray]
    """Row of corners → whether each corner along it is such a place, (W + 1,)."""
    along: np.ndarray
    """(columns between blocks, H + 1)"""

    @classmethod
    def empty(cls, height: int, width: int) -> _Seams:
        return cls({}, np.zeros(((width - 1) // BLOCK + 1, height + 1), bool))

    def note(self, labels: np.ndarray, above: np.ndarray, top: int) -> None:
        """Take down a row of blocks (H, W), with the row above it (W,)."""
        padded = np.pad(np.concatenate((above[None], labels)), ((0, 1), (1, 1)))
        height, width = labels.shape
        x = np.arange(width + 1)
        self.across[top] = meeting(padded, np.zeros(width + 1, np.intp), x)
        y = np.arange(height)
        for number in range(1, len(self.along)):
            column = np.full(height, number * BLOCK)
            self.along[number, top : top + height] = meeting(padded, y, column)

    def stays(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Whether three regions meet at corners (N,) on the lines between blocks.

        On the map's own edge none is asked for: vertices there are turns.
        """
        found = np.zeros(len(y), bool)
        upright = (x % BLOCK == 0) & (x // BLOCK < len(self.along))
        found[upright] = self.along[x[upright] // BLOCK, y[upright]]
        for row in np.unique(y[(y % BLOCK == 0) & ~upright]).tolist():
            if row in self.across:
                here = (y == row) & ~upright
                found[here] = self.across[row][x[here]]
        return found


@dataclass(frozen=True)
class _Block:
    """A part of a map that is traced and simplified at once."""

    labels: np.ndarray
    """Numbers (H, W) of its regions, 0 for nodata."""
    origin: tuple[int, int]
    """Row and column of its first pixel in the map."""
    frame: Frame


@dataclass(frozen=True)
class _Outlined:
    """The polygons of a block."""

    whole: Pieces
    cut: Pieces
    """Of regions that go on in other blocks."""
    end: int | None
    """Row after the block, if it is the last of its row."""


@dataclass(frozen=True)
class _Outlining:
    """How the polygons of blocks are made, in any process."""

    tolerance: float

    def __call__(self, block: _Block) -> _Outlined:
        frame, labels = block.frame, block.labels
        pieces = simplify(trace(labels, block.origin, frame), self.tolerance)
        # Most of many regions lie in one block: they are done.
        goes_on = np.isin(pieces.region, frame.beside(labels))
        end = None if frame.right else block.origin[0] + len(labels)
        return _Outlined(pieces.take(~goes_on), pieces.take(goes_on), end)


@dataclass(frozen=True)
class RowDone:
    """A row of blocks of which all polygons are made that need nothing from below."""

    end: int
    """Row of the map after it."""
    goes_on: Pieces
    """What it has of regions that go on below."""


def polygons(
    strips: Strips,
    regions: Components,
    tolerance: float,
    *,
    processes: int = 1,
    begin: int = 0,
    done: Iterable[RowDone] = (),
) -> Iterator[Pieces | RowDone]:
    """Whole polygons of the regions, in groups, each region once; after a row of blocks, its end.

    tolerance: of the simplification, in pixels. Coordinates are corners of pixels.
    processes: that outline blocks at once; the polygons do not depend on them. begin: row of the
    map down to which all is done already, by the rows of blocks `done` from above; these are read
    one by one, as all together may not fit in memory.
    Raises: InputError if one of these processes is ended.
    """
    height, width = strips.grid.height, strips.grid.width
    if begin == height:
        return
    seams = _Seams.empty(height, width)
    open_: dict[int, list[shapely.Polygon]] = {}
    for row in done:
        below = regions.bottom[row.goes_on.region - 1] >= begin
        _open(row.goes_on.take(below), open_)
    blocks = _blocks(label_rows(strips, regions, BLOCK), strips.grid, seams, begin)
    outlining = _Outlining(tolerance)
    cut: list[Pieces] = []
    for outlined in in_processes(outlining, blocks, processes=processes, key="vector.processes"):
        yield from _groups(outlined.whole)
        cut.append(outlined.cut)
        _open(outlined.cut, open_)
        if (end := outlined.end) is None:
            continue
        # Where regions end on the line below a row of blocks, those below it must be known.
        ended = [r for r in sorted(open_) if regions.bottom[r - 1] < end or end == height]
        if ended:
            yield _whole([(region, open_.pop(region)) for region in ended], seams)
        pieces = Pieces.joined(cut)
        goes_on = (regions.bottom[pieces.region - 1] >= end) & (end < height)
        yield RowDone(end, pieces.take(goes_on))
        cut = []


def _open(pieces: Pieces, open_: dict[int, list[shapely.Polygon]]) -> None:
    """Add pieces to those of regions that go on."""
    for region, polygon in zip(pieces.region.tolist(), pieces.polygons, strict=True):
        open_.setdefault(region, []).append(polygon)


def _blocks(
    rows: Iterable[tuple[int, np.ndarray]], grid: Grid, seams: _Seams, begin: int
) -> Iterator[_Block]:
    """The blocks of a map from a row on, row by row; what lies between all blocks is noted."""
    above = np.zeros(grid.width, np.int32)
    for top, labels in rows:
        seams.note(labels, above, top)
        above = labels[-1]
        if top < begin:
            continue
        below = top + len(labels) < grid.height
        for left in range(0, grid.width, BLOCK):
            frame = Frame(top > 0, left > 0, below, left + BLOCK < grid.width)
            yield _Block(labels[:, left : left + BLOCK], (top, left), frame)


def _groups(pieces: Pieces) -> Iterator[Pieces]:
    """In groups of which what is made of them fits in memory."""
    for begin in range(0, len(pieces.region), GROUP):
        yield pieces.take(slice(begin, begin + GROUP))


def _whole(done: list[tuple[int, list[shapely.Polygon]]], seams: _Seams) -> Pieces:
    """Join the pieces of regions, and drop the vertices between blocks that nothing needs."""
    made = np.array(
        [parts[0] if len(parts) == 1 else shapely.coverage_union_all(parts) for _, parts in done],
        object,
    )
    rings, owner = shapely.get_rings(made, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    # Rings as they are closed: the last vertex, which is the first again, is left out.
    ends = np.r_[np.flatnonzero(np.diff(ring)), len(ring) - 1]
    inside = np.ones(len(ring), bool)
    inside[ends] = False
    coordinates, ring = coordinates[inside], ring[inside]
    kept = _needed(coordinates, ring, seams)
    closed = shapely.linearrings(coordinates[kept], indices=ring[kept])
    return Pieces(
        shapely.polygons(closed, indices=owner), np.array([region for region, _ in done], np.int64)
    )


def _needed(coordinates: np.ndarray, ring: np.ndarray, seams: _Seams) -> np.ndarray:
    """Whether vertices (V,) of open rings are more than points on a straight seam of blocks."""
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    last = np.r_[first[1:], len(ring)] - 1
    before, after = np.arange(len(ring)) - 1, np.arange(len(ring)) + 1
    before[first], after[last] = last, first
    back, onward = coordinates - coordinates[before], coordinates[after] - coordinates
    straight = back[:, 0] * onward[:, 1] == back[:, 1] * onward[:, 0]
    x, y = coordinates.T.astype(np.intp)
    between = (x % BLOCK == 0) | (y % BLOCK == 0)
    candidate = np.flatnonzero(straight & between)
    needed = np.ones(len(ring), bool)
    needed[candidate] = seams.stays(y[candidate], x[candidate])
    return needed
