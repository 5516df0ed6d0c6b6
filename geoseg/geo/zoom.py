"""Aggregate pixels by whole factors.

Sentinel-2's bands of 20 m lie so on those of 10 m; a general warp takes several times as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from affine import Affine

from geoseg.geo.grid import Grid, Window


@dataclass(frozen=True)
class Zoom:
    """How a fine grid lies in a coarse one."""

    factor: int
    """Side of a coarse pixel in fine ones."""
    top: int
    """Row of the fine grid's corner, in fine pixels from the coarse grid's corner."""
    left: int

    @classmethod
    def between(cls, coarse: Grid, fine: Grid) -> Zoom | None:
        """None if the pixels don't nest."""
        factor = round(coarse.resolution[0] / fine.resolution[0])
        if factor < 2:
            return None
        transform = coarse.transform @ Affine.scale(1 / factor)
        cut = Grid(coarse.crs, transform, coarse.height * factor, coarse.width * factor)
        corner = cut.offset(fine)
        return cls(factor, *corner) if corner else None

    def source(self, window: Window) -> Window:
        """Coarse pixels that a fine window is made of, with one around them for `bilinear`."""
        place = window.shift(self.top, self.left)
        top, left = place.top // self.factor - 1, place.left // self.factor - 1
        bottom, right = -(-place.bottom // self.factor) + 1, -(-place.right // self.factor) + 1
        return Window(top, left, bottom - top, right - left)

    def nearest(self, array: np.ndarray, window: Window) -> np.ndarray:
        """A fine window (…, height, width) out of the pixels (…, h, w) of its source."""
        rows, columns = (
            (start + np.arange(count)) // self.factor - first
            for start, count, first in self._axes(window)
        )
        picked: np.ndarray = array[..., rows, :][..., columns]
        return picked

    def bilinear(
        self, data: np.ndarray, valid: np.ndarray, window: Window
    ) -> tuple[np.ndarray, np.ndarray]:
        """A fine window of data (C, h, w) and valid (h, w) or (C, h, w), out of its source's.

        What is not valid has no weight; a fine pixel is valid as the coarse one that it lies in.
        """
        fine = self.nearest(valid, window)
        if valid.all():
            values = self._blend(data.astype(np.float32), window)
        else:
            values = self._blend(np.where(valid, data, 0).astype(np.float32), window)
            weight = self._blend(valid.astype(np.float32), window)
            values /= np.where(fine, weight, 1)
        if data.dtype.kind != "f":
            np.rint(values, out=values)
        return values.astype(data.dtype, copy=False), fine

    def inside(self, coarse: Grid, window: Window) -> bool:
        """Whether a fine window lies within the coarse grid."""
        place = window.shift(self.top, self.left)
        high, wide = coarse.height * self.factor, coarse.width * self.factor
        return min(place.top, place.left) >= 0 and place.bottom <= high and place.right <= wide

    def _blend(self, array: np.ndarray, window: Window) -> np.ndarray:
        """Weighted mean of the coarse pixels around each fine one, along columns, then rows."""
        rows, columns = self._axes(window)
        wide = np.empty((*array.shape[:-1], columns[1]), np.float32)
        for to, low, high, share in self._phases(*columns):
            wide[..., to] = (array[..., high] - array[..., low]) * share + array[..., low]
        fine = np.empty((*array.shape[:-2], rows[1], columns[1]), np.float32)
        for to, low, high, share in self._phases(*rows):
            part = np.subtract(wide[..., high, :], wide[..., low, :])
            part *= share
            part += wide[..., low, :]
            fine[..., to, :] = part
        return fine

    def _phases(
        self, start: int, count: int, first: int
    ) -> Iterator[tuple[slice, slice, slice, np.float32]]:
        """Fine pixels that lie alike between coarse ones, these before and after, and their share.

        The share is that of the coarse pixels after. As slices: to pick one by one takes longer.
        """
        for offset in range(min(self.factor, count)):
            place = (start + offset + 0.5) / self.factor - 0.5 - first
            low = math.floor(place)
            number = len(range(offset, count, self.factor))
            before, after = slice(low, low + number), slice(low + 1, low + 1 + number)
            yield slice(offset, None, self.factor), before, after, np.float32(place - low)

    def _axes(self, window: Window) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Per axis: first fine pixel and their count, first coarse pixel of the source."""
        place, source = window.shift(self.top, self.left), self.source(window)
        return (
            (place.top, place.height, source.top),
            (place.left, place.width, source.left),
        )
