"""Write GeoTIFFs window by window."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.windows import Window as RioWindow

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.raster.gdal import READ_ERRORS
from geoseg.outputs.files import replacing

BLOCK = 256
"""Side of the blocks of written GeoTIFFs in pixels."""
LEVEL = 1
"""Of deflate: writes three times as fast as the usual 6, into files that are a tenth larger."""
SMALL = 4 * 2**20
"""Bytes of pixels up to which a file is made in memory."""


class Writer:
    """A GeoTIFF being written; comes from `create`."""

    def __init__(self, dataset: rasterio.io.DatasetWriter, path: Path) -> None:
        self._dataset = dataset
        self._path = path

    def write(self, array: np.ndarray, window: Window) -> None:
        """Write (C, height, width), or (height, width) of a single band, at a window.

        Raises: InputError if the disk is full.
        """
        place = RioWindow(window.left, window.top, window.width, window.height)
        try:
            self._dataset.write(array if array.ndim == 3 else array[None], window=place)
        except READ_ERRORS as error:
            raise _write_error(self._path, error) from None


def _write_error(path: Path, error: BaseException) -> InputError:
    cause = error.__cause__ or error
    return InputError(f"{path}: can't be written ({cause}); is the disk full? Free some and go on")


@contextmanager
def create(  # noqa: PLR0913 the words of a rasterio profile
    path: str | Path,
    grid: Grid,
    *,
    dtype: str,
    count: int = 1,
    nodata: float | None = None,
    colors: dict[int, tuple[int, int, int, int]] | None = None,
    tags: dict[str, str] | None = None,
    names: tuple[str, ...] = (),
) -> Iterator[Writer]:
    """Write a tiled, deflated GeoTIFF window by window; it gets its name when it is whole.

    dtype: of the pixels. colors: colour table of a single uint8 band. names: of the bands.
    Raises: InputError if the folder can't be written or the disk is full.
    """
    path = Path(path)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": count,
        "height": grid.height,
        "width": grid.width,
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "zlevel": LEVEL,
        "interleave": "pixel" if count > 1 else "band",
        "alpha": "no",  # GDAL takes the fourth band of bytes for one
        "BIGTIFF": "IF_SAFER",
        # Threads for writing only: those that read would be missing in a forked worker, which
        # then waits for them for ever.
        "num_threads": "all_cpus",
    }
    if colors is None:
        profile["predictor"] = 3 if np.dtype(dtype).kind == "f" else 2
    small = grid.window.area * count * np.dtype(dtype).itemsize <= SMALL
    with replacing(path) as temporary:
        try:
            with (_in_memory if small else _on_disk)(temporary, profile) as dataset:
                if colors is not None:
                    dataset.write_colormap(1, colors)
                dataset.update_tags(**(tags or {}))
                for number, name in enumerate(names, 1):
                    dataset.set_band_description(number, name)
                yield Writer(dataset, path)
        except READ_ERRORS as error:
            raise _write_error(path, error) from None


@contextmanager
def _in_memory(path: Path, profile: dict[str, Any]) -> Iterator[rasterio.io.DatasetWriter]:
    """A file that reaches the disk at once: Python, unlike GDAL, says when that is full."""
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            yield dataset
        path.write_bytes(memory.read())


@contextmanager
def _on_disk(path: Path, profile: dict[str, Any]) -> Iterator[rasterio.io.DatasetWriter]:
    with rasterio.open(path, "w", **profile) as dataset:
        yield dataset
    check_whole(path)


def check_whole(path: Path) -> None:
    """Read a written file once: GDAL reports a disk that fills up while closing to nobody."""
    with rasterio.open(path) as dataset:
        for _, window in dataset.block_windows(1):
            dataset.read(1, window=window)


def png(pixels: np.ndarray, colors: dict[int, tuple[int, int, int, int]] | None = None) -> bytes:
    """A PNG file of pixels (1, 3 or 4, H, W) uint8: grey, RGB or RGBA.

    colors: of the values of one band, red, green, blue and opacity; others are black.
    """
    count, height, width = pixels.shape
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="PNG", dtype="uint8", count=count, height=height, width=width
        ) as picture:
            picture.write(pixels)
            if colors is not None:
                picture.write_colormap(1, colors)
        return bytes(memory.read())


def header(
    grid: Grid,
    *,
    nodata: float,
    colors: dict[int, tuple[int, int, int, int]] | None,
    tags: dict[str, str] | None = None,
    description: str | None = None,
) -> bytes:
    """A GeoTIFF of uint8 with CRS, place, colours and tags, but next to no pixels.

    colors: of codes; None = values that are none. description: of the band.

    For who writes these himself: GDAL knows best how a CRS is told.
    """
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            dtype="uint8",
            count=1,
            height=1,
            width=1,
            crs=grid.crs,
            transform=grid.transform,
            nodata=nodata,
            tiled=True,
            bigtiff="NO",
            endianness="LITTLE",
        ) as dataset:
            if colors is not None:
                dataset.write_colormap(1, colors)
            if description:
                dataset.set_band_description(1, description)
            dataset.update_tags(**(tags or {}))
        return bytes(memory.read())
