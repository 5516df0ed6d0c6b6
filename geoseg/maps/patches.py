"""Find connected areas of equal values in a raster that is read by strips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Runs:
    """Pixels of equal value side by side in a row: what patches are made of."""

    rows: np.ndarray
    """(N,) row in the raster."""
    starts: np.ndarray
    """(N,) first column."""
    ends: np.ndarray
    """(N,) column after the last."""
    values: np.ndarray
    """(N,) value of the pixels."""

    @property
    def lengths(self) -> np.ndarray:
        return np.asarray(self.ends - self.starts)

    @classmethod
    def of(cls, values: np.ndarray, top: int) -> Runs:
        """Runs of a strip (h, W) of whole numbers, 0 = none; top: its first row in the raster."""
        width = values.shape[1]
        flat = np.ascontiguousarray(values).ravel()
        begins = np.ones(flat.size, bool)
        np.not_equal(flat[1:], flat[:-1], out=begins[1:])
        begins[::width] = True
        places = np.flatnonzero(begins)
        stops = np.append(places[1:], flat.size)
        held = flat[places] != 0
        places, stops = places[held], stops[held]
        rows = places // width
        return cls(rows + top, places - rows * width, stops - rows * width, flat[places])

    def take(self, index: np.ndarray) -> Runs:
        return Runs(self.rows[index], self.starts[index], self.ends[index], self.values[index])


class Patches:
    """Numbers the patches of a raster: pixels of one value that touch along their sides.

    Strips of full width come from top to bottom, twice: `add` learns how they hang together,
    `patches_of` then tells which patch each run belongs to. The result does not depend on how high
    strips are; memory grows with the number of patches, not with the raster.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._parents: list[np.ndarray] = []
        """Of each strip: the component, of all strips, that each of its components begins as."""
        self._edges: list[np.ndarray] = []
        self._areas: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._last: tuple[Runs, np.ndarray] | None = None
        self._count = 0
        self._roots: np.ndarray = np.empty(0, np.int64)
        self._next = 0
        self.areas: np.ndarray = np.empty(0)
        """(P,) of each patch, in the unit of `add`, once `finish` was called."""
        self.values: np.ndarray = np.empty(0, np.int64)
        """(P,) value of each patch."""

    def add(self, runs: Runs, areas: np.ndarray) -> None:
        """Learn a strip's runs (N,); areas: what each covers (N,), in any unit."""
        own = _components(runs, self._width)
        count = int(own.max()) + 1 if len(own) else 0
        own = own + self._count
        if self._last is not None and len(own):
            above, numbers = self._last
            below = np.flatnonzero(runs.rows == above.rows[0] + 1) if len(numbers) else own[:0]
            first, second = _touching(above, runs.take(below), self._width, down=1)
            edges = np.stack((numbers[first], own[below][second]), axis=1)
            self._edges.append(np.unique(edges, axis=0))
        place = own - self._count
        self._areas.append(np.bincount(place, weights=areas, minlength=count))
        values = np.zeros(count, np.int64)
        values[place] = runs.values
        self._values.append(values)
        self._count += count
        bottom = np.flatnonzero(runs.rows == runs.rows[-1]) if len(own) else own
        self._last = runs.take(bottom), own[bottom]

    def finish(self) -> None:
        """Join what hangs together across strips."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        edges = np.concatenate(self._edges) if self._edges else np.empty((0, 2), np.int64)
        shape = (self._count, self._count)
        ones = np.ones(len(edges), np.int8)
        graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=shape)
        if self._count:
            patches, self._roots = connected_components(graph, directed=False)
        else:
            patches = 0
        areas = np.concatenate(self._areas) if self._areas else np.empty(0)
        values = np.concatenate(self._values) if self._values else np.empty(0, np.int64)
        self.areas = np.bincount(self._roots, weights=areas, minlength=patches)
        self.values = np.zeros(patches, np.int64)
        self.values[self._roots] = values
        self._areas, self._values, self._edges = [], [], []

    def patches_of(self, runs: Runs) -> np.ndarray:
        """Patch (N,) of each run of a strip; the same strips as before, in the same order."""
        own = _components(runs, self._width)
        found = self._roots[own + self._next]
        self._next += int(own.max()) + 1 if len(own) else 0
        return np.asarray(found)


def _components(runs: Runs, width: int) -> np.ndarray:
    """Number (N,) from 0 of the part of the strip that each run hangs together with."""
    count = len(runs.rows)
    if not count:
        return np.empty(0, np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = _touching(runs, runs, width, down=1)
    ones = np.ones(len(first), np.int8)
    graph = coo_array((ones, (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _touching(above: Runs, below: Runs, width: int, *, down: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of runs of one value that lie on top of each other, `down` rows apart."""
    base = above.rows + down
    lows = base * width + above.starts
    highs = base * width + above.ends
    starts = below.rows * width + below.starts
    ends = below.rows * width + below.ends
    begin = np.searchsorted(ends, lows, side="right")
    stop = np.searchsorted(starts, highs, side="left")
    counts = np.maximum(stop - begin, 0)
    first = np.repeat(np.arange(len(counts)), counts)
    offset = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    second = begin[first] + offset
    same = above.values[first] == below.values[second]
    return first[same], second[same]
