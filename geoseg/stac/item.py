"""Describe rasters as STAC items, which catalogs and other programs read.

SpatioTemporal Asset Catalog 1.1 with the extensions projection 2.0, raster 1.1, classification 2.0
and file 2.1 (stacspec.org, stac-extensions.github.io).
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from geoseg import __version__
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import NO_DECISION, UNDECIDED, UNDECIDED_COLOR, Legend
from geoseg.outputs.files import read_note, write_json

VERSION = "1.1.0"
SUFFIX = ".stac.json"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOTIFF = "image/tiff; application=geotiff"
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
PROJECTION = _EXTENSION.format("projection/v2.0.0")
RASTER = _EXTENSION.format("raster/v1.1.0")
CLASSIFICATION = _EXTENSION.format("classification/v2.0.0")
FILE = _EXTENSION.format("file/v2.1.0")
MODEL = _EXTENSION.format("mlm/v1.4.0")
LONGITUDES = "OGC:CRS84"
"""Longitude and latitude on WGS 84, in this order: what GeoJSON means."""
ALONG = 8
"""Pieces of each side of a footprint: a straight side of one CRS is bent in another."""
DIGITS = 7
"""Of degrees: a centimetre."""
SHA256 = "1220"
"""Of a multihash: SHA-256, 32 bytes long."""


def path_of(path: str | Path) -> Path:
    """Where the item of a file lies: beside it."""
    path = Path(path)
    return path.with_name(path.stem + SUFFIX)


@dataclass(frozen=True)
class Times:
    """When what a raster shows was so, in UTC."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, when: Sequence[datetime]) -> Times:
        """From the first to the last; of what is at midnight, only the day is known."""
        first, last = min(when), max(when)
        if last == datetime(last.year, last.month, last.day):
            last = last.replace(hour=23, minute=59, second=59)
        return cls(first, last)

    @classmethod
    def read(cls, item: Path) -> Times | None:
        """Of an item that geoseg wrote; None if it says none."""
        said = (read_note(item) or {}).get("properties")
        if not isinstance(said, dict) or UNKNOWN_TIME in str(said.get("description")):
            return None
        when = said.get("datetime")
        pair = (when, when) if when else (said.get("start_datetime"), said.get("end_datetime"))
        try:
            start, end = (datetime.fromisoformat(str(one)).replace(tzinfo=None) for one in pair)
        except ValueError:
            return None
        return cls(start, end)

    def properties(self) -> dict[str, Any]:
        if self.start == self.end:
            return {"datetime": _said(self.start)}
        return {
            "datetime": None,
            "start_datetime": _said(self.start),
            "end_datetime": _said(self.end),
        }


UNKNOWN_TIME = "datetime is when this was made"


def _said(when: datetime) -> str:
    return when.isoformat(timespec="seconds") + "Z"


def made_at(path: Path) -> datetime:
    """When a file was written, in UTC."""
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Asset:
    """A file that an item names."""

    path: Path
    title: str
    roles: tuple[str, ...]
    type: str = COG
    more: Mapping[str, Any] = field(default_factory=dict)
    """Fields of extensions."""

    def to_dict(self, item: Path) -> dict[str, Any]:
        """With size and checksum, its address relative to the item's. Raises: InputError."""
        href = Path(os.path.relpath(self.path.absolute(), item.absolute().parent)).as_posix()
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise InputError(f"{self.path}: can't be read ({error.strerror})") from None
        return {
            "href": href if href.startswith("../") else f"./{href}",
            "type": self.type,
            "title": self.title,
            "roles": list(self.roles),
            "file:size": size,
            "file:checksum": SHA256 + digest,
            **self.more,
        }


def write_raster_item(
    path: Path,
    grid: Grid,
    assets: Mapping[str, Asset],
    *,
    times: Times | None,
    properties: Mapping[str, Any],
) -> None:
    """Write an item of rasters on one grid.

    times: of what they show; None = unknown: then it is when the first asset was made, and said.
    properties: further ones.
    Raises: InputError if an asset can't be read or the item can't be written.
    """
    first = next(iter(assets.values()))
    values = {"proj:shape": [grid.height, grid.width]} | dict(properties)
    values |= {"proj:transform": list(grid.transform)[:6], "proj:bbox": list(grid.bounds)}
    values |= crs_of(grid)
    if times is None:
        values["description"] = f"{UNKNOWN_TIME}; when the images were taken is not known"
    write_item(
        path,
        {"geometry": footprint(grid), "properties": values},
        assets,
        extensions=(PROJECTION, RASTER, CLASSIFICATION, FILE),
        times=times,
        made=made_at(first.path),
    )


def write_item(
    path: Path,
    said: Mapping[str, Any],
    assets: Mapping[str, Asset],
    *,
    extensions: Sequence[str],
    times: Times | None,
    made: datetime,
) -> None:
    """Write an item. said: its geometry and properties. made: when its files were made, in UTC,
    which stands where times are not known.

    Raises: InputError if an asset can't be read or the item can't be written.
    """
    when = (times or Times(made, made)).properties()
    properties = when | {"created": _said(made), "geoseg:version": __version__}
    properties |= said["properties"]
    geometry = said["geometry"]
    values = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(extensions),
        "id": path.name.removesuffix(SUFFIX),
        "geometry": geometry,
        **({} if geometry is None else {"bbox": _box(geometry)}),
        "properties": properties,
        "links": [],
        "assets": {key: asset.to_dict(path) for key, asset in assets.items()},
    }
    write_json(path, values)


def classes_of(legend: Legend, *, undecided: bool = False) -> list[dict[str, Any]]:
    """classification:classes of a map. undecided: whether pixels may be without decision."""
    rows = [(c.code, c.name, c.color) for c in legend.classes]
    rows += [(UNDECIDED, NO_DECISION, UNDECIDED_COLOR)] if undecided else []
    names = short_names([name for _, name, _ in rows], [code for code, _, _ in rows])
    return [
        {
            "value": code, "name": short, "title": name, "description": name,
            "color_hint": color.lstrip("#").upper(),
        }
        for (code, name, color), short in zip(rows, names, strict=True)
    ]  # fmt: skip


def short_names(names: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """Names of letters, digits, - and _ only, as the classification extension wants them.

    numbers: told apart by them if two become one, or nothing is left.
    """
    made = [re.sub(r"[^0-9A-Za-z_-]+", "_", name).strip("_") for name in names]
    return [
        name if name and made.count(name) == 1 else f"{name or 'class'}_{number}"
        for name, number in zip(made, numbers, strict=True)
    ]


def bands_of(path: Path, *, unit: str = "") -> list[dict[str, Any]]:
    """raster:bands of a file. Raises: InputError if it isn't a raster."""
    facts = raster.info(path)
    assert facts.grid is not None  # geoseg writes no raster without place
    made = []
    for name, tags in zip(facts.names, facts.band_tags, strict=True):
        band: dict[str, Any] = {"data_type": facts.dtype, "sampling": "area"}
        band["spatial_resolution"] = round(facts.grid.pixel_size_m, 6)
        if tags.nodata is not None:
            band["nodata"] = tags.nodata if math.isfinite(tags.nodata) else str(tags.nodata)
        if unit:
            band["unit"] = unit
        if name:
            band["description"] = name
        made.append(band)
    return made


def crs_of(grid: Grid) -> dict[str, Any]:
    """proj:code, or where no authority knows the CRS, proj:wkt2."""
    crs = pyproj.CRS.from_user_input(grid.crs)
    authority = crs.to_authority()
    if authority is not None:
        return {"proj:code": ":".join(authority)}
    return {"proj:code": None, "proj:wkt2": crs.to_wkt()}


def footprint(grid: Grid) -> dict[str, Any] | None:
    """A grid's outline in longitude and latitude, as GeoJSON; None where it has no place on Earth.

    Of one across the 180th meridian, or around a pole, its bounding boxes.
    """
    if grid.is_local:
        return None
    west, south, east, north = (round(value, DIGITS) for value in grid.bounds_in(LONGITUDES))
    if not all(map(math.isfinite, (west, south, east, north))):
        return None
    if west > east:
        boxes = [(west, south, 180.0, north), (-180.0, south, east, north)]
        return {"type": "MultiPolygon", "coordinates": [[_ring(box)] for box in boxes]}
    bent = _outline(grid)
    # Around a pole longitudes turn a whole circle.
    fits = bent is not None and all(
        west - 1e-3 <= x <= east + 1e-3 and south - 1e-3 <= y <= north + 1e-3 for x, y in bent
    )
    polar = max(abs(south), abs(north)) > 89.9 or east - west > 180
    ring = bent if bent is not None and fits and not polar else _ring((west, south, east, north))
    return {"type": "Polygon", "coordinates": [ring]}


def _ring(box: tuple[float, float, float, float]) -> list[list[float]]:
    west, south, east, north = box
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _outline(grid: Grid) -> list[list[float]] | None:
    """Counterclockwise, with points along its sides."""
    left, bottom, right, top = grid.bounds
    steps = np.linspace(0, 1, ALONG, endpoint=False)
    x = np.concatenate([left + (right - left) * steps, np.full(ALONG, right)])
    x = np.concatenate([x, right + (left - right) * steps, np.full(ALONG, left)])
    y = np.concatenate([np.full(ALONG, bottom), bottom + (top - bottom) * steps])
    y = np.concatenate([y, np.full(ALONG, top), top + (bottom - top) * steps])
    turn = pyproj.Transformer.from_crs(grid.crs, LONGITUDES, always_xy=True)
    places = np.stack(turn.transform(x, y), axis=1).round(DIGITS)
    if not np.isfinite(places).all():
        return None
    ring = places.tolist()
    return [*ring, ring[0]]


def _box(geometry: Mapping[str, Any]) -> list[float]:
    """West, south, east, north of a footprint; west > east across the 180th meridian."""
    if geometry["type"] == "MultiPolygon":
        first, second = (np.array(part[0]) for part in geometry["coordinates"])
        low, high = np.concatenate([first, second])[:, 1].min(), first[:, 1].max()
        return [float(first[:, 0].min()), float(low), float(second[:, 0].max()), float(high)]
    ring = np.array(geometry["coordinates"][0])
    return [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]
