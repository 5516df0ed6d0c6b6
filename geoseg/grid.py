"""Grid: a raster's geometry without its pixels. Window: an integer rectangle of it.

Metres and map units live only here; everything above works in whole pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyproj
from affine import Affine

ALIGNMENT_TOLERANCE = 0.01
"""Pixels by which two grids may be apart and still count as one: below what a warp would show."""


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

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Row and column slices of this window in an array that holds `outer`."""
        top, left = self.top - outer.top, self.left - outer.left
        return slice(top, top + self.height), slice(left, left + self.width)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    """From one CRS to another; making one takes as long as burning a window."""
    return pyproj.Transformer.from_crs(_crs(source), _crs(target), always_xy=True)


@lru_cache(maxsize=256)
def _crs(text: str) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(text)


def same_crs(a: str, b: str) -> bool:
    """Whether two CRS texts (WKT or EPSG:n) name the same system, axis order aside."""
    return a == b or bool(_crs(a).equals(_crs(b), ignore_axis_order=True))


@dataclass(frozen=True)
class Grid:
    """CRS, north-up transform and size of a raster."""

    crs: str
    """WKT or authority code."""
    transform: Affine
    """Pixel (column, row) to map coordinates; e > 0 and rotation are refused in raster.py."""
    height: int
    width: int

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
        return bool(_crs(self.crs).is_geographic)

    @property
    def pixel_size_m(self) -> float:
        """Side in metres of a square with a pixel's area; degrees are measured at the centre."""
        height, width = self.resolution
        crs = _crs(self.crs)
        if crs.is_geographic:
            left, bottom, right, top = self.bounds
            x, y = (left + right) / 2, max(-89.9, min(89.9, (bottom + top) / 2))
            geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
            _, _, width = geod.inv(x - width / 2, y, x + width / 2, y)
            _, _, height = geod.inv(x, y - height / 2, x, y + height / 2)
            return math.sqrt(abs(height * width))
        unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        return math.sqrt(height * width) * unit

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
        return Window(y, x, math.ceil(row1 - hair) - y, math.ceil(column1 - hair) - x)

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
        return _transformer(self.crs, crs).transform_bounds(*self.bounds, densify_pts=21)

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
