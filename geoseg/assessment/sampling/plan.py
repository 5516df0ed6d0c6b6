"""Plan a sample: its size, and what each way of allocation would give to each stratum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geoseg.assessment.sampling import allocation
from geoseg.assessment.sampling.population import Stratum
from geoseg.assessment.sampling.settings import Sampling
from geoseg.errors import Faults, InputError
from geoseg.geo.legend import Legend
from geoseg.outputs.counted import counted, decimals, spaced
from geoseg.outputs.summary import Summary

USUAL = 0.8
"""Accuracy of classes that nobody said anything of."""
UNSURE = 0.5
"""Expected accuracy of an unsure part, and of what has no class: the most points for it."""
OWN = "own"
"""Allocation that the user gives, by stratum."""
FEW = 30
"""Points of a stratum below which an interval may be too narrow."""


@dataclass(frozen=True)
class Plan:
    """H strata and their points."""

    numbers: tuple[int, ...]
    strata: tuple[Stratum, ...]
    pixels: np.ndarray
    """(H,)"""
    hectares: np.ndarray
    """(H,)"""
    expected: np.ndarray
    """(H,) accuracy."""
    size: int
    ways: dict[str, np.ndarray]
    """Allocation → points (H,), whole numbers."""
    way: str
    """The chosen one."""
    minimum: int
    """Points of a rare stratum, where the way is balanced."""
    double: float
    """Share of the points that a second person interprets, too."""

    @classmethod
    def of(
        cls,
        strata: dict[int, Stratum],
        measures: dict[int, tuple[int, float]],
        sampling: Sampling,
        legend: Legend,
        *,
        most: dict[int, int] | None = None,
    ) -> Plan:
        """measures: number of a stratum → its pixels and hectares. most: number → points that it
        can take; None = its pixels.

        Raises: InputError with what was set of strata or classes that there are none of.
        """
        numbers = tuple(sorted(measures))
        found = tuple(strata[k] for k in numbers)
        pixels = np.array([measures[k][0] for k in numbers])
        area = np.array([measures[k][1] for k in numbers])
        _check(found, sampling, legend)
        weights = pixels / pixels.sum()
        expected = np.array([_accuracy(one, sampling, legend) for one in found])
        size = sampling.size or _size(found, weights, expected, int(pixels.sum()), sampling, legend)
        made = allocation.allocations(weights, expected, size, sampling.minimum)
        way = str(sampling.allocation)
        if isinstance(sampling.allocation, dict):
            way = OWN
            made[way] = _own(found, pixels, size, sampling.allocation)
        room = pixels if most is None else np.minimum(pixels, [most[k] for k in numbers])
        ways = {name: allocation.rounded(points, room) for name, points in made.items()}
        return cls(
            numbers,
            found,
            pixels,
            area,
            expected,
            size,
            ways,
            way,
            sampling.minimum,
            sampling.double,
        )

    @property
    def points(self) -> np.ndarray:
        """(H,) of the chosen allocation."""
        return self.ways[self.way]

    def se(self, way: str) -> float:
        """Standard error of the overall accuracy that an allocation is expected to give."""
        weights = self.pixels / self.pixels.sum()
        return allocation.expected_se(weights, self.expected, self.ways[way])

    def describe(self, summary: Summary) -> None:
        """Add the table to choose from."""
        weights = self.pixels / self.pixels.sum()
        whole = float(self.hectares.sum())
        digits = decimals(whole)
        names = [f"[{way}]" if way == self.way else way for way in self.ways]
        rows = [
            [one.name, spaced(area, digits), f"{100 * w:.2f} %", f"{p:.2f}"]
            + [int(self.ways[way][i]) for way in self.ways]
            for i, (one, area, w, p) in enumerate(
                zip(self.strata, self.hectares, weights, self.expected, strict=True)
            )
        ]
        sums = [int(self.ways[way].sum()) for way in self.ways]
        rows.append(["all", spaced(whole, digits), "100.00 %", "", *sums])
        errors = [f"{self.se(way):.4f}" for way in self.ways]
        rows.append(["expected standard error of the overall accuracy", "", "", "", *errors])
        header = ["stratum", "ha", "share", "expected", *names]
        summary.table("points by stratum and allocation ([ ] = drawn)", header, rows)
        summary.notes(self._said_of_size())

    def _said_of_size(self) -> list[str]:
        """What is to be said where strata take more points, or fewer, than were asked for."""
        total = int(self.points.sum())
        if self.way == OWN or total == self.size:
            return []
        least = f"sample.minimum={self.minimum}" if self.way == "balanced" else allocation.LEAST
        why = "the strata hold no more" if total < self.size else f"each stratum gets {least}"
        return [f"{counted(total, 'point')} where {self.size} are asked for: {why}"]


def _check(strata: tuple[Stratum, ...], sampling: Sampling, legend: Legend) -> None:
    """Raises: InputError for names that are no stratum or class, or of which there is no pixel."""
    faults = Faults()
    present = {one.name for one in strata}
    for key in ("expected_accuracy", "expected_omission", "allocation"):
        given = getattr(sampling, key)
        for name in given if isinstance(given, dict) else ():
            if name not in present and not (key == "expected_accuracy" and name in legend.names):
                faults.add(
                    f"sample.{key}: {name!r} is no stratum of the map; it has"
                    f" {', '.join(sorted(present))}"
                )
    codes = {one.code for one in strata}
    wanted = [("sample.rare", name) for name in sampling.rare_names]
    if sampling.target_class is not None:
        wanted.append(("sample.target_class", sampling.target_class))
    for key, name in wanted:
        with faults.collect():
            try:
                code = legend.code_of(name)
            except InputError as error:
                raise InputError(f"{key}={name}: {error}") from None
            if code not in codes:
                faults.add(f"{key}={name}: the map has no pixel of it, where it is sampled")
    faults.raise_if_any()


def _accuracy(one: Stratum, sampling: Sampling, legend: Legend) -> float:
    given = sampling.expected_accuracy
    if isinstance(given, dict):
        name = {c.code: c.name for c in legend.classes}.get(one.code or 0, one.name)
        if one.name in given:
            return float(given[one.name])
        if one.sure and name in given:
            return float(given[name])
    if not one.sure:
        return UNSURE
    return USUAL if isinstance(given, dict) else float(given)


def _size(
    strata: tuple[Stratum, ...],
    weights: np.ndarray,
    expected: np.ndarray,
    pixels: int,
    sampling: Sampling,
    legend: Legend,
) -> int:
    """Points for the target standard errors: of both, the more."""
    sizes = [allocation.size_for(weights, expected, sampling.target_se, pixels)]
    if sampling.target_class is not None and sampling.target_class_se is not None:
        code = legend.code_of(sampling.target_class)
        omitted = sampling.expected_omission
        shares = [
            accuracy
            if one.code == code
            else omitted.get(one.name, 0.01)
            if isinstance(omitted, dict)
            else omitted
            for one, accuracy in zip(strata, expected, strict=True)
        ]
        se = sampling.target_class_se
        sizes.append(allocation.size_for(weights, np.array(shares), se, pixels))
    return max(4, math.ceil(max(sizes) - 1e-9))


def _own(
    strata: tuple[Stratum, ...], pixels: np.ndarray, size: int, given: dict[str, int]
) -> np.ndarray:
    """Points that the user gives to some strata; the others share the rest by their area."""
    points = np.array([float(given.get(one.name, 0)) for one in strata])
    open_ = points == 0
    points = np.minimum(points, pixels)
    if open_.any():
        rest = allocation.proportional(pixels[open_], max(0.0, size - points.sum()))
        points[open_] = allocation.within(rest, pixels[open_])
    return points
