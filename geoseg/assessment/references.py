"""Read what interpreters found at the points of a sample."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.assessment.sampling.sample_file import POINTS, SampleFile, centres
from geoseg.errors import Faults, InputError, shown
from geoseg.geo.grid import Window
from geoseg.geo.legend import IGNORED, Legend, canonical
from geoseg.geo.vector import Layer
from geoseg.labels.shapes import POINT, explode, project
from geoseg.labels.source import LabelSource
from geoseg.outputs.counted import counted, few

NAMED = 8
"""Points named in a message."""
OPTIONAL = ("reference2", "sure")
EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
SIDE = 256
"""Of the squares in which points share what is read."""


@dataclass
class References:
    """Classes at the n points of a sample, in the order of its key."""

    index: np.ndarray
    """(n,) of the class, -1 where nobody looked."""
    second: np.ndarray
    """(n,) by the second person."""
    sure: np.ndarray
    """(n,) 1 sure, 2 fairly, 3 unsure; 0 = nobody said."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Where they come from, for JSON and people."""
    warnings: list[str] = field(default_factory=list)

    @property
    def done(self) -> np.ndarray:
        """(n,) which points are interpreted."""
        return np.asarray(self.index >= 0)


def read_references(sample: SampleFile, points: str | None = None) -> References:
    """The filled points, in any order and with any further columns; some may be missing.

    points: file with them, where they came back in another one: a vector file or CSV with `id`
    and `reference`. Raises: InputError if it isn't of this sample, or holds unknown classes.
    """
    path = points or sample.path
    columns, places, crs = _read(path, sample)
    faults = Faults()
    ids = _numbers(columns["id"], path, faults)
    faults.raise_if_any()
    repeated = [i for i, count in Counter(ids.tolist()).items() if count > 1 and i >= 0]
    if repeated:
        raise InputError(
            f"{path}: id {_few(repeated)} appears more than once; each point may be there once"
        )
    known = {int(i): place for place, i in enumerate(sample.key.id)}
    at = np.array([known.get(i, -1) for i in ids.tolist()], int)
    warnings = []
    strange = ids[at < 0].tolist()
    if strange:
        known_by = _few([i for i in strange if i >= 0]) or "none"
        warnings.append(
            f"{path}: {counted(len(strange), 'point')} that the sample did not draw (id"
            f" {known_by}) left out: a point that somebody chose is no random one"
        )
    if (at < 0).all():
        raise InputError(f"{path}: none of its points is of {sample.path}; give those drawn there")
    none = np.full(len(sample.key.id), -1)
    made = References(none, none.copy(), np.zeros(len(none), int))
    for name, values in (("reference", made.index), ("reference2", made.second)):
        if name in columns:
            codes = _classes(columns[name], ids, sample.legend, f"{path}, {name}", faults)
            values[at[at >= 0]] = codes[at >= 0]
    if "sure" in columns:
        given = [_sure(value) for value in columns["sure"]]
        made.sure[at[at >= 0]] = np.array(given)[at >= 0]
    faults.raise_if_any()
    if places is not None:
        warnings += _moved(sample, at, places, str(crs), path)
    made.settings = {"points": path}
    made.warnings = warnings
    return made


def from_labels(sample: SampleFile, labels: LabelSource, settings: dict[str, Any]) -> References:
    """The class of a label layer or raster at each point; none where it says nothing."""
    scene = Path(str(sample.about["map"])).stem
    key = sample.key
    codes = at_points(
        lambda window: labels.burn(sample.grid, window, scene=scene), key.row, key.column
    )
    index = sample.legend.encode(codes.astype(np.uint8)).astype(int)
    index[index == IGNORED] = -1
    none = np.full(len(index), -1)
    made = References(index, none, np.zeros(len(index), int), {"labels": settings}, labels.notes)
    empty = int((index < 0).sum())
    if empty:
        made.warnings.append(
            f"labels say nothing at {empty} of {len(index)} points: what is estimated holds for the"
            " labelled part, unless that was chosen at random"
        )
    return made


def at_points(
    read: Callable[[Window], np.ndarray], rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Values (n,) at pixels, of what gives arrays of windows: those nearby are read together."""
    rows, columns = np.asarray(rows), np.asarray(columns)
    found: np.ndarray = np.zeros(len(rows), np.int64)
    _, group = np.unique(
        np.stack([rows // SIDE, columns // SIDE], axis=1), axis=0, return_inverse=True
    )
    for number in range(int(group.max()) + 1 if len(rows) else 0):
        here = np.flatnonzero(group.ravel() == number)
        top, left = int(rows[here].min()), int(columns[here].min())
        height = int(rows[here].max()) - top + 1
        width = int(columns[here].max()) - left + 1
        values = read(Window(top, left, height, width))
        found[here] = values[rows[here] - top, columns[here] - left]
    return found


def _read(
    path: str, sample: SampleFile
) -> tuple[dict[str, np.ndarray], np.ndarray | None, str | None]:
    """Columns of the points, their geometries, and the CRS of these. Raises: InputError."""
    if path.lower().endswith(".csv"):
        return _read_csv(path), None, None
    if path.lower().endswith(SHEETS):
        raise InputError(f"{path}: a spreadsheet; save it as CSV in UTF-8, and give that")
    name = POINTS if path.lower().endswith((".gpkg", ".sqlite")) else None
    try:
        fields = Layer(path, name=name, prefix="points.").fields
    except InputError:
        if path == sample.path:
            raise
        name = None
        fields = Layer(path, prefix="points.").fields
    wanted = ("id", "reference", *(column for column in OPTIONAL if column in fields))
    layer = Layer(path, name=name, columns=wanted, prefix="points.")
    parts = list(layer.scan())
    columns = {
        column: np.concatenate([np.asarray(part.columns[column], object) for part in parts])
        for column in wanted
    }
    return columns, np.concatenate([part.geometries for part in parts]), layer.crs


def _read_csv(path: str) -> dict[str, np.ndarray]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        mark = next((mark for mark in ";\t" if mark in first), ",")
        head, *lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark)) or [[]]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: its text is not UTF-8 (byte {error.start}); save it anew, in spreadsheets as"
            ' "CSV UTF-8"'
        ) from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: can't be read as CSV ({error})") from None
    fields = [name.strip() for name in head]
    missing = [name for name in ("id", "reference") if name not in fields]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(fields) or 'none'}"
        )
    names = ("id", "reference", *(name for name in OPTIONAL if name in fields))
    places = {name: fields.index(name) for name in names}
    ragged = [number for number, line in enumerate(lines, 2) if line and len(line) != len(fields)]
    if ragged:
        raise InputError(
            f"{path}: row {ragged[0]} does not have {len(fields)} columns, as the first one has;"
            " put quotes around texts with separators in them"
        )
    full = [line for line in lines if line]
    return {name: np.array([line[at] for line in full], object) for name, at in places.items()}


def _numbers(values: np.ndarray, path: str, faults: Faults) -> np.ndarray:
    """Ids, -1 where there is none."""
    found = np.full(len(values), -1, np.int64)
    for place, value in enumerate(values.tolist()):
        if _empty(value):
            continue
        try:
            found[place] = int(canonical(value))
        except ValueError:
            faults.add(f"{path}: id {shown(value)} is no whole number")
            break
    return found


def _classes(
    values: np.ndarray, ids: np.ndarray, legend: Legend, source: str, faults: Faults
) -> np.ndarray:
    """Indices of classes given by code or name, -1 where there is none."""
    names = {canonical(c.name): i for i, c in enumerate(legend.classes)}
    folded = {name.casefold(): i for name, i in names.items()}
    codes = {str(c.code): i for i, c in enumerate(legend.classes)}
    found = np.full(len(values), -1)
    unknown: dict[str, list[int]] = {}
    for place, value in enumerate(values.tolist()):
        if _empty(value):
            continue
        text = canonical(value)
        index = codes.get(text, names.get(text, folded.get(text.casefold(), -1)))
        found[place] = index
        if index < 0:
            unknown.setdefault(text, []).append(int(ids[place]))
    for text, where in unknown.items():
        faults.add(
            f"{source}: {shown(text)} at {len(where)} point{'s' * (len(where) > 1)} (id"
            f" {_few(where)}) is neither code nor name of a class; the legend has"
            f" {', '.join(f'{c.code} {c.name}' for c in legend.classes)}. Leave empty what can't be"
            " interpreted"
        )
    return found


def _empty(value: Any) -> bool:
    return value is None or value != value or str(value).strip() == ""


def _sure(value: Any) -> int:
    text = "" if _empty(value) else canonical(value)
    return int(text) if text in ("1", "2", "3") else 0


def _moved(
    sample: SampleFile, at: np.ndarray, places: np.ndarray, crs: str, path: str
) -> list[str]:
    """What is to be said of points that no longer lie in the pixel that was drawn."""
    drawn = at >= 0
    pixel = min(sample.grid.resolution)
    points, index = explode(places[drawn])  # some programs know multipoints only
    of = at[drawn][index]
    points, index = project(points, crs, sample.grid.crs, pixel=pixel, within=EVERYWHERE)
    kinds = shapely.get_type_id(points) == POINT
    points, of = points[kinds], of[index[kinds]]
    x, y = centres(sample.grid, sample.key.row[of], sample.key.column[of])
    height, width = sample.grid.resolution
    off = np.maximum(
        np.abs(shapely.get_x(points) - x) / width, np.abs(shapely.get_y(points) - y) / height
    )
    moved = sorted(set(sample.key.id[of[off > 0.6]].tolist()))
    if not moved:
        return []
    return [
        f"{path}: {counted(len(moved), 'point')} (id {_few(moved)}) moved out of the pixel that was"
        " drawn; what is said there counts for that pixel: look at it there"
    ]


def _few(numbers: list[int]) -> str:
    return few(sorted(numbers), NAMED)
