"""Read points from a CSV table."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely

from geoseg.errors import Faults, InputError
from geoseg.outputs.counted import counted, first

if TYPE_CHECKING:
    from geoseg.parcels.columns import _Roles

COORDINATES = (("x", "y"), ("lon", "lat"), ("longitude", "latitude"))
"""Columns of the coordinates, if nobody says otherwise."""
LABEL = "label"
"""Column of the class, if nobody says otherwise."""


def read(path: str, roles: _Roles) -> tuple[dict[str, np.ndarray], str, list[str]]:
    """Columns by role and `geometry`, the CRS, and what is to be said. Raises: InputError."""
    labels, samples = roles.labels, roles.samples
    rows = _rows(path)
    names = list(rows)
    faults = Faults()
    for key in ("layer", "where"):
        if getattr(labels, key) is not None:
            faults.add(f"labels.{key}={getattr(labels, key)}: not for a CSV file ({path})")
    chosen = roles.of(names)
    if labels.field is None and labels.name is None:
        chosen["value"] = LABEL
    chosen["x"], chosen["y"] = samples.x or "", samples.y or ""
    for x, y in COORDINATES:
        if x in names and y in names and not (chosen["x"] or chosen["y"]):
            chosen |= {"x": x, "y": y}
    for role, name in chosen.items():
        if not name:
            faults.add(
                f"{path}: no coordinates; set samples.{role}=<column>: it has {first(names, 20)}"
            )
        elif name not in names:
            faults.add(f"{path}: no column {name!r} ({_key(role)}); it has {first(names, 20)}")
    faults.attempt(check_crs, samples.crs)
    faults.raise_if_any()
    table = {role: np.array(rows[name], object) for role, name in chosen.items()}
    easting = _numbers(path, table.pop("x"), chosen["x"])
    northing = _numbers(path, table.pop("y"), chosen["y"])
    geographic = pyproj.CRS.from_user_input(samples.crs).is_geographic
    if geographic and ((abs(easting) > 360).any() or (abs(northing) > 90).any()):
        raise InputError(
            f"{path}: coordinates up to {abs(easting).max():g}, {abs(northing).max():g} are no"
            " degrees; set samples.crs=EPSG:…"
        )
    table["geometry"] = shapely.points(easting, northing)
    notes = roles.said_of_periods(path, chosen)
    if "id" in chosen:
        return table, samples.crs, notes
    table["number"] = np.arange(1, len(easting) + 1).astype(object)
    said = f"{path}: no column id, so samples are called by their row, from 1"
    return table, samples.crs, [said, *notes]


def _rows(path: str) -> dict[str, list[str]]:
    """Columns by name."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            lines = list(csv.reader(file, delimiter=";" if ";" in head else ","))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: can't be read as CSV in UTF-8 ({error})") from None
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise InputError(f"{path}: no row; expected a line with names, and one per point")
    names = [name.strip() for name in lines[0]]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(
            f"{path}: {', '.join(twice)}: more than one column of this name; each needs its own"
        )
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(names):
            raise InputError(
                f"{path}: line {number} has {counted(len(line), 'value')}, the first one"
                f" {counted(len(names), 'name')}"
            )
    return dict(zip(names, map(list, zip(*lines[1:], strict=True)), strict=True))


def _numbers(path: str, values: np.ndarray, name: str) -> np.ndarray:
    found = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        try:
            found[place] = float(value)
        except ValueError:
            raise InputError(
                f"{path}: column {name}, row {place + 1}: {value!r} is no number"
            ) from None
    return found


def check_crs(text: str) -> None:
    """Raises: InputError for a CRS of coordinates that nobody knows."""
    try:
        pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError:
        raise InputError(f"samples.crs={text}: no CRS known; write EPSG:<number>") from None


def _key(role: str) -> str:
    if role == "value":
        return "labels.field"
    return "split.column" if role == "column" else f"samples.{role}"
