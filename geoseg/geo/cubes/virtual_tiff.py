"""Let GDAL read slices of cubes: as uncompressed GeoTIFFs that exist only where it looks.

GDAL warps, decimates and masks what it reads as a file. So a slice is shown to it as a file: a
header that GDAL itself wrote, and tiles that are read from the cube when it asks for their bytes.
"""

from __future__ import annotations

import atexit
import contextvars
import io
import struct
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import rasterio
from rasterio import DatasetReader
from rasterio.io import MemoryFile

from geoseg.errors import InputError
from geoseg.geo.cubes.bands import CubeBand
from geoseg.geo.cubes.cube import Cube, open_cube
from geoseg.received.cube_slices import CubeSlice

FILE = "slice.tif"
SMALLEST, LARGEST = 256, 1024
"""Sides of the tiles that are shown to GDAL, in pixels; between them as the cube's chunks."""
_OFFSETS, _COUNTS = 324, 325
"""TIFF's tags for where tiles lie, and how many bytes they have."""
_FORMATS = {3: "H", 4: "I", 16: "Q"}
_open: weakref.WeakSet[DatasetReader] = weakref.WeakSet()


def open_slice(part: CubeSlice) -> DatasetReader:
    """Open bands of a cube at a time as a raster. Raises: InputError if they are not there."""
    cube = open_cube(part.cube)
    bands = [cube.band(name) for name in part.bands]
    time = _place(cube, part)
    header = _header(cube, part.bands)

    def opener(path: str, mode: str = "rb", **more: Any) -> io.RawIOBase:
        if not path.endswith(FILE):  # a file that might lie beside it
            raise FileNotFoundError(path)
        return _VirtualFile(header, partial(_tile, cube, bands, time, header))

    # rasterio keeps open files of this kind per context, and threads have one each; geoseg opens
    # files in one thread and closes them in another.
    context = contextvars.copy_context()
    dataset = context.run(_open_file, opener)
    dataset.close = partial(context.run, dataset.close)
    _open.add(dataset)
    return dataset


@atexit.register
def _close_all() -> None:
    """GDAL, taken apart after Python, would ask Python to close what is open."""
    for dataset in list(_open):
        dataset.close()


def _open_file(opener: Any) -> DatasetReader:
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        return rasterio.open(FILE, driver="GTiff", opener=opener)


def chunk_of(part: CubeSlice) -> tuple[int, int]:
    """Height and width of the pixels that a slice's cube stores together."""
    return open_cube(part.cube).band(part.bands[0]).chunk


def _place(cube: Cube, part: CubeSlice) -> int:
    """Of the slice's time among the cube's. Raises: InputError."""
    places = [n for n, when in enumerate(cube.times) if when == part.when]
    if len(places) < part.nth:
        raise InputError(
            f"{part}: the cube has no such time any more; it has"
            f" {', '.join(map(str, cube.times[:3]))}{' …' if len(cube.times) > 3 else ''}"
        )
    return places[part.nth - 1]


@dataclass(frozen=True)
class _Header:
    """The beginning of a TIFF, up to its first tile."""

    data: bytes
    tile: tuple[int, int]
    """Height and width."""
    rows: int
    """Of tiles."""
    columns: int
    bands: int
    size: int
    """Bytes of a tile."""

    @property
    def end(self) -> int:
        return len(self.data) + self.bands * self.rows * self.columns * self.size


@lru_cache(maxsize=256)
def _header(cube: Cube, names: Sequence[str]) -> _Header:
    """Raises: InputError if a GeoTIFF can't tell the cube's CRS."""
    bands = [cube.band(name) for name in names]
    first = bands[0]
    tile = tuple(min(max(-(-side // 16) * 16, SMALLEST), LARGEST) for side in first.chunk)
    crs = rasterio.CRS.from_user_input(first.grid.crs)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", dtype=first.dtype, count=len(bands), crs=crs,
            transform=first.grid.transform, height=first.grid.height, width=first.grid.width,
            nodata=_nodata(first), tiled=True, blockysize=tile[0], blockxsize=tile[1],
            interleave="band", photometric="minisblack", alpha="no", bigtiff="YES",
            endianness="LITTLE", sparse_ok=True,
        ) as dataset:  # fmt: skip
            dataset.scales = [band.scale for band in bands]
            dataset.offsets = [band.offset for band in bands]
            for number, band in enumerate(bands, 1):
                dataset.set_band_description(number, band.name)
        data = bytearray(memory.read())
        with memory.open() as dataset:
            if dataset.crs != crs:
                raise InputError(
                    f"{cube.path}, {first.variable}: its CRS ({crs.to_string()[:100]}) is none that"
                    " a GeoTIFF can hold; reproject it first (cube.rio.reproject('EPSG:…'))"
                )
    rows, columns = (
        -(-n // side) for n, side in zip((first.grid.height, first.grid.width), tile, strict=True)
    )
    size = tile[0] * tile[1] * first.dtype.itemsize
    header = _Header(b"", (tile[0], tile[1]), rows, columns, len(bands), size)
    count = len(bands) * rows * columns
    begin = len(data)
    _put(data, _OFFSETS, [begin + size * n for n in range(count)])
    _put(data, _COUNTS, [size] * count)
    return _Header(bytes(data), header.tile, rows, columns, len(bands), size)


def _nodata(band: CubeBand) -> float | None:
    """The first of the values that mean nodata, if pixels of the type can have it."""
    for gap in band.gaps[:1]:
        kind = band.dtype.kind
        if kind == "f" or np.iinfo(band.dtype).min <= gap <= np.iinfo(band.dtype).max:
            return gap
    return float("nan") if band.dtype.kind == "f" else None


def _put(data: bytearray, tag: int, values: list[int]) -> None:
    """Replace the values of a tag of a BigTIFF."""
    (directory,) = struct.unpack_from("<Q", data, 8)
    (entries,) = struct.unpack_from("<Q", data, directory)
    for number in range(entries):
        place = directory + 8 + 20 * number
        found, kind, count, at = struct.unpack_from("<HHQQ", data, place)
        if found == tag:
            form = f"<{count}{_FORMATS[kind]}"
            # Up to 8 bytes stand where else their place is said.
            struct.pack_into(form, data, at if struct.calcsize(form) > 8 else place + 12, *values)
            return
    raise RuntimeError(f"GDAL has written a TIFF without the tag {tag}")


def _tile(cube: Cube, bands: Sequence[CubeBand], time: int, header: _Header, number: int) -> bytes:
    """Bytes of a tile; outside the raster they are 0."""
    band, place = divmod(number, header.rows * header.columns)
    row, column = divmod(place, header.columns)
    grid = bands[band].grid
    height, width = header.tile
    rows = slice(row * height, min((row + 1) * height, grid.height))
    columns = slice(column * width, min((column + 1) * width, grid.width))
    values = cube.read(bands[band], time, rows, columns)
    whole = np.zeros(header.tile, bands[band].dtype.newbyteorder("<"))
    whole[: values.shape[0], : values.shape[1]] = values
    return whole.tobytes()


class _VirtualFile(io.RawIOBase):
    """Reads a header, and tiles that a function makes."""

    def __init__(self, header: _Header, tile: partial[bytes]) -> None:
        self._header = header
        self._tile = tile
        self._place = 0
        self._last: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._header.end}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._header.end
        stop = end if size < 0 else min(self._place + size, end)
        parts = []
        while self._place < stop:
            try:
                part = self._piece(stop)
            except Exception:  # of any kind: what is decompressed may be anything
                # GDAL takes no exception; that bytes are missing it reports as an error of reading.
                return b""
            self._place += len(part)
            parts.append(part)
        return b"".join(parts)

    def _piece(self, stop: int) -> bytes:
        """Some of the bytes up to `stop`: of the header, or of one tile."""
        begin = len(self._header.data)
        if self._place < begin:
            return self._header.data[self._place : stop]
        number, offset = divmod(self._place - begin, self._header.size)
        if self._last[0] != number:
            self._last = (number, self._tile(number))
        return self._last[1][offset : offset + stop - self._place]
