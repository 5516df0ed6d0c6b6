"""Open SQLite files read-only, real tables only, with a time limit.

A view is a query that its author wrote: one that never ends hangs whoever reads it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from geoseg.errors import InputError

PATIENCE = 60.0
"""Seconds that a query may take."""
_SYSTEM = ("gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys", "geometry_columns")
"""Tables that GDAL asks before it knows of any layer."""


def unread(error: Exception, remedy: str) -> str:
    """Why a file could not be read, and what is to be done.

    remedy: where it may be damaged, which one that another program writes to is not.
    """
    if "locked" in str(error) or "busy" in str(error):
        return (
            "another program is writing to it (in QGIS: save the edits of its layers, or close it);"
            " then try again"
        )
    return f"can't be read ({error}); {remedy}"


@contextmanager
def reading(path: str | Path, *, patience: float = PATIENCE) -> Iterator[sqlite3.Connection]:
    """Open for reading. Raises: sqlite3.Error, also for a query that takes too long."""
    end = time.monotonic() + patience
    # A file name of two meanings, as file:x?mode=rwc, means the file.
    address = f"{Path(path).resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
        yield connection


def select(
    path: Path, table: str, columns: Sequence[str], *, where: str = "", given: tuple[Any, ...] = ()
) -> list[tuple[Any, ...]]:
    """Rows of a table of ours, in their order.

    Raises: InputError if it isn't there, isn't a plain table, or can't be read.
    """
    names = ", ".join(f'"{name}"' for name in columns)
    try:
        with reading(path) as connection:
            if table not in tables(connection):
                raise sqlite3.OperationalError(f"no table {table}")
            query = f'SELECT {names} FROM main."{table}" {where} ORDER BY fid'
            return connection.execute(query, given).fetchall()
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        remedy = "make the data set again with geoseg.prepare or geoseg.prepare_series"
        raise InputError(f"{path}: {unread(error, remedy)}") from None


def tables(connection: sqlite3.Connection) -> list[str]:
    """Names of the tables that hold their rows themselves: no views, no virtual tables."""
    query = "SELECT name, sql FROM main.sqlite_master WHERE type = 'table'"
    return [
        str(name)
        for name, sql in connection.execute(query)
        if not str(sql).lstrip().lower().startswith("create virtual")
    ]


def queries(connection: sqlite3.Connection) -> list[str]:
    """Names of what computes its rows when it is read: views, and virtual tables but indexes."""
    query = "SELECT name, type, sql FROM main.sqlite_master WHERE type IN ('table', 'view')"
    found = []
    for name, kind, sql in connection.execute(query):
        virtual = " ".join(str(sql).lower().split())
        made = kind == "table" and virtual.startswith("create virtual") and "rtree" not in virtual
        if kind == "view" or made:
            found.append(str(name))
    return found


def check(path: str) -> list[str]:
    """Check a file before GDAL reads it. Returns: names that can't be layers.

    Raises: InputError if what tells its layers is itself a query, or it is damaged.
    """
    try:
        with reading(path, patience=10) as connection:
            found = queries(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {unread(error, 'is it cut short?')}") from None
    system = [name for name in found if name in _SYSTEM or name.startswith("rtree_")]
    if system:
        raise InputError(
            f"{path}: {', '.join(system)[:200]} should be a table and is a query, which could run"
            " for ever; fetch the file again, or save its layers into a new GeoPackage"
        )
    return found
