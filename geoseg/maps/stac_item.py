"""Describe class maps, and the layers beside them, as STAC items."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoseg.geo.legend import NODATA
from geoseg.maps.landcover import MODEL_TAG, ClassMap
from geoseg.maps.layers import LAYERS
from geoseg.stac import item
from geoseg.stac.item import Asset, Times

MAP = "landcover"
"""Key of the class map among the assets."""
_PERCENT = "%"


def write_map_item(
    path: str | Path, *, times: Times | None, layers: Mapping[str, Path], counts: Path | None = None
) -> Path:
    """Write the item of a class map beside it.

    times: of the images; None = unknown. layers: paths by names of `LAYERS`. counts: raster with
    the number of clear dates of each pixel.
    Returns: its path.
    Raises: InputError if a file can't be read or the item can't be written.
    """
    path = Path(path)
    found = ClassMap.read(path)
    classes = item.classes_of(found.legend, undecided=found.leaves_open)
    plain = [{"value": NODATA, "name": "nodata", "description": "no image here", "nodata": True}]
    assets = {
        MAP: Asset(
            path,
            "class map",
            ("data",),
            more={"raster:bands": item.bands_of(path), "classification:classes": plain + classes},
        )
    }
    for name, where in layers.items():
        assets[name] = _layer(name, where, plain + classes)
    if counts is not None:
        bands = item.bands_of(counts)
        more = {"raster:bands": bands}
        assets["clear"] = Asset(counts, "clear dates", ("data",), item.GEOTIFF, more)
    gsd = round(found.grid.pixel_size_m, 6)
    properties: dict[str, Any] = {"title": f"Land cover: {path.stem}", "gsd": gsd}
    if MODEL_TAG in found.tags:
        properties["geoseg:model"] = found.tags[MODEL_TAG]
    made = item.path_of(path)
    item.write_raster_item(made, found.grid, assets, times=times, properties=properties)
    return made


def _layer(name: str, path: Path, classes: list[dict[str, Any]]) -> Asset:
    layer = LAYERS[name]
    unit = _PERCENT if layer.ramp and layer.unit.strip() == _PERCENT else ""
    more: dict[str, Any] = {"raster:bands": item.bands_of(path, unit=unit)}
    if not layer.ramp:
        more["classification:classes"] = classes
    return Asset(path, layer.title, ("data",), more=more)
