"""Say which pixels of a map a sample is drawn from, and which stratum each lies in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from geoseg.assessment.sampling import confidence
from geoseg.assessment.sampling.confidence import Confidence
from geoseg.assessment.sampling.settings import CLASS, CLASS_CONFIDENCE, NONE, Sampling
from geoseg.dataset.tiles import TILES, Dataset
from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NO_DECISION, NODATA, UNLABELLED
from geoseg.geo.raster import Raster
from geoseg.labels.find import open_area
from geoseg.labels.source import LabelSource
from geoseg.labels.zones import Zones, is_zones
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.closing import Closing
from geoseg.outputs.counted import counted

SEARCHED = 256
"""Rows that are looked through at once for values and confidences."""
WIDEST = 1 << 16
"""Columns that are."""


@dataclass(frozen=True)
class Stratum:
    """A part of the map that gets points of its own."""

    name: str
    code: int | None = None
    """Of the class that the map has there; None = of several, or no decision."""
    sure: bool = True
    """Whether it is expected to be as right as its class is."""


Numbers = Callable[[np.ndarray, Window], np.ndarray]
"""Stratum numbers (h, w) of a window whose codes are given; 0 = in none."""


class Source(Protocol):
    """What a sample is drawn from: on disk a map, in tests anything."""

    grid: Grid
    strata: dict[int, Stratum]
    """By their number."""

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Stratum numbers (h, w), 0 = not part of it, and map codes (h, w) of a window.

        They may be one array, where each stratum is a class.
        """


@dataclass(frozen=True)
class Where:
    """What of a map is sampled, and what is known of it."""

    maps: str | None = None
    """Output folder of predict, for sample.strata=class_confidence."""
    area: Any = None
    """Vector file with the polygons within which points are drawn."""
    exclude: str | None = None
    """Data set whose train tiles are left out."""


@dataclass(frozen=True)
class Frame:
    """The sampling frame: a map, and what of it may be drawn."""

    map: ClassMap
    where: Where = Where()


class Population(Closing):
    """The pixels of a map that have a class, or no decision, within the area that counts."""

    def __init__(self, frame: Frame, sampling: Sampling) -> None:
        """Raises: InputError with all faults."""
        found, where = frame.map, frame.where
        self.map, self.grid = found, found.grid
        self.notes: list[str] = []
        self._file = Raster(found.path, nodata="none")
        self._confidence: Confidence | None = None
        self._other: Raster | None = None
        self._limits: list[tuple[LabelSource, bool]] = []
        self._known = np.zeros(256, bool)
        self._known[[NODATA, UNLABELLED, *found.legend.codes]] = True
        faults = Faults()
        faults.attempt(self._limit, where.area, where.exclude)
        self.strata: dict[int, Stratum] = {}
        self._numbers: Numbers | None = None
        self._halo = 0
        with faults.collect():
            self._numbers = self._ruled(sampling, where.maps)
        with faults.collect():
            if sampling.buffer:
                self._buffer(sampling)
        faults.raise_if_any()

    # Strata

    def _ruled(self, sampling: Sampling, maps: str | None) -> Numbers | None:
        """What numbers the strata; None = the code is the number."""
        legend = self.map.legend
        if sampling.strata == CLASS:
            self.strata = {c.code: Stratum(c.name, c.code) for c in legend.classes}
            self.strata[UNLABELLED] = Stratum(NO_DECISION, sure=False)
            return None
        if sampling.strata == NONE:
            self.strata = {1: Stratum("all")}
            return lambda codes, window: (codes != NODATA).view(np.uint8)
        if sampling.strata == CLASS_CONFIDENCE:
            return self._by_confidence(sampling.unsure, maps)
        if is_zones(sampling.strata):
            zones = Zones.open(sampling.strata, self.grid, key="sample.strata", apart=True)
            self.notes += zones.notes
            self.strata = {k: Stratum(name) for k, name in enumerate(zones.names, 1)}
            return lambda codes, window: zones.burn(window) * (codes != NODATA)
        return self._by_raster(sampling.strata)

    def _by_confidence(self, unsure: float, maps: str | None) -> Numbers:
        sure = self._confidence = Confidence(self.map, maps)
        legend = self.map.legend
        counts = {code: np.zeros(confidence.LEVELS, np.int64) for code in legend.codes}
        for window in self._windows():
            codes = self._codes(window)
            levels = sure.read(window)
            joint = np.bincount(
                codes.ravel().astype(np.intp) * confidence.LEVELS + levels.ravel(),
                minlength=256 * confidence.LEVELS,
            ).reshape(256, confidence.LEVELS)
            for code in counts:
                counts[code] += joint[code]
        cut = confidence.cuts(counts, unsure)
        first = np.zeros(256, np.uint16)
        highest = np.full(256, -1, np.int16)
        for place, c in enumerate(legend.classes):
            first[c.code] = 2 * place + 1
            if c.code in cut:
                highest[c.code] = cut[c.code]
                name = f"{c.name}, unsure"
                self.strata[2 * place + 2] = Stratum(name, c.code, sure=False)
            self.strata[2 * place + 1] = Stratum(c.name, c.code)
        first[UNLABELLED] = 2 * len(legend) + 1
        self.strata[2 * len(legend) + 1] = Stratum(NO_DECISION, sure=False)
        said = ", ".join(f"{c.name} {cut[c.code]} %" for c in legend.classes if c.code in cut)
        self.notes.append(f"unsure is a confidence up to: {said}")
        return lambda codes, window: first[codes] + (sure.read(window) <= highest[codes])

    def _by_raster(self, path: str) -> Numbers:
        if not Path(path).exists():
            raise InputError(
                f"sample.strata={path}: no such file; choose class, class_confidence or none, or"
                " give a raster, or zones as <vector file>:<attribute>"
            )
        facts = raster.info(path)
        if len(facts.bands) != 1 or np.dtype(facts.dtype).kind not in "ui":
            raise InputError(
                f"sample.strata={path}: {counted(len(facts.bands), 'band')} of {facts.dtype};"
                " expected one band of whole numbers"
            )
        file = self._other = Raster(path, grid=self.grid, resampling="nearest")
        values: set[int] = set()
        for window in self._windows():
            data, valid = file.read(window)
            values |= set(np.unique(data[0][valid & (self._codes(window) != NODATA)]).tolist())
            if len(values) > 1000:
                raise InputError(
                    f"sample.strata={path}: over 1000 values; expected strata, not a measurement"
                )
        if not values:
            raise InputError(
                f"sample.strata={path}: no pixel of it lies on a class of the map; is it of another"
                " place, or its CRS wrong?"
            )
        known = np.array(sorted(values))
        self.strata = {k: Stratum(str(v)) for k, v in enumerate(known.tolist(), 1)}

        def numbers(codes: np.ndarray, window: Window) -> np.ndarray:
            data, valid = file.read(window)
            place = np.searchsorted(known, data[0]).astype(np.uint16) + np.uint16(1)
            return place * (valid & (codes != NODATA))

        return numbers

    def _buffer(self, sampling: Sampling) -> None:
        codes = [self.map.legend.code_of(name, "sample.rare") for name in sampling.rare_names]
        number = max(self.strata) + 1 if self._numbers else _free(self.strata)
        names = ", ".join(sampling.rare_names)
        self.strata[number] = Stratum(f"within {sampling.buffer} px of {names}")
        inner, pixels = self._numbers, sampling.buffer
        self._halo = pixels

        def numbers(codes_: np.ndarray, window: Window) -> np.ndarray:
            found = codes_ if inner is None else inner(codes_, window)
            rare = np.isin(codes_, codes)
            return np.where(_grown(rare, pixels) & ~rare & (found > 0), number, found)

        self._numbers = numbers

    # Limits

    def _limit(self, area: Any, exclude: str | None) -> None:
        faults = Faults()
        if area is not None:
            with faults.collect():
                found = open_area(area, self.grid, key="area")
                self._limits.append((found, True))
                self.notes += found.notes
        if exclude is not None:
            with faults.collect():
                tiles = Dataset.load(exclude).folder / TILES
                where = "split = 'train'"
                self._limits.append(
                    (open_area(str(tiles), self.grid, key="exclude", where=where), False)
                )
        faults.raise_if_any()

    # Reading

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Stratum numbers (h, w), 0 = not part of it, and map codes (h, w) of a window.

        Raises: InputError if the map is damaged, or holds codes that its legend does not know.
        """
        wide = window.grow(self._halo)
        codes = self._codes(wide)
        numbers = codes if self._numbers is None else self._numbers(codes, wide)
        if self._halo:
            numbers, codes = numbers[window.within(wide)], codes[window.within(wide)]
        for source, inside in self._limits:
            burnt = source.burn(self.grid, window) == 1
            numbers = numbers * (burnt if inside else ~burnt)
        return numbers, codes

    def _codes(self, window: Window) -> np.ndarray:
        return self.map.plain(self._file.codes(window))

    def check(self, code: int) -> None:
        """Raises: InputError for a code that the legend does not know."""
        if not self._known[code]:
            legend = self.map.legend
            raise InputError(
                f"{self.map.path}: holds code {code}, which the legend"
                f" ({', '.join(f'{c.code} {c.name}' for c in legend.classes)}) does not know; set"
                " legend.path=<the legend of this map>"
            )

    def _windows(self) -> list[Window]:
        """The grid in parts that fit into memory."""
        return list(self.grid.window.blocks(SEARCHED, WIDEST))

    def close(self) -> None:
        self._file.close()
        for file in (self._confidence, self._other):
            if file is not None:
                file.close()


def _free(taken: dict[int, Stratum]) -> int:
    """A number that is no code. Raises: InputError if all are taken."""
    for number in range(254, 0, -1):
        if number not in taken:
            return number
    raise InputError("sample.buffer: the legend has 254 classes, so that no number is left for it")


def _grown(inside: np.ndarray, pixels: int) -> np.ndarray:
    """Where a pixel (h, w) is set within that many pixels along rows and columns, and diagonally.

    By doubling: in log2(pixels) steps.
    """
    for axis in (0, 1):
        grown, reach = inside, 0
        while reach < pixels:
            step = min(max(1, reach), pixels - reach)
            grown = _shifted(grown, step, axis) | grown | _shifted(grown, -step, axis)
            reach += step
        inside = grown
    return inside


def _shifted(inside: np.ndarray, by: int, axis: int) -> np.ndarray:
    moved = np.zeros_like(inside)
    to = [slice(None)] * 2
    source = [slice(None)] * 2
    to[axis] = slice(by, None) if by > 0 else slice(None, by)
    source[axis] = slice(None, -by) if by > 0 else slice(-by, None)
    moved[tuple(to)] = inside[tuple(source)]
    return moved
