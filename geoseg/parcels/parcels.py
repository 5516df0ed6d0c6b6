"""Read parcels from vector files or tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely

from geoseg.dataset.settings import SampleSettings
from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.legend import UNLABELLED, Legend, as_text, canonical
from geoseg.geo.vector import Features, Layer
from geoseg.labels.find import files_of
from geoseg.labels.shapes import LINE, MULTILINE, RING, finite, project
from geoseg.labels.values import Meaning, encoding_hint
from geoseg.outputs.counted import counted, first
from geoseg.parcels import points
from geoseg.parcels.columns import _Roles
from geoseg.received.spelling import once
from geoseg.series import dates

if TYPE_CHECKING:
    from geoseg.labels.settings import Labels

SHOWN = 5
"""Samples named in a message."""
_UNUSED = ("background", "width_m", "width_field", "area", "area_layer", "area_where")


@dataclass(frozen=True)
class Parcels:
    """Labelled geometries; all arrays have length N."""

    id: np.ndarray
    """Text, unique."""
    value: np.ndarray
    """What labels.field says; None where labels.name names the class of all."""
    geometry: np.ndarray
    """shapely polygons and points, none empty."""
    group: np.ndarray
    """Text."""
    column: np.ndarray
    """Text: value of the attribute that a split goes by; "" without one."""
    start: np.ndarray
    """First day of each one's period, datetime64[D]; NaT = the series says."""
    end: np.ndarray
    """Day after each one's period."""
    crs: str = ""
    paths: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    numbered: bool = False
    """Whether the ids are the file's own numbers of its features."""
    samples: SampleSettings = field(default_factory=SampleSettings)
    """What their attributes were taken for, and which of their pixels count."""

    def __len__(self) -> int:
        return len(self.id)

    def take(self, index: np.ndarray) -> Parcels:
        """The parcels of an index or a mask."""
        return replace(self, **{name: getattr(self, name)[index] for name in _ARRAYS})

    @property
    def named(self) -> str:
        """Their files."""
        return ", ".join(self.paths)

    @property
    def own_periods(self) -> bool:
        """Whether each sample says which time its label is for."""
        return bool((~np.isnat(self.start) | ~np.isnat(self.end)).any())


_ARRAYS = tuple(item.name for item in fields(Parcels))[:7]


def read_parcels(
    labels: Labels,
    samples: SampleSettings | None = None,
    *,
    column: str | None = None,
    prefix: str = "labels.",
) -> Parcels:
    """Read all parcels of the label files, in their order.

    column: attribute that a split goes by; `tile` needs none. prefix: how the names of the settings
    begin in messages.
    Raises: InputError with all faults: settings that parcels don't have, no such attribute,
    ids that stand twice, lines …
    """
    samples = samples or SampleSettings()
    faults = Faults()
    faults.attempt(_refuse, labels)
    paths = faults.attempt(_find, labels.path) or []
    read = []
    for path in paths:
        with faults.collect():
            by = points.read if path.lower().endswith(".csv") else _read_layer
            table, crs, notes = by(path, _Roles(labels, samples, column, prefix))
            read.append(_parcels(path, table, crs, notes))
    faults.raise_if_any()
    whole = _one(read if len(read) == 1 else [_of_file(parcels) for parcels in read])
    return replace(whole, samples=samples)


def codes_of(parcels: Parcels, labels: Labels, legend: Legend) -> tuple[np.ndarray, list[str]]:
    """Class codes (N,) uint8, UNLABELLED where the legend knows no class, and what is to be said.

    Raises: InputError if the legend doesn't know a value and labels.unknown=error.
    """
    where = parcels.named
    if labels.name is not None:
        code = legend.code_of(labels.name, "labels.name")
        return np.full(len(parcels), code, np.uint8), []
    meaning = Meaning(legend.meanings(), skip_unknown=labels.unknown == "unlabelled")
    codes, unknown = meaning.codes(parcels.value)
    said = [f"{where}: {meaning.describe(unknown, '×')}"] if unknown else []
    if unknown and not meaning.skip_unknown:
        raise InputError(*said[:-1], said[-1] + encoding_hint(unknown, meaning.lookup))
    if len(parcels) and (codes == UNLABELLED).all():
        raise InputError(f"{where}: the legend knows none of the values; check labels.field")
    return codes, said


def _refuse(labels: Labels) -> None:
    """Raises: InputError for settings that mean nothing for parcels."""
    faults = Faults()
    for name in _UNUSED:
        if getattr(labels, name) is not None:
            faults.add(f"labels.{name}={getattr(labels, name)}: not for parcels and points")
    if labels.match != "location":
        faults.add(f"labels.match={labels.match}: parcels are matched by location; leave it out")
    if labels.all_touched:
        faults.add("labels.all_touched: thin parcels get the pixels they touch by samples.tiny")
    if labels.ignore_border:
        faults.add("labels.ignore_border: set samples.buffer_m=<metres> to leave edges out")
    if labels.path is None:
        faults.add("labels: none given; set labels.path=<vector file with parcels, or CSV file>")
    faults.raise_if_any()


def _find(spec: Any) -> list[str]:
    """Files of parcels; of a folder the vector files, or where it has none, the CSV files."""
    if spec is None:
        return []
    found: list[str] = []
    for part in spec if isinstance(spec, (list, tuple)) else [spec]:
        text = str(part)
        if text.lower().endswith(raster.SUFFIXES) and not text.startswith("/vsi"):
            raise InputError(f"{text}: a raster; parcels and points come from vector or CSV files")
        found += files_of(text, (".csv",), "vector or CSV files")
    return once(found)


def _read_layer(path: str, roles: _Roles) -> tuple[dict[str, np.ndarray], str, list[str]]:
    """Columns by role and `geometry`, the CRS, and what is to be said."""
    labels = roles.labels
    if labels.field is None and labels.name is None:
        raise InputError(
            f"{path}: which class? Set labels.field=<attribute with the class>, or"
            " labels.name=<class of every geometry>"
        )
    options: dict[str, Any] = {
        "name": labels.layer,
        "where": labels.where,
        "encoding": labels.encoding,
        "prefix": roles.prefix,
    }
    chosen = roles.of(Layer(path, **options).fields)
    layer = Layer(path, **options, columns=tuple(chosen.values()))
    features = Features.joined(list(layer.scan(keep=0)))
    table = {
        role: column if role in ("start", "end") else column.astype(object)
        for role, name in chosen.items()
        for column in [features.columns[name]]
    }
    table["geometry"] = features.geometries
    notes = roles.said_of_periods(path, chosen)
    if "id" in chosen:
        return table, layer.crs, notes
    table["number"] = features.ids.astype(object)
    kind = "row, from 0" if layer.driver == "GeoParquet" else "feature id (FID)"
    said = f"{path}: no attribute id, so samples are called by their {kind}; samples.id=… names one"
    return table, layer.crs, [said, *notes]


def _parcels(path: str, table: dict[str, np.ndarray], crs: str, notes: list[str]) -> Parcels:
    """Check the columns of a file. Raises: InputError."""
    faults = Faults()
    geometry = table["geometry"]
    count = len(geometry)
    use = finite(geometry) & ~shapely.is_empty(geometry)
    lines = np.isin(shapely.get_type_id(geometry), (LINE, RING, MULTILINE)) & use
    if lines.any():
        faults.add(
            f"{path}: {lines.sum()} of {count} geometries are lines, which hold no pixel; give"
            " polygons or points, without the lines (prepare_series: labels.where)"
        )
    if not use.all():
        notes = [*notes, f"{path}: {(~use).sum()} of {count} geometries empty or broken: left out"]
    none = np.full(count, None, object)
    ids = table.get("id", table.get("number", none))
    if "id" in table and any(_is_null(value) for value in ids):
        lost = sum(map(_is_null, ids))
        faults.add(f"{path}: {lost} of {count} have no id; choose another attribute: samples.id=…")
    periods = {}
    for role in ("start", "end"):
        periods[role] = np.full(count, "NaT", "datetime64[D]")
        if role in table:
            with faults.collect():
                periods[role] = _days(path, table[role], f"samples.{role}")
    faults.raise_if_any()
    if "start" in table and "end" in table and (periods["end"] <= periods["start"]).any():
        place = int(np.flatnonzero(periods["end"] <= periods["start"])[0])
        raise InputError(
            f"{path}: row {place + 1}: its period ends on {periods['end'][place]}, before it begins"
            f" ({periods['start'][place]}); mend it, or set samples.start and samples.end"
        )
    group = [None if _is_null(value) else canonical(value) for value in table.get("group", none)]
    column = ["" if _is_null(value) else canonical(value) for value in table.get("column", none)]
    parcels = Parcels(
        id=np.array(["" if _is_null(v) else as_text(v) for v in ids], object),
        value=table.get("value", none),
        geometry=geometry,
        group=np.array(group, object),
        column=np.array(column, object),
        start=periods["start"],
        end=periods["end"],
        crs=crs,
        paths=(path,),
        notes=notes,
        numbered="number" in table,
    )
    return parcels.take(use)


def _one(read: list[Parcels]) -> Parcels:
    """All files as one, in the CRS of the first. Raises: InputError for ids that stand twice."""
    crs = read[0].crs
    everywhere = (-np.inf, -np.inf, np.inf, np.inf)
    parts = []
    metres = 1e-4 if pyproj.CRS.from_user_input(crs).is_geographic else 10.0
    for parcels in read:
        moved, index = project(parcels.geometry, parcels.crs, crs, pixel=metres, within=everywhere)
        parts.append(replace(parcels.take(index), geometry=moved))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS
    }
    paths = tuple(path for parcels in read for path in parcels.paths)
    notes = [note for parcels in read for note in parcels.notes]
    if not len(columns["id"]):
        raise InputError(
            f"{', '.join(paths)}: no geometry; check labels.where, or give files that hold some"
        )
    ids = columns["id"]
    twice = [(name, n) for name, n in Counter(ids.tolist()).most_common() if n > 1]
    if twice:
        some = first([f"{name} ({n} times)" for name, n in twice], SHOWN)
        raise InputError(
            f"{', '.join(paths)}: {counted(len(twice), 'id', 'stand')} more than once:"
            f" {some}; each parcel needs its own: mend them, or"
            " choose another attribute: samples.id=…"
        )
    columns["group"] = np.where(columns["group"] == None, ids, columns["group"])  # noqa: E711
    return replace(parts[0], **columns, crs=crs, paths=paths, notes=notes)


def _of_file(parcels: Parcels) -> Parcels:
    """Of several files, each with numbers of its own: named by file and number."""
    if not parcels.numbered:
        return parcels
    stem = Path(parcels.paths[0]).stem
    return replace(parcels, id=np.array([f"{stem}:{number}" for number in parcels.id], object))


def _days(path: str, values: np.ndarray, key: str) -> np.ndarray:
    """Values of any type as days, datetime64[D]. Raises: InputError."""
    if values.dtype.kind == "M":
        days = values.astype("datetime64[D]")
    else:
        days = np.array([_day(value) for value in values], "datetime64[D]")
    bad = np.flatnonzero(np.isnat(days))
    if len(bad):
        raise InputError(
            f"{path}: {len(bad)} of {len(days)} samples have no date where a period should be, the"
            f" first is {values[bad[0]]!r} (row {bad[0] + 1}); expected 2020-09-01; set {key}="
            "<attribute>, or rename this one"
        )
    return days


def _day(value: Any) -> np.datetime64:
    when = None if _is_null(value) else dates.parse(str(value).strip()[:10])
    return np.datetime64("NaT" if when is None else when.date(), "D")


def _is_null(value: Any) -> bool:
    return value is None or value != value or str(value) == ""
