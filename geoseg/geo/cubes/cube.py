"""Open a Zarr or netCDF cube: its bands, its times, and the pixels of a window of one band."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.cubes.axes import Axes, times_of
from geoseg.geo.cubes.bands import CubeBand, bands_of, chunking
from geoseg.geo.cubes.codecs import check_codecs
from geoseg.geo.cubes.netcdf import INSTALL, open_netcdf
from geoseg.received.cube_slices import METADATA, is_netcdf

KEPT = 128 * 2**20
"""Bytes of chunks that are kept: several dates or bands lie in one, and windows share it."""


class _Chunks:
    """The chunks that were read last, of all cubes."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[Any, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, read: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            found = self._arrays.get(key)
            if found is not None:
                self._arrays.move_to_end(key)
                return found
        found = read()
        with self._lock:
            self._arrays[key] = found
            while len(self._arrays) > 1 and sum(a.nbytes for a in self._arrays.values()) > KEPT:
                self._arrays.popitem(last=False)
        return found


_chunks = _Chunks()
# The lock may be held by another thread while this process is forked.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chunks.__init__)  # type: ignore[misc]


class Cube:
    """An open cube; holds no pixels but those of the chunks that were read last."""

    def __init__(self, path: str, dataset: Any) -> None:
        self.path = path
        self._dataset = dataset
        self._key = object()
        self.attributes: dict[str, Any] = dict(dataset.attrs)
        self.bands, axes = bands_of(path, dataset)
        self.times: tuple[datetime | None, ...] = _times(path, dataset, axes) or (None,)
        """One, None, of a cube without times."""

    def band(self, name: str) -> CubeBand:
        """Raises: InputError if it is not there."""
        for band in self.bands:
            if band.name == name:
                return band
        raise InputError(f"{self.path}: no band {name}; it has {', '.join(self.names)}")

    @property
    def names(self) -> list[str]:
        return [band.name for band in self.bands]

    def read(self, band: CubeBand, time: int, rows: slice, columns: slice) -> np.ndarray:
        """Pixels (height, width) of a band at the time of that place, inside the grid, north up."""
        sizes = (band.grid.height, band.grid.width)
        parts = [
            slice(size - part.stop, size - part.start) if flip else part
            for part, size, flip in zip((rows, columns), sizes, band.flips, strict=True)
        ]
        height, width = band.chunk
        found = np.zeros(tuple(part.stop - part.start for part in parts), band.dtype)
        for i in range(parts[0].start // height, -(-parts[0].stop // height)):
            for j in range(parts[1].start // width, -(-parts[1].stop // width)):
                chunk = self._chunk(band, time, (i, j))
                here, there = zip(
                    _common(i * height, chunk.shape[0], parts[0]),
                    _common(j * width, chunk.shape[1], parts[1]),
                    strict=True,
                )
                found[here] = chunk[there]
        for gap in band.gaps[1:]:
            found[found == gap] = band.gaps[0]
        if band.valid is not None:
            outside = (found < band.valid[0]) | (found > band.valid[1])
            found[outside] = band.gaps[0] if band.gaps else np.nan
        return found[tuple(slice(None, None, -1 if flip else 1) for flip in band.flips)]

    def _chunk(self, band: CubeBand, time: int, at: tuple[int, int]) -> np.ndarray:
        """A chunk (height, width) of a band at a time."""
        variable = self._dataset[band.variable].variable
        axes = band.axes
        wanted = {axes.y: at[0] * band.chunk[0], axes.x: at[1] * band.chunk[1]}
        if axes.time is not None:
            wanted[axes.time] = time
        if axes.band is not None:
            wanted[axes.band] = band.place
        lengths = dict(zip(variable.dims, chunking(variable), strict=True))
        numbers = {d: wanted.get(d, 0) // lengths[d] for d in variable.dims}
        places = {d: slice(n * lengths[d], (n + 1) * lengths[d]) for d, n in numbers.items()}

        def read() -> np.ndarray:
            return np.asarray(variable.isel(places).values)

        whole = _chunks.get((self._key, band.variable, *numbers.values()), read)
        index = tuple(
            slice(None) if d in (axes.y, axes.x) else wanted.get(d, 0) - places[d].start
            for d in variable.dims
        )
        values = whole[index]
        if variable.dims.index(axes.y) > variable.dims.index(axes.x):
            values = values.T
        if band.dtype.kind == "u" and values.dtype.kind == "i":
            values = values.view(values.dtype.str.replace("i", "u"))
        return values.astype(band.dtype, copy=False)


def _common(start: int, length: int, wanted: slice) -> tuple[slice, slice]:
    """Where what is wanted lies of a chunk: in what is read, and in the chunk."""
    first, last = max(start, wanted.start), min(start + length, wanted.stop)
    return (
        slice(first - wanted.start, last - wanted.start),
        slice(first - start, last - start),
    )


def open_cube(path: str) -> Cube:
    """Open a folder of Zarr arrays, or a netCDF file.

    Raises: InputError with all that is not understood.
    """
    files = [path, *(os.path.join(path, name) for name in METADATA)]
    stamps = [os.stat(file).st_mtime_ns for file in files if os.path.isfile(file)]
    # HDF5 is not to go on in a forked process with a file that was opened before.
    return _opened(path, tuple(stamps), os.getpid())


@lru_cache(maxsize=16)
def _opened(path: str, stamps: tuple[int, ...], process: int) -> Cube:
    return Cube(path, open_netcdf(path) if is_netcdf(path) else _open_zarr(path))


def _open_zarr(path: str) -> Any:
    """An xarray.Dataset. Raises: InputError."""
    check_codecs(path)
    try:
        import xarray
        import zarr  # noqa: F401  xarray says of its absence what nobody understands
    except ImportError:
        raise InputError(
            f"{path}: a Zarr cube, which is read by xarray and zarr; install them: {INSTALL}"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said better below
            return xarray.open_dataset(
                path, engine="zarr", chunks=None, cache=False, consolidated=False,
                mask_and_scale=False, decode_times=False,
            )  # fmt: skip
    except Exception as error:  # of any kind: a damaged cube may have anything in it
        raise InputError(f"{path}: can't be opened as a Zarr cube ({error})") from None


def _times(path: str, dataset: Any, axes: dict[str, Axes]) -> tuple[datetime, ...]:
    """Times of the bands that have any; what has none is the same at all of them.

    Raises: InputError if they are along several dimensions, or are no times.
    """
    axis = {own.time for own in axes.values()} - {None}
    if len(axis) > 1:
        parts = [f"{name}: {own.time or 'none'}" for name, own in axes.items()]
        raise InputError(
            f"{path}: variables differ in their dimension of time ({', '.join(parts)}); take those"
            " of one (cube[[…]])"
        )
    for name in axis:
        return times_of(dataset, str(name), path)
    scalar = dataset.variables.get("time")
    return times_of(dataset, "time", path) if scalar is not None and scalar.ndim == 0 else ()
