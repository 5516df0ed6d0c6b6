"""Read the files of a stack by date and band."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.zoom import Zoom
from geoseg.received import offline
from geoseg.received.spelling import relative

OPEN = 400
"""Files that are kept open at most; systems allow a process 1,024, or only 256."""
HIDDEN = 0.25
"""Share of a pixel from which on it is not clear, where a mask has finer ones."""
FINEST = 8
"""Places along the side of a pixel at which a finer mask is looked at, at most."""
AT_ONCE = 2**24
"""Of these places, so many are looked at in one go."""


@dataclass(frozen=True)
class Layer:
    """Bands of one file that belong to one date."""

    path: str
    day: date
    numbers: tuple[int, ...]
    """Of the file's bands, from 1."""
    bands: tuple[str, ...]
    """Names, one per number."""
    mask: str | None = None
    """File that says which of its pixels are not clear; None: all are, where there is data."""
    add: float = 0.0
    """Added to the file's values."""
    factor: float = 1.0
    """That they are multiplied by before."""

    def select(self, bands: Iterable[str]) -> Layer | None:
        """The layer with those of its bands, None if it has none of them."""
        kept = [(n, b) for n, b in zip(self.numbers, self.bands, strict=True) if b in set(bands)]
        if not kept:
            return None
        numbers, names = zip(*kept, strict=True)
        return replace(self, numbers=numbers, bands=names)

    def to_dict(self, folder: Path) -> dict[str, Any]:
        return {
            "path": relative(self.path, folder),
            "day": self.day.isoformat(),
            "numbers": list(self.numbers),
            "bands": list(self.bands),
            "mask": self.mask and relative(self.mask, folder),
            "add": self.add,
            "factor": self.factor,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: Path) -> Layer:
        mask = values["mask"]
        return cls(
            offline.local(values["path"], folder),
            date.fromisoformat(values["day"]),
            tuple(values["numbers"]),
            tuple(values["bands"]),
            mask and offline.local(mask, folder),
            values["add"],
            values.get("factor", 1.0),
        )


@dataclass(frozen=True)
class Image:
    """Bands of a file, as they are read at once."""

    path: str
    numbers: tuple[int, ...]
    grid: Grid
    """Onto which it is warped, if it has another."""
    nodata: float | str | None
    each: bool
    """Whether each of its bands has nodata of its own, as where they are of different dates; else
    a pixel holds data if all of them do."""

    def open(self) -> ImageReader:
        return ImageReader(self)


class ImageReader:
    """An open file with image bands."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.held = self.some = 0
        """Pixels read of which any band holds data, and of which some do and some do not."""
        self._file = _Placed(image.path, image.numbers, image.grid, nodata=image.nodata)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Data (C, height, width) in the file's dtype, valid (height, width) or (C, height, width).

        Raises: InputError if the file is damaged.
        """
        data, valid = self._file.read(window)
        if not self.image.each:
            every, held = raster.all_bands(valid), int(raster.any_band(valid).sum())
            self.held, self.some = self.held + held, self.some + held - int(every.sum())
            valid = every
        zoom = self._file.zoom
        return zoom.bilinear(data, valid, window) if zoom else (data, valid)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Mask:
    """A file that says which pixels are not clear."""

    path: str
    grid: Grid
    values: tuple[int, ...]
    """That mean not clear; empty = all but 0."""

    def open(self) -> MaskReader:
        return MaskReader(self)

    def thinned(self, window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Its nearest values (height, width) in a window, and where it has any."""
        place, (height, width) = self.grid.crop(window), shape
        scale = Affine.scale(window.width / width, window.height / height)
        thin = Grid(place.crs, place.transform @ scale, height, width)
        with raster.Raster(
            self.path, bands=(1,), grid=thin, resampling="nearest", nodata="none"
        ) as file:
            values, inside = file.read(thin.window)
        return values[0], inside

    def clear(self, values: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Where it is clear, by its values and where it has any: outside the mask it is not."""
        return inside & (~np.isin(values, self.values) if self.values else values == 0)


class MaskReader:
    """An open mask."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self._file = self._placed(mask.grid)
        self._finer = factor = _finer(self._file.own, mask.grid)
        if factor > 1:
            self._file.close()
            transform = mask.grid.transform @ Affine.scale(1 / factor)
            height, width = mask.grid.height * factor, mask.grid.width * factor
            self._file = self._placed(Grid(mask.grid.crs, transform, height, width))

    def _placed(self, grid: Grid) -> _Placed:
        # What a mask calls nodata is a class as others: 0 mostly, which means clear.
        return _Placed(self.mask.path, (1,), grid, resampling="nearest", nodata="none")

    def read(self, window: Window) -> np.ndarray:
        """Where it is clear, (height, width) bool; outside the mask it is not."""
        factor = self._finer
        if factor == 1:
            return self._read(window)
        clear = np.empty((window.height, window.width), bool)
        rows = max(1, AT_ONCE // (window.width * factor**2))
        for top in range(0, window.height, rows):
            height = min(rows, window.height - top)
            fine = Window((window.top + top) * factor, window.left * factor,
                          height * factor, window.width * factor)  # fmt: skip
            parts = self._read(fine).reshape(height, factor, window.width, factor)
            clear[top : top + height] = (~parts).mean(axis=(1, 3)) < HIDDEN
        return clear

    def _read(self, window: Window) -> np.ndarray:
        data, clear = self._file.read(window)
        clear = self.mask.clear(data[0], raster.all_bands(clear))
        return self._file.zoom.nearest(clear, window) if self._file.zoom else clear

    def close(self) -> None:
        self._file.close()


def _finer(own: Grid, grid: Grid) -> int:
    """How many of a mask's own pixels lie along the side of one of the grid, 1 to FINEST."""
    size = grid.pixel_size_near(own) / own.pixel_size_near(own)
    return min(FINEST, max(1, round(size)))


class _Placed:
    """An open raster whose pixels lie on a grid: as they are, to be zoomed, or warped onto it."""

    def __init__(
        self,
        path: str,
        numbers: tuple[int, ...],
        grid: Grid,
        *,
        resampling: str = "bilinear",
        nodata: float | str | None = None,
    ) -> None:
        options: dict[str, Any] = {"bands": numbers, "nodata": nodata}
        self._raster = raster.Raster(path, **options)
        own = self.own = self._raster.grid
        self.zoom = Zoom.between(own, grid)
        self._offset = own.offset(grid) or (0, 0)
        if _needs_warp(own, grid):
            self._raster.close()
            self._raster = raster.Raster(path, grid=grid, resampling=resampling, **options)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """As Raster.read_each; of the pixels that a window is zoomed from, if there is a zoom."""
        if self.zoom is None:
            return self._raster.read_each(window.shift(*self._offset))
        source = self.zoom.source(window)
        data, valid = self._raster.read_each(source)
        if self.zoom.inside(self.own, window):
            _extend(data, source, self.own)
            _extend(valid, source, self.own)
        return data, valid

    def close(self) -> None:
        self._raster.close()


def _extend(array: np.ndarray, source: Window, own: Grid) -> None:
    """Repeat a raster's edge one pixel outside it: the same means as without, but no gaps there."""
    if source.top < 0:
        array[..., 0, :] = array[..., 1, :]
    if source.bottom > own.height:
        array[..., -1, :] = array[..., -2, :]
    if source.left < 0:
        array[..., 0] = array[..., 1]
    if source.right > own.width:
        array[..., -1] = array[..., -2]


def _needs_warp(own: Grid, grid: Grid) -> bool:
    return own.offset(grid) is None and Zoom.between(own, grid) is None


def open_limit() -> int:
    """Files of a stack that a process may keep open here and still have others open."""
    return max(1, min(OPEN, raster.most_files() // 3))
