"""Recognize vector formats by their content, before GDAL opens the file.

GDAL goes by content, too: a labels.geojson may be the description of a web service, or of a query
of other files. These are refused; so are queries within a database. Surfaces in space are turned
into the polygons that they are made of.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from geoseg.errors import InputError
from geoseg.received import sqlite_file

HEAD = 64 * 1024
"""Bytes in which GDAL looks for what a file is."""
_ELSEWHERE = re.compile(
    rb"<(OGRVRT|OGRWFS|GDAL_W|GDALTileIndex|VRTDataset|WMS_Cap|WCS_GDAL)|gdal_streamed_alg",
    re.IGNORECASE,
)
"""What begins the description of something that lies elsewhere."""
_SQLITE = b"SQLite format 3\0"
_POINT, _LINE, _POLYGON, _MULTIPOLYGON = 1, 2, 3, 6
_SURFACE, _TIN, _TRIANGLE = 15, 16, 17
"""Types of geometry in WKB."""
_KNOWN_AS = {_SURFACE: _MULTIPOLYGON, _TIN: _MULTIPOLYGON, _TRIANGLE: _POLYGON}
_FLAT = 0x0FFFFFFF
"""Bits of a type that say no Z, M or CRS."""


def check(path: str) -> list[str]:
    """Check what a vector file is. Returns: names of what is in it and can't be a layer.

    Raises: InputError if it names other sources, or runs queries.
    """
    if not os.path.isfile(path):
        return _check_folder(path) if os.path.isdir(path) else []
    with open(path, "rb") as file:
        head = file.read(HEAD)
    _check_head(head, path)
    if head.startswith(_SQLITE):
        return sqlite_file.check(path)
    if head.startswith(b"PK"):
        for name, part in _members(path):
            _check_head(part.read(HEAD), f"{path}, {name[:100]}")
    return []


def _check_folder(path: str) -> list[str]:
    for part in sorted(Path(path).iterdir()):
        if part.is_file():
            with part.open("rb") as file:
                _check_head(file.read(HEAD), str(part))
    return []


def _check_head(head: bytes, path: str) -> None:
    plain = head.replace(b"\0", b"")  # UTF-16 hides nothing
    if found := _ELSEWHERE.search(plain):
        what = found[0].decode(errors="replace")
        raise InputError(
            f"{path}: describes data that lie elsewhere ({what} …), which are not"
            " followed; save what they show: ogr2ogr -f GPKG NEW.gpkg FILE"
        )


def _members(path: str) -> Iterator[tuple[str, BinaryIO]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith((".gpkg", ".sqlite")):
                    raise InputError(f"{path}: unpack {name[:100]}, then give that")
                with archive.open(name) as part:
                    yield name, part  # type: ignore[misc]
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: can't be unpacked ({error})") from None


def flattened(wkb: bytes | None) -> bytes | None:
    """WKB whose polyhedral surfaces, TINs and triangles (3D buildings) are polygons, which is how
    they are written: GEOS knows none of them."""
    if wkb is None:
        return None
    made = bytearray(wkb)
    try:
        _rename(made, 0)
    except (struct.error, IndexError):
        return wkb
    return bytes(made)


def _rename(wkb: bytearray, at: int) -> int:
    """Rename the types of the geometry that begins at a byte, and of its parts, in place.

    Returns: where it ends.
    """
    order = "<" if wkb[at] else ">"
    kind, count = struct.unpack_from(order + "II", wkb, at + 1)
    dimensions, plain = divmod(kind & _FLAT, 1000)
    has_z, has_m = dimensions in (1, 3) or bool(kind & 0x80000000), dimensions in (2, 3)
    point = 8 * (2 + has_z + (has_m or bool(kind & 0x40000000)))
    if plain in _KNOWN_AS:
        struct.pack_into(order + "I", wkb, at + 1, kind - plain + _KNOWN_AS[plain])
    if plain == _POINT:
        return at + 5 + point
    at += 9
    if plain == _LINE:
        return at + count * point
    for _ in range(count):
        if plain in (_POLYGON, _TRIANGLE):
            at += 4 + struct.unpack_from(order + "I", wkb, at)[0] * point
        else:
            at = _rename(wkb, at)
    return at
