"""Draw points from the strata of a map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoseg.assessment.sampling.count import Counts, Lattice, hectares
from geoseg.assessment.sampling.population import Source
from geoseg.geo.grid import Grid, Window


@dataclass(frozen=True)
class Drawn:
    """n points, by strata; those in reserve come last in each."""

    number: np.ndarray
    """(n,) of the stratum."""
    row: np.ndarray
    column: np.ndarray
    code: np.ndarray
    """(n,) of the map."""
    hectares: np.ndarray
    """(n,) of the pixel."""
    reserve: np.ndarray
    """(n,) whether it is only used where another can't be interpreted."""
    block: np.ndarray
    """(n,) of a cluster sample; of others the point itself."""
    block_pixels: np.ndarray
    """(n,) pixels of the block; 1 of points that are none."""

    def __len__(self) -> int:
        return len(self.number)

    def take(self, places: np.ndarray) -> Drawn:
        return Drawn(*(values[places] for values in vars(self).values()))

    def twice(self, share: float) -> np.ndarray:
        """Which points (n,) a second person is to interpret, too.

        Evenly along their order, so that a part that is done has its part of them.
        """
        steps = np.floor(np.arange(1, len(self) + 1) * share + 1e-9)
        return np.asarray((np.diff(steps, prepend=0) > 0) & ~self.reserve)


def random_points(
    source: Source, counts: Counts, sizes: dict[int, tuple[int, int]], seed: int
) -> Drawn:
    """A simple random sample in each stratum, without replacement.

    sizes: number of the stratum → points, and points in reserve. Only cells with points are read.
    """
    wanted: dict[int, list[tuple[int, np.ndarray, np.ndarray]]] = {}
    for number, (size, reserve) in sizes.items():
        cells = counts.strata[number].ravel()
        total = int(cells.sum())
        random = np.random.default_rng([seed, number])
        ranks = random.choice(total, min(size + reserve, total), replace=False)
        ends = np.cumsum(cells)
        cell = np.searchsorted(ends, ranks, side="right")
        local = ranks - (ends - cells)[cell]
        order = np.argsort(cell, kind="stable")
        for here in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
            if len(here):
                wanted.setdefault(int(cell[here[0]]), []).append((number, local[here], here))
    return _found(source, counts.lattice, wanted, {k: size for k, (size, _) in sizes.items()})


def _found(
    source: Source,
    lattice: Lattice,
    wanted: dict[int, list[tuple[int, np.ndarray, np.ndarray]]],
    sizes: dict[int, int],
) -> Drawn:
    """The pixels of ranks within cells. wanted: cell → number, ranks, their order in the draw."""
    rows = []
    # No thread reads ahead: to pass so many small cells on takes longer than to look at them.
    for one in sorted(wanted):
        cell = lattice.cell(*divmod(one, lattice.columns))
        numbers, codes = source.read(cell)
        for number, local, order in wanted[one]:
            places = np.flatnonzero(numbers.ravel() == number)[local]
            row, column = np.divmod(places, cell.width)
            values = (row + cell.top, column + cell.left, codes.ravel()[places], order)
            rows.append(np.stack([np.full(len(places), number), *values], axis=1))
    found = np.concatenate(rows) if rows else np.empty((0, 5), int)
    found = found[np.lexsort((found[:, 4], found[:, 0]))]
    number, row, column, code, order = found.T.astype(np.int64)
    reserve = order >= np.array([sizes[k] for k in number.tolist()], int)
    return _drawn(lattice.grid, number, row, column, code, reserve)


def _drawn(
    grid: Grid,
    number: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    code: np.ndarray,
    reserve: np.ndarray,
) -> Drawn:
    """Points that are no blocks."""
    area = hectares(grid, row + 0.5, column + 0.5)
    one = np.arange(len(number))
    return Drawn(number, row, column, code, area, reserve, one, np.ones(len(number), np.int64))


def systematic_points(
    source: Source, counts: Counts, sizes: dict[int, tuple[int, int]], seed: int
) -> Drawn:
    """In each stratum the pixels of a square grid with a random start, as many as it hits.

    Each pixel of a stratum has the same probability. The spacing is what gives the wanted number
    on average; there is no reserve, as any further point would be off the grid.
    """
    lattice, grid = counts.lattice, counts.lattice.grid
    nodes = {}
    for number, (size, _) in sizes.items():
        step = math.sqrt(counts.pixels(number) / size)
        starts = np.random.default_rng([seed, number]).uniform(0, step, 2)
        nodes[number] = tuple(
            np.floor(np.arange(start, length, step)).astype(np.int64)
            for start, length in zip(starts, (grid.height, grid.width), strict=True)
        )
    parts = []
    for place in range(lattice.rows * lattice.columns):
        row, column = divmod(place, lattice.columns)
        cell = lattice.cell(row, column)
        hits = {
            number: (_within(rows, cell.top, cell.bottom), _within(columns, cell.left, cell.right))
            for number, (rows, columns) in nodes.items()
            if counts.strata[number][row, column]
        }
        hits = {
            k: (rows, columns) for k, (rows, columns) in hits.items() if len(rows) and len(columns)
        }
        if not hits:
            continue
        numbers, codes = source.read(cell)
        for number, (rows, columns) in hits.items():
            at = np.ix_(rows - cell.top, columns - cell.left)
            i, j = np.nonzero(numbers[at] == number)
            code = codes[at][i, j].astype(np.int64)
            parts.append(np.stack([np.full(len(i), number), rows[i], columns[j], code], axis=1))
    found = np.concatenate(parts) if parts else np.empty((0, 4), np.int64)
    found = found[np.lexsort((found[:, 2], found[:, 1], found[:, 0]))]
    number, row, column, code = found.T
    return _drawn(grid, number, row, column, code, np.zeros(len(found), bool))


def _within(places: np.ndarray, low: int, high: int) -> np.ndarray:
    return places[np.searchsorted(places, low) : np.searchsorted(places, high)]


@dataclass(frozen=True)
class Blocks:
    """The blocks of a cluster sample, each in the stratum that most of its pixels are of."""

    counts: Counts
    stratum: np.ndarray
    """(rows, columns) number; 0 = without pixels."""

    @classmethod
    def of(cls, counts: Counts) -> Blocks:
        numbers = np.array(sorted(counts.strata))
        stack = np.stack([counts.strata[k] for k in numbers])
        stratum = np.where(stack.sum(axis=0) > 0, numbers[stack.argmax(axis=0)], 0)
        # One block alone has no variance: it goes to the largest stratum.
        kinds, blocks = np.unique(stratum[stratum > 0], return_counts=True)
        largest = kinds[blocks.argmax()]
        for kind in kinds[blocks < 2]:
            stratum[stratum == kind] = largest
        return cls(counts, stratum)

    @property
    def pixels(self) -> np.ndarray:
        """(rows, columns) per block."""
        return np.asarray(sum(self.counts.strata.values()))

    def number_of(self) -> dict[int, int]:
        """Blocks by stratum."""
        kinds, blocks = np.unique(self.stratum[self.stratum > 0], return_counts=True)
        return dict(zip(kinds.tolist(), blocks.tolist(), strict=True))


def cluster_points(
    source: Source, blocks: Blocks, sizes: dict[int, int], points: int, seed: int
) -> Drawn:
    """Random blocks in each stratum, and random pixels in each of them.

    sizes: number of the stratum → blocks. points: in a block, or all it has. Points are in the
    order of the draw of blocks.
    """
    lattice, pixels = blocks.counts.lattice, blocks.pixels.ravel()
    parts = []
    for number, size in sizes.items():
        random = np.random.default_rng([seed, number])
        cells = np.flatnonzero(blocks.stratum.ravel() == number)
        for block in random.choice(cells, min(size, len(cells)), replace=False).tolist():
            total = int(pixels[block])
            local = np.sort(random.choice(total, min(points, total), replace=False))
            parts.append(_in_block(source, lattice, block, number, local, total))
    found = np.concatenate(parts)
    number, row, column, code, block, total = found.T
    plain = _drawn(lattice.grid, number, row, column, code, np.zeros(len(found), bool))
    return Drawn(number, row, column, code, plain.hectares, plain.reserve, block, total)


def _in_block(
    source: Source, lattice: Lattice, block: int, number: int, local: np.ndarray, total: int
) -> np.ndarray:
    """Rows of stratum, row, column, code, block and its pixels, for ranks among these."""
    cell = lattice.cell(*divmod(block, lattice.columns))
    seen, made = 0, []
    for window in _parts(cell):
        numbers, codes = source.read(window)
        places = np.flatnonzero(numbers.ravel())
        inside = local[(local >= seen) & (local < seen + len(places))] - seen
        row, column = np.divmod(places[inside], window.width)
        values = row + window.top, column + window.left, codes.ravel()[places[inside]]
        same = [np.full(len(inside), value) for value in (number, block, total)]
        made.append(np.stack([same[0], *values, *same[1:]], axis=1).astype(np.int64))
        seen += len(places)
    return np.concatenate(made)


def _parts(cell: Window) -> Iterator[Window]:
    """A block in windows of some rows: blocks may be large."""
    rows = max(1, (1 << 22) // cell.width)
    for top in range(cell.top, cell.bottom, rows):
        yield Window(top, cell.left, min(rows, cell.bottom - top), cell.width)
