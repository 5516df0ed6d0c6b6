"""Tell which bands the variables of a cube are, by the conventions of CF."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError, shown
from geoseg.geo.cubes.axes import Axes, axes_of, placement_of
from geoseg.geo.cubes.crs import crs_of
from geoseg.geo.cubes.netcdf import groups_of
from geoseg.geo.grid import Grid
from geoseg.received.cube_slices import is_cube, is_netcdf

LARGEST = 2**30
"""Bytes of a chunk, which is decompressed as a whole."""
FLAGS = ("flag_values", "flag_masks", "flag_meanings")
"""Attributes of variables whose values are classes or bits."""


@dataclass(frozen=True)
class CubeBand:
    """A band of a cube, at any of its times."""

    name: str
    variable: str
    place: int
    """Along the variable's dimension of bands, from 0."""
    axes: Axes
    grid: Grid
    """North up."""
    flips: tuple[bool, bool]
    dtype: np.dtype
    """As it is read."""
    gaps: tuple[float, ...]
    """Values that mean nodata; the first stands for all."""
    scale: float
    offset: float
    chunk: tuple[int, int]
    """Height and width of what is stored together."""
    common: str | None = None
    """One of the names that bands of many sensors have in common."""
    has_flags: bool = False
    """Whether its values are classes or bits, not measurements."""
    valid: tuple[float, float] | None = None
    """Lowest and highest stored value that is a measurement."""

    @property
    def layout(self) -> tuple[Any, ...]:
        """What bands that one raster holds have in common."""
        return (self.grid, self.dtype, tuple(map(str, self.gaps[:1])), self.chunk)


def bands_of(path: str, dataset: Any) -> tuple[tuple[CubeBand, ...], dict[str, Axes]]:
    """Bands of all variables that are images. Raises: InputError with all faults."""
    faults, found, axes = Faults(), [], {}
    # A folder lists its arrays in any order.
    for name in sorted(map(str, dataset.data_vars)):
        where = f"{path}, {name}"
        if dataset[name].dtype.kind not in "uifb" or not dataset[name].size:
            continue
        with faults.collect():
            own = axes_of(dataset, name, where)
            if own is not None:
                found += _of_variable(dataset, name, own, where)
                axes[name] = own
    faults.raise_if_any()
    if not found:
        raise InputError(
            f"{path}: a cube without a variable of numbers with y and x; {_inside(path)}"
        )
    counts = Counter(band.name for band in found)
    bands = [
        replace(band, name=f"{band.variable}_{band.name}") if counts[band.name] > 1 else band
        for band in found
    ]
    twice = [name for name, count in Counter(b.name for b in bands).items() if count > 1]
    if twice:
        raise InputError(f"{path}: several bands are called {twice[0]}; rename them")
    return tuple(bands), axes


def _inside(path: str) -> str:
    """What else there is, for a message."""
    if is_netcdf(path):
        within = groups_of(path)
        if not within:
            return "its dimensions must be called so, or their coordinates have CF's standard names"
        return (
            f"it has groups ({', '.join(within[:6])}{' …' if len(within) > 6 else ''}): make one a"
            f" file of its own: xarray.open_dataset('{path}', group='{within[0]}').to_netcdf(…)"
        )
    groups = [
        os.path.relpath(folder, path)
        for folder, names, _ in os.walk(path)
        if folder != path and folder.count(os.sep) - path.count(os.sep) < 4
        for name in names[:1]
        if is_cube(folder) and is_cube(os.path.join(folder, name))
    ]
    if not groups:
        return "give one that xarray.open_zarr opens"
    named = ", ".join(sorted(groups)[:6])
    return f"it has groups ({named}{' …' if len(groups) > 6 else ''}): give the path of one"


def _of_variable(dataset: Any, name: str, axes: Axes, where: str) -> list[CubeBand]:
    """Raises: InputError."""
    variable = dataset[name]
    said = {**variable.encoding, **variable.attrs}
    lengths = dict(zip(variable.dims, chunking(variable), strict=True))
    size = int(np.prod(list(lengths.values()))) * variable.dtype.itemsize
    if size > LARGEST:
        raise InputError(
            f"{where}: chunks of {size / 2**30:.1f} GB, each of which is decompressed as a whole;"
            " write it in smaller ones: cube.chunk(x=512, y=512).to_zarr(…)"
        )
    placed = placement_of(dataset, name, axes, where)
    crs = crs_of(dataset, name, where)
    grid = Grid(crs.to_wkt(), placed.transform, variable.sizes[axes.y], variable.sizes[axes.x])
    _, _, east, _ = grid.bounds
    if crs.is_geographic and east > 180 + grid.resolution[1] and grid.bounds[0] < 180:
        raise InputError(
            f"{where}: longitudes from 0 to 360; turn them to -180 to 180 first:"
            " cube.assign_coords(lon=(cube.lon + 180) % 360 - 180).sortby('lon')"
        )
    dtype = _dtype(variable.dtype, said)
    scale = _number(said.get("scale_factor", 1.0), f"{where}, scale_factor")
    offset = _number(said.get("add_offset", 0.0), f"{where}, add_offset")
    if scale == 0:
        raise InputError(f"{where}: a scale_factor of 0, which would make all values one")
    gaps = _gaps(said, dtype, variable.dtype)
    valid = _valid(said, dtype, (scale, offset), where)
    if valid is not None and not gaps and dtype.kind != "f":
        limits = np.iinfo(dtype)
        free = [v for v in (0, limits.min, limits.max) if not valid[0] <= v <= valid[1]]
        # Where all that can be stored is valid, nothing is to be left out.
        gaps, valid = (tuple(map(float, free[:1])), valid) if free else (gaps, None)
    names, common = _named(dataset, name, axes)
    return [
        CubeBand(
            band, name, place, axes, grid, placed.flips, dtype, gaps,
            scale, offset, (lengths[axes.y], lengths[axes.x]), common[place],
            any(flag in said for flag in FLAGS) or variable.dtype.kind == "b", valid,
        )
        for place, band in enumerate(names)
    ]  # fmt: skip


def _named(dataset: Any, name: str, axes: Axes) -> tuple[list[str], list[str | None]]:
    """Names of a variable's bands, and the common names that they have beside."""
    said = dataset[name].attrs
    own = _said_name(said.get("eo:common_name", said.get("common_name")))
    if axes.band is None:
        return [name], [own]
    count = dataset.sizes[axes.band]
    along = {str(k): v for k, v in dataset.variables.items() if v.dims == (axes.band,)}
    labels = along[axes.band].values.tolist() if axes.band in along else list(range(1, count + 1))
    if count == 1 and not isinstance(labels[0], str | bytes):
        return [name], [own]
    key = next((k for k in ("eo:common_name", "common_name") if k in along), None)
    common = along[key].values.tolist() if key is not None else [None] * count
    return [_label(label) for label in labels], [_said_name(one) for one in common]


def _label(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"band_{value}" if isinstance(value, int) else str(value)


def _said_name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def chunking(variable: Any) -> tuple[int, ...]:
    """Sizes of the chunks of a variable, along each of its dimensions."""
    said = variable.encoding.get("chunks")
    return tuple(said) if said else tuple(variable.shape)


def _dtype(dtype: np.dtype, said: dict[str, Any]) -> np.dtype:
    """As which values are read: a type that a GeoTIFF has."""
    if dtype.kind == "b":
        return np.dtype("uint8")
    if dtype.kind == "i" and str(said.get("_Unsigned")).lower() == "true":
        return np.dtype(f"u{dtype.itemsize}")
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype("float32" if dtype.itemsize < 4 else "float64")
    return dtype.newbyteorder("=")


def _gaps(said: dict[str, Any], dtype: np.dtype, stored: np.dtype) -> tuple[float, ...]:
    """Values that mean nodata by CF, as they are read; of none NaN only does."""
    values: list[float] = []
    for key in ("_FillValue", "missing_value"):
        found = said.get(key)
        for value in np.atleast_1d(found if found is not None else []).tolist():
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            if dtype.kind == "u" and stored.kind == "i" and number < 0:
                number += 2.0 ** (8 * dtype.itemsize)
            whole = dtype.kind == "f" or number % 1 == 0
            if number == number and whole and number not in values:
                values.append(number)
    return tuple(values)


def _valid(
    said: dict[str, Any], dtype: np.dtype, scaling: tuple[float, float], where: str
) -> tuple[float, float] | None:
    """Lowest and highest measurement by CF's valid_range, or valid_min and valid_max, as stored.

    Raises: InputError if they are no numbers.
    """
    pair = said.get("valid_range")
    given = [said.get("valid_min"), said.get("valid_max")] if pair is None else list(pair)
    if all(value is None for value in given):
        return None
    if len(given) != 2:
        raise InputError(f"{where}, valid_range: {shown(pair)}, expected two numbers")
    found = [-np.inf, np.inf]
    for end, value in enumerate(given):
        if value is None:
            continue
        number = _number(value, f"{where}, valid range")
        # Of packed numbers it is in their type; what is not, is of those that they stand for.
        if dtype.kind != "f" and np.asarray(value).dtype.kind == "f" and scaling != (1.0, 0.0):
            number = (number - scaling[1]) / scaling[0]
        elif dtype.kind == "u" and number < 0:  # _Unsigned
            number += 2.0 ** (8 * dtype.itemsize)
        found[end] = number
    low, high = sorted(found)
    return low, high


def _number(value: Any, where: str) -> float:
    try:
        number = float(np.asarray(value).item())
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise InputError(f"{where}: {shown(value)}, expected a number")
    return number
