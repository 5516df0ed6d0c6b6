"""Read what describes images by itself: STAC catalogs, and Zarr and netCDF cubes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from geoseg.errors import Faults
from geoseg.received.cube_slices import is_cube
from geoseg.stac import catalog
from geoseg.stac.catalog import Item
from geoseg.stac.cubes import items_of_cube


def split(spec: Any) -> tuple[list[str], list[Any]]:
    """Catalogs and cubes of what somebody gave, and the rest."""
    described, others = [], []
    for part in list(spec) if isinstance(spec, list | tuple) else [spec]:
        if catalog.is_catalog(part) or is_cube(part):
            described.append(os.path.expanduser(str(part)).rstrip("/" + os.sep))
        else:
            others.append(part)
    return described, others


def read_items(paths: Iterable[str]) -> list[Item]:
    """All items at and below catalogs, and of cubes one for each time.

    Raises: InputError with all that can't be read or may not be.
    """
    faults, found = Faults(), []
    for path in paths:
        with faults.collect():
            found += items_of_cube(path) if is_cube(path) else catalog.read_items([path])
    faults.raise_if_any()
    return found
