"""Read class rasters as labels on a scene's grid."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo import extent, raster
from geoseg.geo.extent import Bounds
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import UNLABELLED, canonical
from geoseg.geo.rasterize import resample
from geoseg.labels.values import Counts, Meaning
from geoseg.outputs.counted import few

SIDE = 2048
"""Pixels: side of the windows in which values are looked at."""
READ = 2**24
"""Pixels of the raster in memory at once."""
SHOWN = 5
"""Values named in a note."""
MEASURED = 1000
"""Unknown values from which a raster isn't taken for classes any more."""


class RasterLabels:
    """One raster with a class value per pixel."""

    def __init__(self, path: str, meaning: Meaning, *, near: list[Grid] | None = None) -> None:
        """Open a raster and check its values; with `near` only those beneath these grids.

        Raises: InputError with its faults.
        """
        facts = raster.info(path)
        if facts.grid is None:
            raise InputError(str(facts.problem))
        if len(facts.bands) != 1:
            raise InputError(
                f"{path}: {len(facts.bands)} bands; expected one band with a class per pixel"
            )
        self.path, self.grid, self.crs = str(path), facts.grid, facts.grid.crs
        self.notes: list[str] = []
        lookup = self._by_values(meaning.lookup, raster.value_names(facts))
        nodata_is_class = facts.nodata is not None and canonical(facts.nodata) in lookup
        self._zero_is_class = "0" in lookup
        lookup.setdefault("0", meaning.background or UNLABELLED)
        self._meaning = Meaning(lookup, skip_unknown=meaning.skip_unknown)
        self._nothing = meaning.background or UNLABELLED
        self._nodata = "none" if nodata_is_class else None
        self.bounds: Bounds | None = facts.grid.bounds
        if nodata_is_class:
            self.notes.append(
                f"{path}: declares {canonical(facts.nodata)} as nodata, which is a value of the"
                " legend: these pixels count as that class"
            )
        self._check(near)

    def _by_values(self, known: dict[str, int], names: dict[str, str]) -> dict[str, int]:
        """Canonical value of the raster → code. names: what it calls its values itself."""
        lookup = dict(known)
        if not (numbered := any(map(_is_number, known))):
            # A raster can't hold names: a legend without numbers means its own codes.
            lookup = {str(code): code for code in known.values()} | {"255": UNLABELLED}
        named = {value: known[name] for value, name in names.items() if name in known}
        others = [v for v, code in named.items() if lookup.get(v, code) != code]
        if others:
            some = few([f"{value} {names[value]}" for value in others], SHOWN)
            self.notes.append(
                f"{self.path}: calls its values {some}, which have other codes in the legend; they"
                + (" count as the legend's `values` say" if numbered else " count by these names")
            )
        if numbered:
            return lookup
        if others:  # then what has a name that the legend lacks is no class of it either
            lookup = {v: code for v, code in lookup.items() if v == "255" or v not in names}
        return lookup | named

    def _open(self) -> raster.Raster:
        # For each read anew: there may be more label files than a process can hold open.
        return raster.Raster(self.path, nodata=self._nodata)

    def _check(self, near: list[Grid] | None) -> None:
        places = None
        if near is not None:
            places = [place for grid in near for _, place in self._beneath(grid, grid.window)]
        unknown: Counts = Counter()
        zeros = empty = 0
        with self._open() as opened:
            for window in self.grid.window.blocks(SIDE, SIDE):
                counts = _inside(window, places)
                if not counts.any():
                    continue
                data, valid = opened.read(window)
                zeros += int(((data[0] == 0) & valid & counts).sum())
                empty += int((~valid & counts).sum())
                unknown += self._meaning.codes(data[0][valid & counts])[1]
                if len(unknown) > MEASURED:
                    some = ", ".join(str(value) for value, _ in unknown.most_common(3))
                    raise InputError(
                        f"{self.path}: over {MEASURED} values that the legend does not know"
                        f" ({some} …); expected a class per pixel, not a measurement"
                    )
        if zeros and empty and self._nothing != UNLABELLED and not self._zero_is_class:
            self.notes.append(
                f"{self.path}: pixels of 0 ({zeros}) and those without data ({empty}) both count"
                " as labels.background; if nothing is known of the latter, give them a value that"
                " the legend does not know, undeclared, and set labels.unknown=unlabelled"
            )
        if unknown:
            text = f"{self.path}: {self._meaning.describe(unknown, 'px')}"
            if not self._meaning.skip_unknown:
                raise InputError(text)
            self.notes.append(text)

    def codes(self, grid: Grid, window: Window) -> np.ndarray:
        """Codes on a window of a grid: (height, width) uint8, 0 outside the raster.

        By mode where the raster is finer than the grid, by nearest where it isn't.
        """
        places = self._beneath(grid, window)
        if window.area > 1 and sum(beneath.area for _, beneath in places) > READ:
            axis = int(window.width > window.height)
            return np.concatenate([self.codes(grid, half) for half in _halves(window)], axis=axis)
        found = np.zeros((window.height, window.width), np.uint8)
        for by, beneath in places:
            part = self._read(grid, window, beneath, by=by)
            np.copyto(found, part, where=found == 0)
        return found

    def _read(self, grid: Grid, window: Window, beneath: Window, *, by: float) -> np.ndarray:
        """Codes (height, width) of a window, by the part of the raster that is beneath it.

        by: how far east of the grid the raster counts the same longitudes.
        """
        with self._open() as opened:
            data, valid = opened.read(beneath)
        codes, _ = self._meaning.codes(data[0])
        codes[~valid] = self._nothing
        finer = self.grid.pixel_size_near(grid) < 0.99 * grid.pixel_size_m
        source = self.grid.crop(beneath)
        if by:
            moved = Affine.translation(-by, 0) @ source.transform
            source = replace(source, transform=moved)
        return resample(codes, source, grid, window=window, mode=finer)

    def _beneath(self, grid: Grid, window: Window) -> list[tuple[float, Window]]:
        """The parts of the raster that a window of a grid may need; none where its CRS ends.

        Each with how far east of the grid the raster counts the same longitudes.
        """
        outer = grid.bounds_of(window.grow(2))
        found = []
        for side in extent.sides_in(outer, grid.crs, self.crs):
            for by, box in extent.turned(extent.widen(side, 0.01), self.crs):
                part = self.grid.window_of(box).grow(2).intersect(self.grid.window)
                if part is not None:
                    found.append((by, part))
        return found

    def overlaps(self, grid: Grid) -> bool:
        """Whether the extents of the raster and of a scene have an area in common."""
        sides = extent.sides_in(grid.bounds, grid.crs, self.crs)
        boxes = [box for side in sides for _, box in extent.turned(side, self.crs)]
        return any(extent.cross(box, self.bounds) for box in boxes)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _inside(window: Window, places: list[Window] | None) -> np.ndarray:
    """Which pixels of a window lie in any of the places: (height, width) bool; None = all do."""
    inside = np.full((window.height, window.width), places is None)
    for place in places or ():
        if common := place.intersect(window):
            inside[common.within(window)] = True
    return inside


def _halves(window: Window) -> tuple[Window, Window]:
    """A window cut in two across its longer side."""
    top, left, height, width = window.top, window.left, window.height, window.width
    if width > height:
        half = width // 2
        return Window(top, left, height, half), Window(top, left + half, height, width - half)
    half = height // 2
    return Window(top, left, half, width), Window(top + half, left, height - half, width)
