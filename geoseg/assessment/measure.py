"""Measure what a map, zones or labels hold where a sample was drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.assessment.sampling.count import Lattice
from geoseg.assessment.sampling.population import Frame, Population, Where
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.assessment.sampling.settings import Sampling
from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.stamp import is_whole

Read = Callable[[Window], np.ndarray]
"""Numbers (h, w) of a window."""
VALUES = 256


@dataclass(frozen=True)
class Measured:
    """Hectares by number."""

    zones: dict[int, float]
    """Of each zone; 0 = outside all."""
    values: dict[str, dict[int, float]]
    """What → code → hectares."""
    by_zone: dict[tuple[int, int], float]
    """Zone and map code → hectares."""


def reopened(sample: SampleFile) -> Population:
    """The pixels that a sample was drawn from. Raises: InputError if files are gone or changed."""
    found = ClassMap.read(str(sample.about["map"]), sample.legend)
    if not is_whole(Path(found.path), sample.about["map_stamp"]):
        raise InputError(
            f"{found.path}: is another map than when {sample.path} was drawn; put that one back (a"
            " new map of the same ground is assessed by map=<its file>)"
        )
    sampling = Sampling(**sample.about["sample"])
    return Population(Frame(found, Where(**sample.about["where"])), sampling)


def measure(
    population: Population, readers: Mapping[str, Read], *, zones: Read | None = None
) -> Measured:
    """Areas on the ground of what readers give, within the population, in one pass over the map.

    readers: what → codes of a window; `map` is of which the zones are measured, too, and by
    default the map itself.
    """
    lattice = Lattice.of(population.grid)
    areas = lattice.areas()
    sums: dict[str, dict[int, float]] = {name: {} for name in ("map", *readers)}
    by_zone: dict[tuple[int, int], float] = {}
    for row, window in lattice.strips():
        numbers, own = population.read(window)
        inside = numbers > 0
        given = {"map": own} | {name: read(window) for name, read in readers.items()}
        zone = zones(window).astype(np.int64) if zones else np.zeros(own.shape, np.int64)
        for column in range(lattice.columns):
            part = np.s_[:, column * lattice.width : (column + 1) * lattice.width]
            here, hectare = inside[part], areas[row, column]
            for name, values in given.items():
                _add(sums[name], values[part][here].astype(np.int64), hectare)
            joint = zone[part][here] * VALUES + given["map"][part][here]
            found: dict[int, float] = {}
            _add(found, joint, hectare)
            for both, area in found.items():
                key = divmod(both, VALUES)
                by_zone[key] = by_zone.get(key, 0.0) + area
    totals: dict[int, float] = {}
    for (number, _), area in by_zone.items():
        totals[number] = totals.get(number, 0.0) + area
    return Measured(totals, sums, by_zone)


def _add(sums: dict[int, float], values: np.ndarray, hectare: float) -> None:
    if not values.size:
        return
    low = int(values.min())
    if int(values.max()) - low < VALUES:
        counts = np.bincount(values - low)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = np.unique(values - low, return_counts=True)
    for place, pixels in zip(found.tolist(), counts.tolist(), strict=True):
        sums[place + low] = sums.get(place + low, 0.0) + pixels * hectare
