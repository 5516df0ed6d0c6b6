"""Find the connected areas of a map strip by strip, with their sizes and confidences.

Two pixels are connected if they share an edge and have the same code. Areas are numbered from 1 in
the order of their first pixel, so the numbers do not depend on the height of the strips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import ground
from geoseg.geo.legend import NODATA

UNIT = 1 << 16
"""Parts of a pixel in which areas are counted: whole numbers have the same sum in any order."""
MOST = 50_000_000
"""Connected areas of a map: each takes about 60 bytes of memory."""
PROBES = 33
"""Places along each side of a map at which the area of a pixel is measured."""

Read = Callable[[Window], np.ndarray]


@dataclass(frozen=True)
class Strips:
    """A map that is read by strips of rows."""

    grid: Grid
    codes: Read
    """Codes of a window (height, width) uint8."""
    confidence: Read | None
    """Percent of a window, 0 where there is none."""
    height: int

    def windows(self) -> Iterator[Window]:
        return self.grid.window.blocks(self.height)


@dataclass(frozen=True)
class Runs:
    """Runs of equal codes along the rows of a strip, and the area that each belongs to."""

    starts: np.ndarray
    """(R,) place of the first pixel of each run in the flattened strip."""
    label: np.ndarray
    """(R,) number of each run's area in the strip: 0 nodata, 1 … in the order of first pixels."""
    codes: np.ndarray
    """(A,) code of each of these areas."""
    shape: tuple[int, int]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts, append=self.shape[0] * self.shape[1])

    def paint(self, values: np.ndarray) -> np.ndarray:
        """A strip (H, W) in which each area has its value (A + 1,), nodata the first."""
        return np.repeat(values[self.label], self.lengths).reshape(self.shape)


def runs(codes: np.ndarray) -> Runs:
    """Connected areas of one strip (H, W) of codes; 0 is nodata."""
    begins = np.ones(codes.shape, bool)
    np.not_equal(codes[:, 1:], codes[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    number = np.cumsum(begins.ravel(), dtype=np.int32).reshape(codes.shape)
    number -= 1
    # Where two runs of one code lie above each other, their common part begins once.
    meet = (codes[1:] == codes[:-1]) & (begins[1:] | begins[:-1])
    own = codes.ravel()[starts]
    group = grouped(len(starts), number[:-1][meet], number[1:][meet])
    first = _first_of(group, int(group.max(initial=-1)) + 1)
    holds = own[first] != NODATA
    label = np.where(holds, np.cumsum(holds), 0).astype(np.int32)[group]
    return Runs(starts, label, own[first][holds], codes.shape)


def grouped(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Group (count,) of each of `count` things of which a and b (E,) belong together.

    Groups are numbered from 0 in the order of their first member.
    """
    links = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(count, count))
    groups, group = connected_components(links, directed=False)
    first = _first_of(group, groups)
    if (first[1:] > first[:-1]).all():  # as SciPy finds them
        return np.asarray(group)
    rank = np.empty(groups, np.int32)
    rank[np.argsort(first)] = np.arange(groups, dtype=np.int32)
    return np.asarray(rank[group])


def _first_of(group: np.ndarray, count: int) -> np.ndarray:
    """Place (count,) of the first member of each group; none is empty."""
    first = np.empty(count, np.intp)
    first[group[::-1]] = np.arange(len(group))[::-1]  # the value written last stays
    return first


@dataclass
class Measures:
    """Sums over the pixels of areas, (A,) each, in any type of whole numbers."""

    size: np.ndarray
    """UNITs of a pixel."""
    pixels: np.ndarray
    confidence: np.ndarray
    """Sum of percent."""
    sure: np.ndarray
    """Pixels that have a confidence."""
    unsure: np.ndarray
    """Those of them below the least."""
    least: np.ndarray
    """Lowest confidence; 255 without any."""

    def summed(self, group: np.ndarray, count: int) -> Measures:
        """Of `count` groups: the group (A,) of each area."""
        named = vars(self).items()
        return Measures(**{name: _of_groups(name, v, group, count) for name, v in named})

    def narrow(self) -> Measures:
        """The same, in as little memory as they need."""
        return Measures(**{name: _narrow(values) for name, values in vars(self).items()})


def _of_groups(name: str, values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """A measure (count,) of groups, by its name: the sum or the least of their areas'."""
    if name == "least":
        found = np.full(count, 255, np.uint8)
        np.minimum.at(found, group, values)
        return found
    found = np.zeros(count, np.int64)
    np.add.at(found, group, values)
    return found


@dataclass
class Components:
    """All connected areas of a map, or the regions that they have become by merging."""

    code: np.ndarray
    """(N,) code of each."""
    measures: Measures
    bottom: np.ndarray
    """(N,) row after its last."""
    parts: list[np.ndarray] = field(default_factory=list)
    """For each strip: number of each of its own areas from 1, (A + 1,) with 0 for nodata."""

    def __len__(self) -> int:
        return len(self.code)


def on_map(corners: np.ndarray, grid: Grid) -> np.ndarray:
    """Map coordinates (N, 2) of places in pixels (N, 2): column, row."""
    t = grid.transform
    return np.stack((t.a * corners[:, 0] + t.c, t.e * corners[:, 1] + t.f), axis=1)


class PixelSizes:
    """Area on the ground of a map's pixels, as a share of the one in the middle."""

    def __init__(self, grid: Grid) -> None:
        self._rows = np.linspace(0, grid.height, PROBES)
        self._columns = np.linspace(0, grid.width, PROBES)
        x, y = np.meshgrid(self._columns, self._rows)
        places = on_map(np.stack((x.ravel(), y.ravel()), axis=1), grid)
        areas = ground(grid.crs).areas(places).reshape(PROBES, PROBES)
        middle = grid.pixel_size_m**2
        scale = areas * abs(grid.transform.a * grid.transform.e) / middle
        # Beyond the edge of the CRS pixels have no area of their own.
        self._scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)

    def at(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Area of pixels at places (N,), interpolated."""
        step = PROBES - 1
        y = row / self._rows[-1] * step
        x = column / self._columns[-1] * step
        i, j = (np.clip(v.astype(np.intp), 0, step - 1) for v in (y, x))
        u, v, s = y - i, x - j, self._scale
        upper = s[i, j] * (1 - v) + s[i, j + 1] * v
        lower = s[i + 1, j] * (1 - v) + s[i + 1, j + 1] * v
        return np.asarray(upper * (1 - u) + lower * u)


def components(strips: Strips, unsure: float) -> Components:
    """Find the connected areas of a map.

    unsure: probability below which a pixel counts as unsure.
    Raises: InputError if there are more than MOST.
    """
    sizes = PixelSizes(strips.grid)
    links: list[np.ndarray] = []
    total, above = 0, np.zeros((2, strips.grid.width), np.int64)
    kept: list[tuple[np.ndarray, Measures, np.ndarray]] = []
    for window in strips.windows():
        codes = strips.codes(window)
        own = runs(codes)
        percent = strips.confidence(window) if strips.confidence else None
        kept.append((own.codes, *_measured(own, window, sizes, percent, unsure)))
        lookup = np.r_[0, np.arange(total + 1, total + len(own.codes) + 1)]
        below = np.stack((codes[0], lookup[_row(own, 0)]))
        same = (above[0] == below[0]) & (above[1] > 0)
        links.append(np.unique(np.stack((above[1], below[1]))[:, same], axis=1))
        above = np.stack((codes[-1], lookup[_row(own, window.height - 1)]))
        total += len(own.codes)
        if total > MOST:
            raise InputError(
                f"more than {MOST:,} connected areas in the map: it is noise, or too large for one"
                " file of polygons; smooth it, cut it, or predict with more blending"
            )
    return _united(kept, np.concatenate(links, axis=1) - 1, total)


def _row(own: Runs, row: int) -> np.ndarray:
    """Numbers (W,) of the areas along a row of a strip."""
    width = own.shape[1]
    begin, end = np.searchsorted(own.starts, (row * width, (row + 1) * width))
    return np.repeat(own.label[begin:end], own.lengths[begin:end])


def _measured(
    own: Runs, window: Window, sizes: PixelSizes, percent: np.ndarray | None, unsure: float
) -> tuple[Measures, np.ndarray]:
    """Measures of a strip's areas, and the row after the last of each."""
    row, column = np.divmod(own.starts, window.width)
    lengths = own.lengths
    area = sizes.at(row + window.top + 0.5, column + lengths / 2)
    zeros = np.zeros(len(lengths), np.int64)
    measures = Measures(
        np.rint(area * UNIT).astype(np.int64) * lengths, lengths, zeros, zeros, zeros, zeros + 255
    )
    if percent is not None:
        flat, starts = percent.ravel(), own.starts
        known = flat > 0
        measures.confidence = np.add.reduceat(flat, starts, dtype=np.int64)
        measures.sure = np.add.reduceat(known, starts, dtype=np.int64)
        doubtful = known & (flat < unsure * 100)
        measures.unsure = np.add.reduceat(doubtful, starts, dtype=np.int64)
        measures.least = np.minimum.reduceat(np.where(known, flat, np.uint8(255)), starts)
    inside = own.label > 0
    taken = Measures(**{name: values[inside] for name, values in vars(measures).items()})
    label = own.label[inside] - 1
    bottom = np.zeros(len(own.codes), np.int32)
    bottom[label] = row[inside] + window.top + 1  # rows ascend: the last one stays
    return taken.summed(label, len(own.codes)).narrow(), bottom


def _united(
    kept: list[tuple[np.ndarray, Measures, np.ndarray]], links: np.ndarray, total: int
) -> Components:
    """The areas of all strips, those joined that go on from one to the next; `kept` is emptied."""
    ends = np.cumsum([len(part[0]) for part in kept])
    group = _numbered(total, links)
    count = int(group.max()) + 1 if total else 0
    code = np.zeros(count, np.uint8)
    code[group] = np.concatenate([part[0] for part in kept])
    bottom = np.zeros(count, np.int32)
    np.maximum.at(bottom, group, np.concatenate([part[2] for part in kept]))
    pieces = [part[1] for part in kept]
    kept.clear()
    parts = [
        np.r_[np.int32(0), group[begin:end] + np.int32(1)]
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
    return Components(code, _measures(pieces, group, count), bottom, parts)


def _numbered(total: int, links: np.ndarray) -> np.ndarray:
    """Number (total,) of the group of each area of all strips; few of them are linked.

    Groups are numbered from 0 in the order of their first member. links: (2, E) pairs of areas.
    """
    linked, place = np.unique(links, return_inverse=True)
    group = grouped(len(linked), *place.reshape(links.shape))
    first = _first_of(group, int(group.max(initial=-1)) + 1)
    owner = np.arange(total, dtype=np.int32)
    owner[linked] = linked[first[group]]
    begins = np.cumsum(owner == np.arange(total, dtype=np.int32), dtype=np.int32)
    return np.asarray(begins[owner] - np.int32(1))


def _measures(pieces: list[Measures], group: np.ndarray, count: int) -> Measures:
    """Measures of `count` groups: the group of each area of all pieces, which are emptied."""
    found = {}
    for field_ in fields(Measures):
        values = np.concatenate([getattr(piece, field_.name) for piece in pieces])
        for piece in pieces:
            delattr(piece, field_.name)
        found[field_.name] = _narrow(_of_groups(field_.name, values, group, count))
    return Measures(**found)


def _narrow(values: np.ndarray) -> np.ndarray:
    """In the smallest type that holds them: of millions of areas most are of a few pixels."""
    most = int(values.max(initial=0))
    return values.astype(np.min_scalar_type(most) if most < 1 << 32 else np.int64)


def label_rows(strips: Strips, found: Components, height: int) -> Iterator[tuple[int, np.ndarray]]:
    """Numbers (height, W) of the areas, 0 for nodata, each with its first row; the last is lower.

    Whatever the height of the strips.
    """
    top, waiting, count = 0, [], 0
    for window, part in zip(strips.windows(), found.parts, strict=True):
        waiting.append(runs(strips.codes(window)).paint(part))
        count += window.height
        if count < height:
            continue
        rows = np.concatenate(waiting)
        whole = count - count % height
        for begin in range(0, whole, height):
            yield top, rows[begin : begin + height]
            top += height
        waiting, count = [rows[whole:].copy()], count - whole
    if count:
        yield top, np.concatenate(waiting)
