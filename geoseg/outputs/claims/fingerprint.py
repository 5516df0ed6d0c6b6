"""Recognize whether an input file is still the one that something was made of."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Any

DATABASES = (".gpkg", ".sqlite")
TABLES = (".csv", ".parquet", ".geoparquet", ".geojson", ".json", ".fgb", ".gml", ".kml")
"""Ends of the names of files that hold all that they say."""
PARTS_OF_SHP = (".dbf", ".prj", ".cpg")
DEEPEST = 8
"""VRTs within VRTs."""
_NOTES = re.compile(
    r"<PAMRasterBand[^>]*>"
    r"|<(SRS|GeoTransform|GCPList|NoDataValue|Scale|Offset|ColorInterp|Description)\b.*?</\1>",
    re.DOTALL,
)
_BAND = "<PAMRasterBand"
_SHOWN = re.compile(r"<Source(?:Filename|Dataset)\b([^>]*)>([^<]*)<")


def fingerprint(path: str | Path) -> list[Any]:
    """Name, size and time of an input file: enough to see that it was exchanged.

    What belongs to it and lies in other files (the attributes of a Shapefile, the files that a VRT
    shows) comes as a digest behind these. Of a file on a server the address: it is taken that this
    tells it.
    """
    if "://" in str(path):
        return [str(path)]
    cube, mark, _ = str(path).rpartition("#")
    is_part = bool(mark) and not os.path.lexists(path)
    own = cube if is_part else str(path)
    if os.path.isdir(own):
        # A part of a cube (cube.zarr#red@…), or a database: looked through once a minute at most.
        return [str(path), *_folder(own, int(time.monotonic() // 60))]
    stat = os.stat(own if is_part and os.path.isfile(own) else path)
    found = [str(path), stat.st_size, stat.st_mtime_ns]
    if beside := _beside(own):
        found.append(hashlib.sha256(json.dumps(beside).encode()).hexdigest()[:16])
    return found


def changed(noted: Iterable[Sequence[Any]]) -> list[str]:
    """Files that are others than when their `fingerprint` was noted; not those that are gone."""
    found = []
    for path, *was in noted:
        with suppress(OSError):
            if fingerprint(path)[1 : len(was) + 1] != was:  # older versions noted less
                found.append(path)
    return found


def _beside(path: str, depth: int = 0) -> list[Any]:
    """What belongs to a file and is kept in others: names, sizes and times, or their text."""
    stem, suffix = os.path.splitext(path)
    kind = suffix.lower()
    if kind in DATABASES:
        # Changes that QGIS has saved may still wait there while the layer is open.
        return _stat(f"{path}-wal")
    if kind in TABLES:
        return []
    ends: tuple[str, ...] = PARTS_OF_SHP
    if kind != ".shp":
        ends = (f"{kind[:2]}{kind[-1:]}w", ".wld")  # .tif has its world file in .tfw
        ends += () if kind in (".tif", ".tiff") else (".hdr", ".prj")
    names = [stem + (end.upper() if suffix.isupper() else end) for end in ends]
    names.append(f"{path}w")
    parts: list[Any] = [part for name in (*names, f"{path}.msk") if (part := _stat(name))]
    parts += _in_notes(f"{path}.aux.xml")
    if kind == ".vrt" and depth < DEEPEST:
        for source in _sources(path):
            # The folder is that of the VRT, and may move with it.
            shown = _stat(source) or [os.path.basename(source)]
            parts.append([*shown, *_beside(source, depth + 1)])
    return parts


def _stat(path: str) -> list[Any]:
    """Size and time of a file that holds something; nothing if it does not, or is not there."""
    try:
        stat = os.stat(path)
    except OSError:
        return []
    return [os.path.basename(path), stat.st_size, stat.st_mtime_ns] if stat.st_size else []


def _in_notes(path: str) -> list[str]:
    """What GDAL's notes beside a raster say of its pixels; statistics, which a program writes when
    somebody looks at the raster, are not among it."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = [match[0] for match in _NOTES.finditer(text)]
    # A band counts if something is said of it: statistics come with bands of their own.
    told = [*found, _BAND][1:]
    return [
        one
        for one, after in zip(found, told, strict=True)
        if not (one.startswith(_BAND) and after.startswith(_BAND))
    ]


def _sources(path: str) -> list[str]:
    """Files that a VRT shows."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    folder = os.path.dirname(path)
    found = dict.fromkeys((mark.lower(), unescape(name)) for mark, name in _SHOWN.findall(text))
    return [
        os.path.join(folder if 'relativetovrt="1"' in mark else "", name.strip())
        for mark, name in found
    ]


@lru_cache(maxsize=64)
def _folder(folder: str, minute: int) -> tuple[int, int]:
    """Bytes of all files of a folder, and the time of the newest."""
    paths = (os.path.join(here, name) for here, _, names in os.walk(folder) for name in names)
    stats = [os.stat(path) for path in paths]
    return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
