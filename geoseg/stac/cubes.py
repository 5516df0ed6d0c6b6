"""Describe the bands of cubes as STAC items, one for each time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from geoseg.geo.cubes.bands import CubeBand
from geoseg.geo.cubes.cube import open_cube
from geoseg.received.cube_slices import CubeSlice, is_cube, slices_of_times
from geoseg.received.fields import plain_name
from geoseg.stac.bands import SCENE_CLASSES
from geoseg.stac.catalog import Item

PLATFORM = "platform"
"""Attribute that names the satellite, which tells whether B04 and red are the same."""


def items_of_cube(path: str) -> list[Item]:
    """An item for each time of a cube, or one. Raises: InputError for what is not understood."""
    cube = open_cube(path)
    layouts: dict[tuple[Any, ...], list[CubeBand]] = {}
    for band in cube.bands:
        # What is asked for by itself only, is a raster by itself.
        alone = band.has_flags or band.name.casefold() == SCENE_CLASSES
        key = (band.name,) if alone else band.layout
        layouts.setdefault(key, []).append(band)
    by_group = [
        (bands, slices_of_times(path, [band.name for band in bands], cube.times))
        for bands in layouts.values()
    ]
    properties = {k: v for k, v in cube.attributes.items() if k == PLATFORM and isinstance(v, str)}
    return [
        Item(
            id=name,
            source=path,
            root=os.path.dirname(os.path.abspath(path)),
            properties=properties if when is None else properties | {"datetime": when.isoformat()},
            assets=dict(_asset(bands, slices[place]) for bands, slices in by_group),
        )
        for place, (name, when) in enumerate(zip(_ids(path, cube.times), cube.times, strict=True))
    ]


def _asset(bands: list[CubeBand], part: CubeSlice) -> tuple[str, dict[str, Any]]:
    """Key and values of the asset that is a slice of bands."""
    said = [
        {"name": band.name} | ({} if band.common is None else {"eo:common_name": band.common})
        for band in bands
    ]
    key = bands[0].name if len(bands) == 1 else " ".join(band.name for band in bands)
    roles = ["data-mask"] if bands[0].has_flags else ["data"]
    # A cube is read like a TIFF.
    return key, {"href": str(part), "type": "image/tiff", "roles": roles, "bands": said}


def _ids(path: str, times: Any) -> list[str]:
    """Names of what a cube shows at its times: as the cube, with the day, or the time of day."""
    store = Path(path).absolute()
    parts = [store.stem]
    # A group within a cube, which is a folder of it.
    while is_cube(store.parent):
        store = store.parent
        parts.insert(0, store.stem)
    name = plain_name("_".join(parts), f"{path}, its name")
    if times == (None,):
        return [name]
    by_day = [f"{when:%Y%m%d}" for when in times]
    made = []
    for place, (when, day) in enumerate(zip(times, by_day, strict=True)):
        text = day if by_day.count(day) == 1 else f"{when:%Y%m%dT%H%M%S}"
        nth = times[: place + 1].count(when)
        made.append(f"{name}_{text}" + (f"_{nth}" if nth > 1 else ""))
    return made
