"""Add single corrections to a file and take them back, each at once and for good."""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import shapely

from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.geo.vector import Layer, layer_names
from geoseg.labels.correction_form import LAYERS, write_form
from geoseg.labels.corrections import CLASS, WIDTH

LAYER_OF = {"Point": "points", "LineString": "lines", "Polygon": "polygons"}
"""Kind of a geometry → layer."""
WAIT = 10.0
"""Seconds to wait for QGIS, while it saves edits of its own to the same file."""
ENVELOPES = (0, 32, 48, 48, 64)
"""Bytes of the bounds in a geometry of a GeoPackage, by the number in its flags."""


@dataclass(frozen=True)
class CorrectionFile:
    """A GeoPackage as of the form, which QGIS may have open meanwhile."""

    path: Path
    crs: dict[str, str]
    """Of each layer."""
    srs: dict[str, int]
    """Number of the CRS in the file."""
    columns: dict[str, tuple[str, ...]]

    @classmethod
    def open(cls, path: str | Path, legend: Legend, crs: str) -> CorrectionFile:
        """Write the form, if there is no such file. Raises: InputError for a file of another kind.

        crs: of a new file.
        """
        path = Path(path)
        write_form(path, legend, crs)
        lacking = f"{path}: no file of corrections as geoseg.refine writes it"
        remedy = "; leave out corrections=, and draw into the one that is written into the output"
        missing = [name for name in LAYERS if name not in layer_names(str(path))]
        if path.suffix.lower() != ".gpkg" or missing:
            raise InputError(f"{lacking} (no layers {', '.join(missing) or 'in it'}){remedy}")
        found = {name: Layer(str(path), name=name) for name in LAYERS}
        columns = {name: tuple(layer.fields) for name, layer in found.items()}
        if any(CLASS not in fields for fields in columns.values()):
            raise InputError(f"{lacking} (no column `{CLASS}`){remedy}")
        with closing(sqlite3.connect(path, timeout=WAIT)) as database:
            rows = database.execute("SELECT table_name, srs_id FROM gpkg_geometry_columns")
            srs = {str(name): int(number) for name, number in rows}
        return cls(path, {name: layer.crs for name, layer in found.items()}, srs, columns)

    @property
    def undone(self) -> Path:
        """Lines of JSON: what was taken back, for nothing that was drawn is ever lost."""
        return self.path.with_suffix(".undone.jsonl")

    @property
    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Changes whenever anybody saves to the file."""
        found = []
        for beside in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            try:
                status = beside.stat()
                found.append((status.st_mtime_ns, status.st_size))
            except FileNotFoundError:
                found.append((0, 0))
        return tuple(found)

    def count(self) -> int:
        with self._database() as database:
            return sum(
                database.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in LAYERS
            )

    def add(
        self, geometry: shapely.Geometry, code: int, *, width_m: float | None = None
    ) -> tuple[str, int]:
        """Write a correction; it has reached the disk when this returns.

        geometry: in the CRS of its layer. Returns: layer, and number in it. Raises: InputError.
        """
        layer = LAYER_OF[geometry.geom_type]
        values: dict[str, Any] = {
            "geom": _blob(geometry, self.srs[layer]),
            CLASS: code,
            WIDTH: width_m,
            "who": _user(),
            "made": datetime.now().isoformat(" ", "microseconds"),
        }
        kept = [name for name in values if name == "geom" or name in self.columns[layer]]
        names = ", ".join(f'"{name}"' for name in kept)
        marks = ", ".join("?" * len(kept))
        with self._database() as database:
            row = database.execute(
                f'INSERT INTO "{layer}" ({names}) VALUES ({marks})',
                [values[name] for name in kept],
            )
            number = int(row.lastrowid or 0)
            _note_extent(database, layer, geometry)
        return layer, number

    def remove(self, layer: str, number: int) -> bool:
        """Take a correction back, and keep it beside the file. Returns: whether there was one."""
        if layer not in LAYERS:
            return False
        columns = [name for name in self.columns[layer] if name != "fid"]
        names = ", ".join(f'"{name}"' for name in ("geom", *columns))
        with self._database() as database:
            found = database.execute(
                f'SELECT {names} FROM "{layer}" WHERE fid = ?', (number,)
            ).fetchone()
            if found is None:
                return False
            told = dict(zip(columns, found[1:], strict=True))
            shape = None if found[0] is None else shapely.to_wkt(_shape(found[0]), -1)
            note = {"layer": layer, "fid": number, "crs": self.crs[layer], "wkt": shape, **told}
            with self.undone.open("a", encoding="utf-8") as file:
                file.write(json.dumps(note, ensure_ascii=False, default=str) + "\n")
                file.flush()
                os.fsync(file.fileno())
            database.execute(f'DELETE FROM "{layer}" WHERE fid = ?', (number,))
        return True

    def last(self) -> tuple[str, int] | None:
        """The correction that was made last; None if there is none."""
        found: list[tuple[str, int, str]] = []
        with self._database() as database:
            for layer in LAYERS:
                made = '"made"' if "made" in self.columns[layer] else "''"
                order = f"SELECT COALESCE({made}, ''), fid FROM \"{layer}\" ORDER BY 1 DESC, 2 DESC"
                row = database.execute(f"{order} LIMIT 1").fetchone()
                if row is not None:
                    found.append((str(row[0]), int(row[1]), layer))
        if not found:
            return None
        _, number, layer = max(found)
        return layer, number

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """The open file; what the block does is written as a whole. Raises: InputError."""
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT)) as database:
                database.execute("PRAGMA synchronous = FULL")
                # The spatial index asks for them whenever a row is written.
                for name, ask in FUNCTIONS.items():
                    database.create_function(name, 1, ask, deterministic=True)
                with database:
                    yield database
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"{self.path}: can't be written ({error}); does QGIS hold unsaved edits of it, or"
                " is the disk full? Save or free some, and try again"
            ) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user has no name
        return ""


def _blob(geometry: shapely.Geometry, srs: int) -> bytes:
    """As GeoPackage 1.3 has geometries (clause 2.1.3): little endian, with bounds."""
    left, bottom, right, top = shapely.bounds(geometry)
    head = struct.pack("<2sBBi4d", b"GP", 0, 0b011, srs, left, right, bottom, top)
    return head + shapely.to_wkb(geometry, byte_order=1)


def _shape(blob: bytes) -> shapely.Geometry:
    return shapely.from_wkb(blob[8 + ENVELOPES[(blob[3] >> 1) & 0b111] :])


def _bound(place: int) -> Callable[[bytes], float]:
    return lambda blob: float(shapely.bounds(_shape(blob))[place])


FUNCTIONS: dict[str, Callable[[bytes], Any]] = {
    "ST_IsEmpty": lambda blob: int(shapely.is_empty(_shape(blob))),
    "ST_MinX": _bound(0),
    "ST_MinY": _bound(1),
    "ST_MaxX": _bound(2),
    "ST_MaxY": _bound(3),
}
"""Of SQL, which GeoPackages call in triggers and every program brings itself (Annex F.3)."""


def _note_extent(database: sqlite3.Connection, layer: str, geometry: shapely.Geometry) -> None:
    """Widen what the file says of a layer's bounds: QGIS zooms to them."""
    left, bottom, right, top = map(float, shapely.bounds(geometry))
    database.execute(
        "UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),"
        " min_x = MIN(COALESCE(min_x, ?1), ?1), min_y = MIN(COALESCE(min_y, ?2), ?2),"
        " max_x = MAX(COALESCE(max_x, ?3), ?3), max_y = MAX(COALESCE(max_y, ?4), ?4)"
        " WHERE table_name = ?5",
        (left, bottom, right, top, layer),
    )
