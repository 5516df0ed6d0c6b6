"""Recognize whether a file is still as it was written, without reading all of it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

PART, PARTS = 1 << 16, 64
"""Bytes of a part that is looked at, and how many of them at most, spread over the file: 4 MB,
which is all of most files."""
LAYERS, NOTES = (".gpkg",), (".xml", ".qml")
"""Ends of the names of files that QGIS changes when somebody looks at them."""


def stamp_of(path: str | Path) -> str:
    """Size and checksum of a file, of a GeoPackage its rows; the same for a copy.

    The checksum is of all bytes, of a large file of its first, its last and some between.
    Raises: OSError, sqlite3.Error if it isn't whole.
    """
    path = Path(path)
    if path.suffix in LAYERS:
        return f"{_rows(path)} rows"
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix in NOTES:
            return "text" if size else "empty"
        check = 0
        if size <= PART * PARTS:
            while chunk := file.read(PART * PARTS):
                check = zlib.crc32(chunk, check)
        else:
            for number in range(PARTS):
                file.seek((size - PART) * number // (PARTS - 1))
                check = zlib.crc32(file.read(PART), check)
    return f"{size} bytes, {check:08x}"


def sha256(path: str | Path) -> str:
    """Of all bytes of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamps(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Stamps of files by their names relative to a folder; of those that are there."""
    return {p.relative_to(folder).as_posix(): stamp_of(p) for p in paths if p.is_file()}


def is_whole(path: Path, stamp: Any) -> bool:
    """Whether a file is there, and as it was when it got the stamp."""
    try:
        return stamp_of(path) == stamp
    except (OSError, sqlite3.Error):
        return False


def broken(folder: Path, noted: Any) -> list[str]:
    """Names of noted files that are gone, cut short, or others than they were."""
    if not isinstance(noted, dict):
        return []
    return [name for name, stamp in noted.items() if not is_whole(folder / name, stamp)]


def are_whole(folder: Path, noted: Any) -> bool:
    """Whether some files are noted, and all of them are as they were."""
    return isinstance(noted, dict) and bool(noted) and not broken(folder, noted)


def _rows(path: Path) -> int:
    """Features of all layers of a GeoPackage whose pages are all in order."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
        (answer,) = file.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(answer)
        (page,) = file.execute("PRAGMA page_size").fetchone()
        if path.stat().st_size % page:  # SQLite takes what is missing of the last page for zeros
            raise sqlite3.DatabaseError("cut short")
        names = [name for (name,) in file.execute("SELECT table_name FROM gpkg_contents")]
        quoted = [name.replace('"', '""') for name in names]
        counts = [file.execute(f'SELECT count(*) FROM "{q}"').fetchone()[0] for q in quoted]
    return sum(counts)
