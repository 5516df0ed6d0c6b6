"""Estimate shares and accuracies from a stratified random sample, with their standard errors.

One estimator for all: the ratio of two totals, each estimated by strata (Stehman 2014, Int. J.
Remote Sensing 35:4923; Cochran 1977, 6.11). Where strata are the map's classes and pixels have one
size it is that of Olofsson et al. (2014, Remote Sens. Environ. 148:42).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Strata:
    """The strata that were sampled."""

    units: np.ndarray
    """(H,) how many units there are in each: pixels, or blocks of a cluster sample."""
    corrected: bool = True
    """Whether the variance has the finite-population factor 1 - n/N; not for blocks of which only
    some pixels were looked at: without it, the variance between blocks covers that within them."""

    @property
    def weights(self) -> np.ndarray:
        """(H,) share of the units."""
        return np.asarray(self.units / self.units.sum())


@dataclass(frozen=True)
class Observations:
    """What was seen at n points."""

    stratum: np.ndarray
    """(n,) place in the strata."""
    mapped: np.ndarray
    """(n,) index of the class in the map, -1 where it has none."""
    reference: np.ndarray
    """(n,) index of the class by the reference."""
    area: np.ndarray
    """(n,) area of the pixel, in any unit."""
    unit: np.ndarray
    """(n,) which unit each point lies in: its own number, or that of its block."""
    pixels: np.ndarray
    """(n,) pixels of the unit that a point stands for: 1, or pixels of the block / its points."""

    def __len__(self) -> int:
        return len(self.stratum)

    @classmethod
    def of_pixels(
        cls,
        stratum: Sequence[int] | np.ndarray,
        mapped: Sequence[int] | np.ndarray,
        reference: Sequence[int] | np.ndarray,
        *,
        area: np.ndarray | None = None,
    ) -> Observations:
        """Observations whose units are single pixels. area: None = all alike."""
        count = len(stratum)
        return cls(
            np.asarray(stratum, int),
            np.asarray(mapped, int),
            np.asarray(reference, int),
            np.ones(count) if area is None else np.asarray(area, float),
            np.arange(count),
            np.ones(count),
        )


@dataclass(frozen=True)
class Estimate:
    """A share, and how sure it is. NaN where nothing was seen that it is a share of."""

    value: float
    se: float
    """Standard error."""
    n: float
    """Effective number of observations in the denominator (Kish)."""


class Sample:
    """Observations and the strata that they were drawn from.

    Raises: ValueError for a stratum without variance: of several units with one or none seen.
    """

    def __init__(self, strata: Strata, observations: Observations) -> None:
        self.strata, self.observations = strata, observations
        _, first, inverse = np.unique(observations.unit, return_index=True, return_inverse=True)
        self._unit = inverse.ravel()
        self._of = observations.stratum[first]
        self.seen = np.bincount(self._of, minlength=len(strata.units))
        """(H,) units seen in each stratum."""
        poor = (self.seen < 2) & (self.seen < strata.units)
        if poor.any():
            raise ValueError(f"no variance in strata {np.flatnonzero(poor).tolist()}")

    def ratio(self, y: np.ndarray, x: np.ndarray) -> Estimate:
        """The total of y over that of x, each (n,): a share of the pixels, or of their area."""
        given = self.observations
        stands = given.pixels * given.area
        units = [
            np.bincount(self._unit, weights=stands * values, minlength=len(self._of))
            for values in (np.asarray(y, float), np.asarray(x, float))
        ]
        weight = self.strata.units / np.maximum(self.seen, 1)
        expansion = weight[self._of]
        top, bottom = (float(expansion @ values) for values in units)
        if bottom <= 0:
            return Estimate(np.nan, np.nan, 0.0)
        value = top / bottom
        residual = units[0] - value * units[1]
        variance = self._variance(residual) / bottom**2
        stake = expansion * units[1]
        return Estimate(value, float(np.sqrt(variance)), float(stake.sum() ** 2 / (stake @ stake)))

    def total(self, y: np.ndarray) -> Estimate:
        """The total of y (n,) over all units, in units of the area."""
        given = self.observations
        values = given.pixels * given.area * np.asarray(y, float)
        units = np.bincount(self._unit, weights=values, minlength=len(self._of))
        expansion = (self.strata.units / np.maximum(self.seen, 1))[self._of]
        variance = self._variance(units)
        return Estimate(float(expansion @ units), float(np.sqrt(variance)), float(len(units)))

    def _variance(self, values: np.ndarray) -> float:
        """Of the expanded total of values (U,) of units: Cochran 1977, 5.12."""
        size, n = self.strata.units.astype(float), np.maximum(self.seen, 1)
        means = np.bincount(self._of, weights=values, minlength=len(size)) / n
        squares = np.bincount(
            self._of, weights=(values - means[self._of]) ** 2, minlength=len(size)
        )
        spread = squares / np.maximum(n - 1, 1)
        left = 1 - n / size if self.strata.corrected else 1.0
        return float((size**2 * left * spread / n).sum())

    def difference(self, index: int, mapped: float, where: np.ndarray | None = None) -> Estimate:
        """Share of a class, with the map as auxiliary: its share there and what the sample adds.

        mapped: share of the class in the whole map. Less variance than `share` where the strata
        are not the map's classes (Cochran 1977, 7.1 with a slope of 1).
        """
        given = self.observations
        inside = np.ones(len(given), bool) if where is None else where
        gained = 1.0 * (given.reference == index) - (given.mapped == index)
        found = self.ratio(gained * inside, inside)
        return Estimate(mapped + found.value, found.se, found.n)

    def share(self, index: int, where: np.ndarray | None = None) -> Estimate:
        """Share of the area that is of a class by the reference.

        where: (n,) which points lie in the part that is asked for; None = all.
        """
        inside = self._inside(where)
        return self.ratio((self.observations.reference == index) & inside, inside)

    def overall(self, where: np.ndarray | None = None) -> Estimate:
        """Overall accuracy: share of what has a class in the map that has the right one."""
        given, inside = self.observations, self._inside(where)
        decided = (given.mapped >= 0) & inside
        return self.ratio((given.mapped == given.reference) & inside, decided)

    def users(self, index: int, where: np.ndarray | None = None) -> Estimate:
        """User's accuracy: share of what the map calls a class that is of it."""
        inside = self._inside(where)
        return self.ratio(self._hits(index) & inside, (self.observations.mapped == index) & inside)

    def producers(self, index: int, where: np.ndarray | None = None) -> Estimate:
        """Producer's accuracy: share of a class that the map calls so."""
        given, inside = self.observations, self._inside(where)
        return self.ratio(self._hits(index) & inside, (given.reference == index) & inside)

    def f1(self, index: int, where: np.ndarray | None = None) -> Estimate:
        """Harmonic mean of both, as one ratio: they are not independent of each other."""
        given, inside = self.observations, self._inside(where)
        either = 1.0 * (given.mapped == index) + (given.reference == index)
        return self.ratio(2.0 * self._hits(index) * inside, either * inside)

    def cell(self, mapped: int, reference: int) -> Estimate:
        """Share of the area that the map calls one class, and the reference another, or the same.

        mapped: -1 = no class.
        """
        given = self.observations
        both = (given.mapped == mapped) & (given.reference == reference)
        return self.ratio(both, np.ones(len(given)))

    def _hits(self, index: int) -> np.ndarray:
        given = self.observations
        return np.asarray((given.mapped == index) & (given.reference == index))

    def _inside(self, where: np.ndarray | None) -> np.ndarray:
        return np.ones(len(self.observations), bool) if where is None else where
