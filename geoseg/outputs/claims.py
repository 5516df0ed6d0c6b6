"""Note which settings an output was made with, and refuse to mix two."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Any

from geoseg.errors import InputError
from geoseg.outputs.files import MADE, make_folder, read_note, remove, write_json
from geoseg.outputs.stamp import are_whole
from geoseg.outputs.summary import Summary

READ = (
    *("inputs", "labels", "zones", "corrections", "by", "where", "dataset", "parcels", "table"),
    *("map", "maps", "before", "after", "confidence", "sample", "points"),
)
"""Keys of settings that name what a command reads."""
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


def claim_note(folder: Path, *, command: str, name: str = "") -> Path:
    """Hidden file that says with which settings an output was made."""
    return folder / f".{name and name + '.'}{command}.json"


def claim(
    folder: str | Path,
    settings: dict[str, Any],
    *,
    command: str,
    products: tuple[str, ...],
    overwrite: bool = False,
    name: str = "",
) -> None:
    """Make an output folder, or go on in one that the command made with the same settings.

    `products` are the names that the command writes there: only these count as its output, and
    only these are removed by `overwrite`. `name`: of the output, where a folder may hold several.
    Raises: InputError if there is an output of other settings and `overwrite` is off.
    """
    folder = Path(folder)
    settings = json.loads(json.dumps(settings))
    note = claim_note(folder, command=command, name=name)
    before = read_claim(folder, command=command, name=name)
    if before == settings:
        return
    present = [product for product in products if (folder / product).exists()]
    if present and not overwrite:
        if before is not None:
            why = f"made with other settings ({', '.join(_differences(before, settings))})"
        elif note.exists():
            why = f"whose note of its settings, {note.name}, can't be read"
        else:
            why = f"that geoseg {command} knows nothing of ({', '.join(present)})"
        raise InputError(
            f"{folder / name}: holds an output {why}; choose another one,"
            " or overwrite=true to replace it"
        )
    _check_kept(folder, present, settings)
    remove(folder, present)
    make_folder(folder)
    write_json(note, settings)


def check_apart(folder: str | Path, products: Iterable[str], files: Iterable[str | Path]) -> None:
    """Raises: InputError if a file that is read lies where a command writes, and removes, its own.

    Other than by `claim`, whose settings name few files, this is asked whatever was made before.
    """
    if name := _within(Path(folder), products, files):
        raise InputError(
            f"{folder}: holds {name}, which is read, under a name that is written there; choose"
            " another output, or move that file"
        )


def _check_kept(folder: Path, products: list[str], settings: dict[str, Any]) -> None:
    """Raises: InputError if an input lies where old products are to be removed."""
    texts = list(_texts([settings.get(key) for key in READ]))
    zones = [text.rpartition(":")[0] for text in texts]  # these are FILE:ATTRIBUTE
    if name := _within(folder, products, (*texts, *filter(None, zones))):
        raise InputError(
            f"{folder}: holds {name}, which is read, under a name that is written there,"
            " and overwrite=true would remove it; choose another output, or move that file"
        )


def _within(
    folder: Path, products: Iterable[str], names: Iterable[str | Path]
) -> str | Path | None:
    """The first of these files that is one of the products of a folder, or lies in one."""
    own = {(folder / product).resolve() for product in products}
    if not any(path.exists() for path in own):
        return None
    for name in names:
        path = Path(name).resolve()
        if name and not own.isdisjoint((path, *path.parents)):
            return name
    return None


def _texts(value: Any) -> Iterator[str]:
    """All texts in JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def rewrite_claim(folder: Path, settings: dict[str, Any], *, command: str) -> None:
    """Note other settings for what an output is from now on."""
    write_json(claim_note(folder, command=command), settings)


def read_claim(folder: str | Path, *, command: str, name: str = "") -> dict[str, Any] | None:
    """The settings that an output was made with; None if nobody knows."""
    found = read_note(claim_note(Path(folder), command=command, name=name))
    return None if found is None else {k: v for k, v in found.items() if k != MADE}


def note_made(folder: Path, stamps: dict[str, str], *, command: str, name: str = "") -> None:
    """Add to the note of an output's settings which files it has, now that all are there."""
    settings = read_claim(folder, command=command, name=name) or {}
    write_json(claim_note(folder, command=command, name=name), settings | {MADE: stamps})


def read_made(folder: Path, *, command: str, name: str = "") -> dict[str, str]:
    """Stamps of an output's files; none if it was never whole."""
    found = (read_note(claim_note(folder, command=command, name=name)) or {}).get(MADE)
    return found if isinstance(found, dict) else {}


def follows(folder: str | Path, settings: dict[str, Any], *, command: str, name: str = "") -> bool:
    """Whether an output was made with these settings, be it of `inputs` that changed since.

    Such an output follows its inputs: to make it anew replaces nothing that somebody wants.
    """
    before = read_claim(folder, command=command, name=name) or {}
    return before | {"inputs": None} == json.loads(json.dumps(settings | {"inputs": None}))


def is_made(folder: Path, settings: dict[str, Any], *, command: str, name: str = "") -> bool:
    """Whether an output was made with just these settings, and all its files are whole."""
    if not is_claimed(folder, settings, command=command, name=name):
        return False
    return are_whole(folder, read_made(folder, command=command, name=name))


def nothing_to_do(
    out: str | Path, folder: Path, settings: dict[str, Any], *, command: str, name: str = ""
) -> Summary | None:
    """What is to be said if `is_made`; None if there is something to do. out: as people know it."""
    if not is_made(folder, settings, command=command, name=name):
        return None
    return Summary.of_note(f"{out}: already made of this with these settings; nothing to do")


def is_claimed(
    folder: str | Path, settings: dict[str, Any], *, command: str, name: str = ""
) -> bool:
    """Whether a folder holds an output that the command made, or began, with these settings."""
    return read_claim(folder, command=command, name=name) == json.loads(json.dumps(settings))


def _differences(a: Any, b: Any, prefix: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = []
        for key in {**a, **b}:
            names += _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
        return names
    return [] if a == b else [prefix]
