"""Describe a raster's geometry: CRS, transform, size, and windows of it.

Metres and map units live only here and in `ground`; everything above works in whole pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyproj
from affine import Affine

from geoseg.geo.ground import ground

ALIGNMENT_TOLERANCE = 0.01
"""Pixels by which two grids may be apart and still count as one: below what a warp would show."""
SAME_AREA = 1e-4
"""Share by which pixels may differ in area and still be counted as alike."""
PROBES = 5
"""Places along each side of a window at which the area of a pixel is looked at first."""
MOST_PARTS = 4096
"""Into which a window is cut where areas change along both sides."""
UNDEFINED = 16
"""Parts along each side of a window in which the CRS is not defined all over."""


@dataclass(frozen=True)
class Window:
    """Pixel rectangle of a grid; top and left may lie outside it."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def area(self) -> int:
        return self.height * self.width

    def intersect(self, other: Window) -> Window | None:
        """The common part, or None where there is none."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        if bottom <= top or right <= left:
            return None
        return Window(top, left, bottom - top, right - left)

    def shift(self, down: int, right: int) -> Window:
        return Window(self.top + down, self.left + right, self.height, self.width)

    def grow(self, pixels: int) -> Window:
        """The window with that many pixels more (or, negative, fewer) on each side."""
        return Window(
            self.top - pixels, self.left - pixels, self.height + 2 * pixels, self.width + 2 * pixels
        )

    def clear_of(self, obstacles: Iterable[Window]) -> Window | None:
        """A large rectangle of it that no obstacle reaches into; None if there is none."""
        rest = self
        common = [(obstacle, obstacle.intersect(self)) for obstacle in obstacles]
        common.sort(key=lambda pair: -(pair[1].area if pair[1] else 0))
        for obstacle, _ in common:
            if not obstacle.intersect(rest):
                continue
            bottom, right = rest.bottom, rest.right
            sides = [
                Window(rest.top, rest.left, obstacle.top - rest.top, rest.width),
                Window(obstacle.bottom, rest.left, bottom - obstacle.bottom, rest.width),
                Window(rest.top, rest.left, rest.height, obstacle.left - rest.left),
                Window(rest.top, obstacle.right, rest.height, right - obstacle.right),
            ]
            sides = [side for side in sides if side.height > 0 and side.width > 0]
            if not sides:
                return None
            rest = max(sides, key=lambda side: side.area)
        return rest

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Row and column slices of this window in an array that holds `outer`."""
        top, left = self.top - outer.top, self.left - outer.left
        return slice(top, top + self.height), slice(left, left + self.width)

    def blocks(self, height: int, width: int | None = None) -> Iterator[Window]:
        """Windows of this size at most that partition it, row by row. width: None = its own."""
        width = self.width if width is None else width
        for top in range(self.top, self.bottom, height):
            for left in range(self.left, self.right, width):
                right = min(left + width, self.right)
                yield Window(top, left, min(height, self.bottom - top), right - left)


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """From one CRS to another; making one takes as long as burning a window."""
    return pyproj.Transformer.from_crs(crs_of(source), crs_of(target), always_xy=True)


@lru_cache(maxsize=256)
def crs_of(text: str) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(text)


def same_crs(a: str, b: str) -> bool:
    """Whether two CRS texts (WKT or EPSG:n) name the same system, axis order aside."""
    return a == b or bool(crs_of(a).equals(crs_of(b), ignore_axis_order=True))


def known_crs(crs: str, known: Iterable[str]) -> str:
    """The one of some texts that names the same CRS, or the text itself if none does."""
    return next((other for other in known if same_crs(other, crs)), crs)


@dataclass(frozen=True)
class Grid:
    """CRS, north-up transform and size of a raster."""

    crs: str
    """WKT or authority code."""
    transform: Affine
    """Pixel (column, row) to map coordinates; e > 0 and rotation are refused in raster.py."""
    height: int
    width: int

    def overlaps(self, other: Grid) -> bool:
        """Whether two grids in any CRS have a part in common."""
        # Of half the world, or more, a map's CRS shows an outline that leaves out most of what
        # lies within: so the smaller one is looked for in the larger one's CRS.
        small, large = sorted((self, other), key=lambda g: g.window.area * g.pixel_size_m**2)
        (left, bottom, right, top), b = small.bounds_in(large.crs), large.bounds
        sides = left < b[2], b[0] < right
        # Its left is right of its right where the antimeridian goes through it.
        across = any(sides) if left > right else all(sides)
        return across and bottom < b[3] and b[1] < top

    def shape_within(self, side: int) -> tuple[int, int]:
        """Height and width of a picture of the whole, its longer side of so many pixels at most."""
        scale = min(1.0, side / max(self.height, self.width))
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    @property
    def window(self) -> Window:
        """The whole grid as a window."""
        return Window(0, 0, self.height, self.width)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in map units."""
        return self.bounds_of(self.window)

    @property
    def resolution(self) -> tuple[float, float]:
        """Height and width of a pixel in map units, both positive."""
        return abs(self.transform.e), abs(self.transform.a)

    @property
    def is_geographic(self) -> bool:
        return bool(crs_of(self.crs).is_geographic)

    @property
    def pixel_size_m(self) -> float:
        """Side in metres of a square with a pixel's area on the ground, at the grid's centre."""
        return math.sqrt(_measures(self, self)[2])

    @property
    def pixel_sides_m(self) -> tuple[float, float]:
        """Height and width of a pixel in metres on the ground, at the grid's centre.

        Where a CRS is tied to no place on Earth, or not defined, by the word of its unit.
        """
        return _measures(self, self)[:2]

    @property
    def stated_pixel_size_m(self) -> float:
        """The pixel size that the unit of a projection states, which holds where it is true."""
        if self.is_geographic:
            return self.pixel_size_m
        return math.sqrt(math.prod(self.resolution)) * ground(self.crs).unit

    def pixel_size_near(self, other: Grid) -> float:
        """As `pixel_size_m`, at the centre of another grid: to compare it with that grid's."""
        return math.sqrt(_measures(self, other)[2])

    @property
    def is_local(self) -> bool:
        """Whether the CRS is tied to no place on Earth, so that its unit must be believed."""
        return ground(self.crs).is_local

    def alike(self, window: Window) -> list[tuple[Window, float]]:
        """Windows that partition one, and the m² on the ground of each pixel in them.

        The pixels of a part are alike to SAME_AREA, or the parts are MOST_PARTS; where the CRS is
        not defined, pixels have no area.
        """
        sides = (window.top, window.height), (window.left, window.width)
        probed = _areas(self, *(np.linspace(at, at + length, PROBES) for at, length in sides))
        parts = [max(1, min(_parts(probed, axis), sides[axis][1])) for axis in (0, 1)]
        excess = math.sqrt(max(1.0, math.prod(parts) / MOST_PARTS)) if min(parts) > 1 else 1.0
        cuts = []
        for (begin, length), wanted in zip(sides, parts, strict=True):
            count = max(1, round(wanted / excess))
            cuts.append(np.array([begin + length * i // count for i in range(count + 1)]))
        rows, columns = cuts
        each = np.nan_to_num(_areas(self, *((cut[1:] + cut[:-1]) / 2 for cut in cuts)), nan=0.0)
        return [
            (Window(int(top), int(left), int(bottom - top), int(right - left)), float(each[i, j]))
            for i, (top, bottom) in enumerate(pairwise(rows))
            for j, (left, right) in enumerate(pairwise(columns))
        ]

    def bounds_of(self, window: Window) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of a window in map units."""
        left, top = self.transform @ (window.left, window.top)
        right, bottom = self.transform @ (window.right, window.bottom)
        return left, bottom, right, top

    def window_of(self, bounds: tuple[float, float, float, float]) -> Window:
        """The smallest window that covers (left, bottom, right, top); it may reach outside."""
        left, bottom, right, top = bounds
        inverse = ~self.transform
        column0, row0 = inverse @ (left, top)
        column1, row1 = inverse @ (right, bottom)
        # A hair of rounding must not add a row of pixels.
        hair = ALIGNMENT_TOLERANCE
        x, y = math.floor(column0 + hair), math.floor(row0 + hair)
        height, width = math.ceil(row1 - hair) - y, math.ceil(column1 - hair) - x
        return Window(y, x, max(height, 1), max(width, 1))  # of what is smaller than a hair, too

    def whole_window(self, window: Window, side: int) -> Window:
        """A window of that side about where another begins, inside if the grid is large enough."""
        top = max(0, min(window.top, self.height - side))
        return Window(top, max(0, min(window.left, self.width - side)), side, side)

    def crop(self, window: Window) -> Grid:
        """The grid of a window; it may reach outside."""
        moved = self.transform @ Affine.translation(window.left, window.top)
        return Grid(self.crs, moved, window.height, window.width)

    def offset(self, other: Grid) -> tuple[int, int] | None:
        """Row and column of the other grid's corner in this one; None if pixels don't coincide."""
        if not same_crs(self.crs, other.crs):
            return None
        column, row = ~self.transform @ (other.transform.c, other.transform.f)
        end_column, end_row = ~self.transform @ (other.transform @ (other.width, other.height))
        top, left = round(row), round(column)
        misfits = (
            row - top,
            column - left,
            end_row - top - other.height,
            end_column - left - other.width,
        )
        if max(map(abs, misfits)) > ALIGNMENT_TOLERANCE:
            return None
        return top, left

    def coincides(self, other: Grid) -> bool:
        """Whether both have the same pixels."""
        same_shape = (self.height, self.width) == (other.height, other.width)
        return same_shape and self.offset(other) == (0, 0)

    def bounds_in(self, crs: str) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in another CRS, with edges followed, not only corners."""
        if same_crs(self.crs, crs):
            return self.bounds
        return transformer(self.crs, crs).transform_bounds(*self.bounds, densify_pts=21)

    def to_dict(self) -> dict[str, Any]:
        return {
            "crs": self.crs,
            "transform": list(self.transform)[:6],
            "height": self.height,
            "width": self.width,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Grid:
        transform = Affine(*values["transform"])
        return cls(values["crs"], transform, values["height"], values["width"])


def offsets(
    grids: Sequence[Grid], own: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`Grid.offset` of many pairs of grids at once, which are taken to be in one CRS.

    own, other: numbers (P,) of the two grids of each pair.
    Returns: rows and columns (P, 2) int64 of the others' corners, and whether pixels coincide (P,).
    """
    numbers = np.array([(*g.transform[:6], g.height, g.width) for g in grids]).reshape(-1, 8)
    a, b, c, d, e, f = numbers[own, :6].T
    left, x_step, _, _, y_step, top = numbers[other, :6].T[[2, 0, 1, 3, 4, 5]]
    x_skew, y_skew = numbers[other, 1], numbers[other, 3]
    height, width = numbers[other, 6:].T
    right = left + x_step * width + x_skew * height
    bottom = top + y_skew * width + y_step * height
    area = a * e - b * d
    corner, end = (
        np.stack((a * (y - f) - d * (x - c), e * (x - c) - b * (y - f))) / area
        for x, y in ((left, top), (right, bottom))
    )
    begin = np.rint(corner)
    misfits = np.abs(np.concatenate((corner - begin, end - begin - [height, width])))
    return begin.T.astype(np.int64), (misfits <= ALIGNMENT_TOLERANCE).all(axis=0)


def _areas(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Area (R, C) in m² of pixels at rows (R,) and columns (C,) that need not be whole."""
    x, y = np.meshgrid(columns, rows)
    t = grid.transform
    places = np.stack((t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f), axis=-1)
    areas = ground(grid.crs).areas(places.reshape(-1, 2)) * abs(t.a * t.e - t.b * t.d)
    return np.asarray(areas.reshape(x.shape))


def _parts(areas: np.ndarray, axis: int) -> int:
    """Into how many parts a window is cut along an axis for its pixels to be alike."""
    known = np.isfinite(areas)
    counts = known.sum(axis=axis)
    if not counts.any():
        return 1
    low = np.where(known, areas, np.inf).min(axis=axis)[counts > 0]
    high = np.where(known, areas, -np.inf).max(axis=axis)[counts > 0]
    parts = math.ceil(((high - low) / np.maximum(high, np.finfo(float).tiny)).max() / SAME_AREA)
    ends_within = (counts % areas.shape[axis] > 0).any()
    return max(parts, UNDEFINED if ends_within else 1)


@lru_cache(maxsize=4096)  # of a series, each date asks
def _measures(grid: Grid, at: Grid) -> tuple[float, float, float]:
    """Height, width (m) and area (m²) of a grid's pixels at the centre of another grid."""
    own, t = ground(grid.crs), grid.transform
    places = [t @ (grid.width / 2, grid.height / 2)]
    if at is not grid and not own.is_local and not at.is_local:
        middle = at.transform @ (at.width / 2, at.height / 2)
        if not same_crs(grid.crs, at.crs):
            middle = transformer(at.crs, grid.crs).transform(*middle)
        places.insert(0, middle)
    scales = own.scale(np.array(places))
    known = np.isfinite(scales).all(axis=(1, 2))
    scale = scales[known.argmax()] if known.any() else own.unit * np.eye(2)
    across, down = scale @ (t.a, t.d), scale @ (t.b, t.e)
    area = abs(across[0] * down[1] - across[1] * down[0])
    return float(np.hypot(*down)), float(np.hypot(*across)), float(area)
