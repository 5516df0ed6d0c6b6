"""Write a sample as a GeoPackage for interpreters, and read it again with its design."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.assessment.sampling import form
from geoseg.assessment.sampling.draw import Drawn
from geoseg.assessment.sampling.plan import Plan
from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.layer_styles import add_style
from geoseg.geo.legend import Legend
from geoseg.geo.vector import Table, write_layers
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.files import parse_json
from geoseg.received import sqlite_file

POINTS, UNITS, KEY, DESIGN, ABOUT = "points", "units", "key", "design", "about"
"""Layers and tables of a sample."""
KEY_COLUMNS = ("id", "stratum", "code", "row", "col", "hectares", "block", "block_pixels")
DESIGN_COLUMNS = ("stratum", "code", "name", "pixels", "hectares", "units", "n")


@dataclass(frozen=True)
class Key:
    """What the interpreter does not see: n points by their id."""

    id: np.ndarray
    stratum: np.ndarray
    """(n,) number."""
    code: np.ndarray
    """(n,) of the map."""
    row: np.ndarray
    column: np.ndarray
    hectares: np.ndarray
    """(n,) of the pixel."""
    block: np.ndarray
    block_pixels: np.ndarray


@dataclass(frozen=True)
class Part:
    """A stratum of a sample."""

    number: int
    code: int | None
    """Of the class that the map has there."""
    name: str
    pixels: int
    hectares: float
    units: int
    """Pixels, or blocks of a cluster sample."""
    n: int
    """Points drawn, without those in reserve."""


@dataclass(frozen=True)
class SampleFile:
    """A sample as it was drawn."""

    path: str
    grid: Grid
    legend: Legend
    key: Key
    parts: tuple[Part, ...]
    about: dict[str, Any]
    """Map, settings, and areas of its classes."""

    @classmethod
    def read(cls, path: str | Path) -> SampleFile:
        """Raises: InputError if it isn't a sample of geoseg.sample."""
        path = Path(path)
        if not path.exists():
            raise InputError(f"{path}: no such file; geoseg.sample makes one")
        try:
            with sqlite_file.reading(path) as connection:
                missing = {KEY, DESIGN, ABOUT} - set(sqlite_file.tables(connection))
                if missing:
                    raise InputError(
                        f"{path}: no table {', '.join(sorted(missing))}, so nobody knows how its"
                        " points were drawn; give the sample.gpkg of geoseg.sample"
                        " (and filled points in a file of their own by points=<file>)"
                    )
                key = _select(connection, KEY, KEY_COLUMNS)
                design = _select(connection, DESIGN, DESIGN_COLUMNS)
                about = dict(_select(connection, ABOUT, ("name", "value")))
            about = {name: parse_json(value) for name, value in about.items()}
            grid = Grid.from_dict(about["grid"])
            legend = Legend.from_dict(about["legend"], f"{path}, table {ABOUT}")
            columns = [np.array(column) for column in zip(*key, strict=True)]
            parts = tuple(
                Part(int(k), None if code is None else int(code), str(name), *rest)
                for k, code, name, *rest in design
            )
            return cls(str(path), grid, legend, Key(*columns), parts, about)
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            remedy = "is it damaged, or no sample of geoseg.sample? Fetch it again"
            raise InputError(f"{path}: {sqlite_file.unread(error, remedy)}") from None


def _select(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...]
) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{name}"' for name in columns)
    return connection.execute(f'SELECT {names} FROM main."{table}" ORDER BY fid').fetchall()


def write_sample(
    path: Path,
    found: ClassMap,
    plan: Plan,
    drawn: Drawn,
    about: dict[str, Any],
    *,
    units: dict[int, int],
) -> None:
    """Write a sample whose points are in the order in which they are to be interpreted.

    units: of each stratum by its number. Raises: InputError if it can't be written.
    """
    grid, legend = found.grid, found.legend
    ids = np.arange(1, len(drawn) + 1)
    points = _points(drawn, grid, drawn.twice(plan.double))
    boxes, owners = _boxes(grid, drawn, about)
    key = {
        "id": ids,
        "stratum": drawn.number,
        "code": drawn.code,
        "probability": _probabilities(plan, drawn, units),
        "row": drawn.row,
        "col": drawn.column,
        "hectares": drawn.hectares,
        "block": drawn.block,
        "block_pixels": drawn.block_pixels,
    }
    layers = {
        POINTS: Table(points, shapely.points(points["x"], points["y"]), grid.crs),
        UNITS: Table({"id": owners}, boxes, grid.crs),
        KEY: Table(key),
        DESIGN: Table(_design(plan, drawn, units)),
        ABOUT: Table(
            {
                "name": list(about),
                "value": [json.dumps(value, ensure_ascii=False) for value in about.values()],
            }
        ),
    }

    def styled(file: Path) -> None:
        add_style(file, POINTS, form.qml(legend), description="form for interpretation")
        add_style(file, UNITS, form.outline_qml(), description="outlines")

    write_layers(path, layers, last=styled)


def _points(drawn: Drawn, grid: Grid, twice: np.ndarray) -> dict[str, Any]:
    """Columns of the points, those for the interpretation still empty."""
    import pandas

    count = len(drawn)
    ids = np.arange(1, count + 1)
    x, y = centres(grid, drawn.row, drawn.column)
    open_ = pandas.arrays.IntegerArray(np.zeros(count, np.int32), np.ones(count, bool))
    text = np.full(count, None, object)
    return {
        "id": ids,
        "order": ids,
        "x": x,
        "y": y,
        "reference": open_,
        "reference2": open_,
        "sure": open_,
        "who": pandas.array(text, dtype="string"),
        "note": pandas.array(text, dtype="string"),
        "twice": twice.astype(np.int32),
        "reserve": drawn.reserve.astype(np.int32),
    }


def centres(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map coordinates x and y (n,) of the middles of pixels."""
    t = grid.transform
    return t.a * (columns + 0.5) + t.c, t.e * (rows + 0.5) + t.f


def _boxes(grid: Grid, drawn: Drawn, about: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of the pixels, or of the blocks, and the id or block of each."""
    if about["design"] != "cluster":
        windows = [
            Window(row, column, 1, 1)
            for row, column in zip(drawn.row.tolist(), drawn.column.tolist(), strict=True)
        ]
        owners = np.arange(1, len(drawn) + 1)
    else:
        height, width = about["block"]
        columns = -(-grid.width // width)
        owners = np.unique(drawn.block)
        windows = [
            Window(b // columns * height, b % columns * width, height, width)
            for b in owners.tolist()
        ]
    bounds = np.array([grid.bounds_of(window) for window in windows])
    return shapely.box(*bounds.T), owners


def _probabilities(plan: Plan, drawn: Drawn, units: dict[int, int]) -> np.ndarray:
    """(n,) with which each pixel gets into the sample, without the reserve."""
    main = ~drawn.reserve
    chosen: dict[int, int] = {}
    for number in plan.numbers:
        blocks = drawn.block[main & (drawn.number == number)]
        chosen[number] = len(np.unique(blocks))
    inside = np.bincount(drawn.block)[drawn.block] / drawn.block_pixels
    share = np.array([chosen[k] / units[k] for k in drawn.number.tolist()])
    return np.asarray(share * inside)


def _design(plan: Plan, drawn: Drawn, units: dict[int, int]) -> dict[str, Any]:
    import pandas

    codes = [one.code for one in plan.strata]
    none = np.array([code is None for code in codes])
    main = [int(((drawn.number == k) & ~drawn.reserve).sum()) for k in plan.numbers]
    spare = [int(((drawn.number == k) & drawn.reserve).sum()) for k in plan.numbers]
    return {
        "stratum": np.array(plan.numbers),
        "code": pandas.arrays.IntegerArray(np.array([c or 0 for c in codes], np.int32), none),
        "name": [one.name for one in plan.strata],
        "pixels": plan.pixels,
        "hectares": plan.hectares,
        "weight": plan.pixels / plan.pixels.sum(),
        "units": np.array([units[k] for k in plan.numbers]),
        "n": np.array(main),
        "reserve": np.array(spare),
        "expected": plan.expected,
    }
