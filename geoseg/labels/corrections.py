"""Read what a person corrected in a map: points, lines and polygons, each with a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.errors import Faults, InputError, shown
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend, as_text, composed
from geoseg.geo.rasterize import burn
from geoseg.geo.vector import Features, Layer, layer_names
from geoseg.labels.drawn import MOST, Drawn, Placed, placed
from geoseg.labels.shapes import MULTIPOLYGON, POLYGON, finite
from geoseg.outputs.counted import counted, few

CLASS, WIDTH = "class", "width_m"
"""Columns: name or code of the class; metres across a point or line that have it."""
NAMES_OF_CLASS = (CLASS, "code")
SHOWN = 5
"""Corrections that a message names."""


@dataclass
class Corrections:
    """What was drawn over a map, whatever its layers and CRSs."""

    path: str
    drawn: tuple[Drawn, ...]
    notes: list[str] = field(default_factory=list)
    """What a summary must say."""
    _placed: dict[Grid, Placed] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def read(cls, path: str | Path, legend: Legend) -> Corrections:
        """Of all layers of a vector file that have geometries; layers without features are fine.

        Raises: InputError with all faults: no column `class`, none chosen, one that the legend
        does not have, no CRS, nothing drawn.
        """
        faults = Faults()
        notes: list[str] = []
        names = layer_names(str(path))
        drawn = faults.each(lambda name: _read_layer(str(path), name, legend, notes), names)
        faults.raise_if_any()
        drawn = [part for part in drawn if len(part.codes)]
        if not drawn:
            raise InputError(
                *notes,
                f"{path}: holds no correction yet; draw points, lines or polygons in QGIS, and"
                " choose a class for each",
            )
        return cls(str(path), tuple(drawn), notes)

    def __len__(self) -> int:
        return sum(len(part.codes) for part in self.drawn)

    @property
    def names(self) -> list[str]:
        """What messages call them, by their number."""
        return [name for part in self.drawn for name in part.names]

    def on(self, grid: Grid) -> Placed:
        """The corrections on a grid; what lies beside it may be missing."""
        if grid not in self._placed:
            self._placed[grid] = placed(self.drawn, grid)
        return self._placed[grid]

    def burn(self, grid: Grid, window: Window | None = None) -> np.ndarray:
        """Codes (height, width) uint8 of a window of the grid, 0 where nothing was corrected.

        Lines lie over polygons, points over both; of the same kind the later one counts.
        """
        window = window or grid.window
        here = self.on(grid)
        near = np.sort(here.tree.query(shapely.box(*grid.bounds_of(window.grow(2)))))
        return burn(here.polygons[near], here.codes[near], grid, window=window)

    def within(self, grid: Grid) -> set[int]:
        """Numbers of the corrections that reach into a grid."""
        here = self.on(grid)
        return set(here.owners[here.tree.query(shapely.box(*grid.bounds))].tolist())

    def check(self, grids: Mapping[str, Grid], what: str = "scenes") -> list[str]:
        """Notes on those that lie outside all grids. Raises: InputError if all do."""
        inside: set[int] = set()
        for grid in grids.values():
            inside |= self.within(grid)
        names = self.names
        outside = [name for number, name in enumerate(names) if number not in inside]
        if not inside:
            own = extent.union(
                extent.bounds_in(_bounds(part.geometries), part.crs, extent.WGS84)
                for part in self.drawn
            )
            theirs = extent.union(
                extent.bounds_in(grid.bounds, grid.crs, extent.WGS84) for grid in grids.values()
            )
            all_ = f"all {len(names)} corrections lie" if len(names) > 1 else "its correction lies"
            raise InputError(
                f"{self.path}: {all_} outside the {what}:"
                f" corrections at {extent.degrees(own)}; {what} at {extent.degrees(theirs)}; is"
                " the CRS of either wrong?"
            )
        said = []
        if outside:
            said.append(
                f"{self.path}: {len(outside)} of {counted(len(names), 'correction')} lie outside"
                f" the {what}, and count nowhere here: {few(outside, SHOWN)}"
            )
        pairs = sorted(set().union(*(self.on(grid).contrary(grid) for grid in grids.values())))
        if pairs:
            told = few([f"{names[a]} and {names[b]}" for a, b in pairs], SHOWN)
            at_least = "at least " * (len(pairs) >= MOST)
            said.append(
                f"{self.path}: {at_least}{counted(len(pairs), 'pair')} of corrections give the same"
                f" pixels different classes, those drawn later count: {told}"
            )
        return said


def _read_layer(path: str, name: str, legend: Legend, notes: list[str]) -> Drawn:
    fields = Layer(path, name=name, prefix="corrections.").fields
    by_name = {own.lower(): own for own in reversed(fields)}
    own = next((by_name[wanted] for wanted in NAMES_OF_CLASS if wanted in by_name), None)
    if own is None:
        has = f"it has {', '.join(fields)}" if fields else "it has none"
        raise InputError(
            f"{path}, layer {name}: no column `{CLASS}` with the name or code of each correction's"
            f" class; {has}"
        )
    wanted = (own, *([by_name[WIDTH]] if WIDTH in by_name else []))
    layer = Layer(path, name=name, columns=wanted, prefix="corrections.")
    features = Features.joined(list(layer.scan()))
    geometries = features.geometries
    there = finite(geometries) & ~shapely.is_empty(geometries)
    if not there.all():
        empty = counted(int((~there).sum()), "feature")
        notes.append(f"{path}, layer {name}: {empty} without a geometry")
    features = features.take(there)
    flat = _flat(features.geometries)
    if flat.any():
        empty = counted(int(flat.sum()), "polygon")
        notes.append(f"{path}, layer {name}: {empty} without an area, left out")
        features = features.take(~flat)
    codes = _codes(features, own, legend, f"{path}, layer {name}")
    widths = np.full(len(codes), np.nan)
    if len(wanted) > 1:
        widths = _widths(features, wanted[1], f"{path}, layer {name}")
    return Drawn(name, layer.crs, features.geometries, codes, widths, features.ids)


def _flat(geometries: np.ndarray) -> np.ndarray:
    """Which geometries (N,) are polygons without an area (N,) bool."""
    flat = np.isin(shapely.get_type_id(geometries), (POLYGON, MULTIPOLYGON))
    # A figure of eight has none either until it is mended.
    flat[flat] = shapely.area(geometries[flat]) == 0
    flat[flat] = shapely.area(shapely.make_valid(geometries[flat])) == 0
    return flat


def _codes(features: Features, column: str, legend: Legend, where: str) -> np.ndarray:
    """Codes (N,) uint8 of the classes that were chosen. Raises: InputError."""
    meanings = {str(c.code): c.code for c in legend.classes}
    meanings |= {c.name: c.code for c in legend.classes if not c.name.isdecimal()}
    codes = np.zeros(len(features.ids), np.uint8)
    open_: list[str] = []
    unknown: dict[str, list[str]] = {}
    values = zip(features.columns[column].tolist(), features.ids.tolist(), strict=True)
    for place, (value, number) in enumerate(values):
        text = "" if value is None or value != value else composed(as_text(value))
        if not text:
            open_.append(str(number))
        elif text in meanings:
            codes[place] = meanings[text]
        else:
            unknown.setdefault(text, []).append(str(number))
    faults = Faults()
    if open_:
        faults.add(
            f"{where}: {len(open_)} of {len(codes)} corrections have no class (feature"
            f" {few(open_, SHOWN)}); choose one for each, or delete them"
        )
    if unknown:
        told = ", ".join(
            f"{shown(value)} (feature {few(numbers, SHOWN)})"
            for value, numbers in list(unknown.items())[:SHOWN]
        )
        known = ", ".join(f"{c.code} {c.name}" for c in legend.classes)
        faults.add(f"{where}: {column} {told} is not in the legend; it has {known}")
    faults.raise_if_any()
    return codes


def _widths(features: Features, column: str, where: str) -> np.ndarray:
    """Metres (N,), NaN where there are none. Raises: InputError for what is no width."""
    widths = np.full(len(features.ids), np.nan)
    bad: list[str] = []
    values = zip(features.columns[column].tolist(), features.ids.tolist(), strict=True)
    for place, (value, number) in enumerate(values):
        if value is None or value == "" or value != value:
            continue
        try:
            widths[place] = float(value)
        except (TypeError, ValueError):
            widths[place] = -1
        if not 0 < widths[place] < np.inf:
            bad.append(f"{number}: {shown(value)}")
    if bad:
        raise InputError(
            f"{where}: {column} must be metres above 0, or empty; got {few(bad, SHOWN)}"
        )
    return widths


def _bounds(geometries: np.ndarray) -> extent.Bounds:
    left, bottom, right, top = shapely.total_bounds(geometries).tolist()
    return left, bottom, right, top


def open_corrections(path: Any, legend: Legend) -> Corrections | None:
    """Those of a file; None if none is given. Raises: InputError."""
    return None if path is None else Corrections.read(str(path), legend)
