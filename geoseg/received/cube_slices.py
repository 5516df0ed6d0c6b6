"""Name the parts of cubes that are read like files: cube.zarr#red+nir@20210504T102030.

A cube is a folder of Zarr arrays or a netCDF file; of it, bands of one date are a raster. What
names rasters as paths names such a slice by the cube's path, the mark #, the bands and the time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from geoseg.received import offline

MARK = "#"
METADATA = ("zarr.json", ".zgroup", ".zmetadata", ".zarray")
"""Files of which a folder with Zarr arrays has one, of its formats 3 and 2."""
NETCDF = (".nc", ".nc4", ".cdf")
"""Endings of netCDF files."""
TIME = "%Y%m%dT%H%M%S"


@dataclass(frozen=True)
class CubeSlice:
    """Bands of a cube at one of its times."""

    cube: str
    """Its folder or file."""
    bands: tuple[str, ...]
    when: datetime | None = None
    """None of a cube without times."""
    nth: int = 1
    """Of several acquisitions at one time, from 1."""

    def __str__(self) -> str:
        text = f"{self.cube}{MARK}{'+'.join(quote(band, safe='') for band in self.bands)}"
        if self.when is None:
            return text
        fraction = f".{self.when.microsecond:06}" if self.when.microsecond else ""
        nth = f"~{self.nth}" if self.nth > 1 else ""
        return f"{text}@{self.when.strftime(TIME)}{fraction}{nth}"


def is_cube(path: Any) -> bool:
    """Whether it is a folder that holds Zarr arrays, or a netCDF file."""
    text = os.path.expanduser(str(path))
    if is_netcdf(text):
        return True
    return os.path.isdir(text) and any(os.path.isfile(os.path.join(text, m)) for m in METADATA)


def is_netcdf(path: str) -> bool:
    """Whether it is a file that is called netCDF."""
    return os.path.splitext(path)[1].lower() in NETCDF and os.path.isfile(path)


def parse(path: Any) -> CubeSlice | None:
    """The slice that a path names, if it does."""
    cube, mark, rest = str(path).rpartition(MARK)
    if not mark or os.path.lexists(str(path)) or not is_cube(cube):
        return None
    named, _, time = rest.partition("@")
    bands = tuple(map(unquote, named.split("+")))
    if not time:
        return CubeSlice(cube, bands)
    text, _, nth = time.partition("~")
    try:
        form = TIME + (".%f" if "." in text else "")
        return CubeSlice(cube, bands, datetime.strptime(text, form), int(nth or 1))
    except ValueError:
        return None


def on_disk(path: str) -> str:
    """The file or folder that holds what a path names: of a slice, its cube."""
    found = parse(path)
    return path if found is None else found.cube


def is_there(path: str) -> bool:
    """Whether what a path names is; of a file on a server it is taken that it is."""
    return offline.is_remote(path) or os.path.exists(on_disk(path))


def slices_of_times(
    cube: str, bands: Sequence[str], times: Sequence[datetime | None]
) -> list[CubeSlice]:
    """A slice for each of a cube's times."""
    return [
        CubeSlice(cube, tuple(bands), when, times[: place + 1].count(when))
        for place, when in enumerate(times)
    ]
