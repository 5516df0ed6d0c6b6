"""Decide how many points a sample has, and how many of them each stratum gets."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

LEAST = 2
"""Points that a stratum needs for a variance."""


def size_for(
    weights: np.ndarray, shares: np.ndarray, se: float, population: float = math.inf
) -> float:
    """Points needed for a standard error of a share (Cochran 1977, 5.25 and 5.52).

    weights: (H,) share of each stratum. shares: (H,) what share of it is expected to have what is
    asked for: to be right, or to be of a class. population: pixels.
    """
    spread = np.sqrt(shares * (1 - shares))
    return float((weights @ spread) ** 2 / (se**2 + weights @ spread**2 / population))


def expected_se(weights: np.ndarray, shares: np.ndarray, points: np.ndarray) -> float:
    """Standard error of a share that numbers of points (H,) will have."""
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = weights**2 * shares * (1 - shares) / points
    return float(np.sqrt(np.where(shares * (1 - shares) > 0, parts, 0).sum()))


def proportional(weights: np.ndarray, size: float) -> np.ndarray:
    """By the area of strata: best for overall accuracy, leaves rare classes without points."""
    return np.asarray(size * weights / weights.sum())


def equal(weights: np.ndarray, size: float) -> np.ndarray:
    """The same for all: best for user's accuracies."""
    return np.full(len(weights), size / len(weights))


def neyman(weights: np.ndarray, shares: np.ndarray, size: float) -> np.ndarray:
    """By area and expected spread (Cochran 1977, 5.26): the least standard error of the share."""
    stake = weights * np.sqrt(shares * (1 - shares))
    return np.asarray(size * stake / stake.sum()) if stake.sum() else proportional(weights, size)


def balanced(weights: np.ndarray, size: float, minimum: int) -> np.ndarray:
    """Rare strata get a minimum, the others the rest by their area (Olofsson et al. 2014, 5.1)."""
    rare = np.zeros(len(weights), bool)
    while not rare.all():
        rest = max(0.0, size - minimum * int(rare.sum()))
        points = np.where(rare, minimum, rest * weights / weights[~rare].sum())
        poor = ~rare & (points < minimum)
        if not poor.any():
            return points
        rare |= poor
    return np.full(len(weights), float(minimum))


def allocations(
    weights: np.ndarray, shares: np.ndarray, size: float, minimum: int
) -> dict[str, np.ndarray]:
    """What each way of allocation gives, by name; not rounded."""
    ways: dict[str, Callable[[], np.ndarray]] = {
        "balanced": lambda: balanced(weights, size, minimum),
        "proportional": lambda: proportional(weights, size),
        "equal": lambda: equal(weights, size),
        "neyman": lambda: neyman(weights, shares, size),
    }
    return {name: way() for name, way in ways.items()}


def rounded(points: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Whole numbers of the same sum (largest remainders), at least LEAST, never more than units.

    What strata of few units can't take goes to the others, in proportion to what these have.
    """
    points = within(points, units)
    whole = np.floor(points).astype(int)
    missing = round(float(points.sum())) - int(whole.sum())
    order = np.argsort(-(points - whole), kind="stable")
    whole[order[:missing]] += 1
    return np.asarray(np.minimum(np.maximum(whole, LEAST), units))


def within(points: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Points (H,) of the same sum, none above the units (H,) as long as others can take more."""
    full = np.zeros(len(points), bool)
    while not full.all():
        full |= points >= units
        excess, room = float((points - units)[full].sum()), float(points[~full].sum())
        points = np.where(full, units, points)
        if excess <= 0 or room <= 0:
            break
        points = np.where(full, points, points * (1 + excess / room))
    return points
