"""Class weights: what a pixel of each class counts in the loss; as given, or from class shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg import settings
from geoseg.errors import Faults, InputError
from geoseg.legend import composed

TEMPER = 0.25
"""Power of the inverse share that is a tempered weight."""
LARGEST_RATIO = 100.0
"""Of two computed class weights: a class of a handful of pixels must not drown all others."""


def class_weights(
    choice: Any, shares: npt.ArrayLike | None = None, *, names: Sequence[str]
) -> list[float]:
    """A weight for each class: all 1, as given by name, or computed from its share of pixels.

    `inverse` is 1 / share, `tempered` its fourth root, which lifts rare classes without letting
    them drown the others. `median` is the median frequency over the class's own, where a class's
    frequency is its share in the tiles that have it (Eigen & Fergus 2015). `shares` of the train
    split are (K,), or better (tiles, K) pixels: with (K,) alone every class counts as being in
    every tile, and median is inverse by another factor, which no loss here heeds. A class without
    pixels gets 1; the others have mean 1, and none more than 100 times another.
    Raises: InputError for names that are not the legend's, or weights that are not numbers.
    """
    if isinstance(choice, Mapping):
        return given_weights(choice, names)
    if choice in ("none", "auto"):  # auto: the recipe of a training has said otherwise by now
        return [1.0] * len(names)
    if choice not in settings.CLASS_WEIGHTS or shares is None:
        reason = "the class shares are not known" if shares is None else "unknown"
        raise InputError(
            f"loss.class_weights={choice}: {reason}; give none or a weight for each class:"
            f" {{{', '.join(f'{name}: 1' for name in names)}}}"
        )
    pixels = np.atleast_2d(np.asarray(shares, dtype=np.float64))
    if pixels.shape[1] != len(names):
        raise ValueError(f"shares of {pixels.shape[1]} classes for {len(names)} names")
    around = pixels > 0 if choice == "median" else np.ones_like(pixels, dtype=bool)
    totals = np.where(around, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    occurs = pixels.sum(axis=0) > 0
    weights = np.ones(len(names))
    if occurs.any():
        inverse = totals[occurs] / pixels.sum(axis=0)[occurs]
        if choice == "tempered":
            inverse = inverse**TEMPER
        inverse = inverse.clip(max=LARGEST_RATIO * inverse.min())
        weights[occurs] = inverse / inverse.mean()
    return [float(weight) for weight in weights]


def given_weights(choice: Mapping[Any, Any], names: Sequence[str]) -> list[float]:
    """Weights in the order of the classes, from a mapping by name.

    Raises: InputError for unknown or missing names, or weights that are not numbers.
    """
    faults = Faults()
    choice = {composed(str(name)): weight for name, weight in choice.items()}
    for name, weight in choice.items():
        if str(name) not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the legend has {', '.join(names)}"
            faults.add(f"loss.class_weights.{name}: no such class; {hint}")
        elif not isinstance(weight, int | float) or not (0 <= weight < math.inf):
            faults.add(f"loss.class_weights.{name}={weight}: must be a number of at least 0")
    by_name = {str(name): weight for name, weight in choice.items()}
    missing = [name for name in names if name not in by_name]
    if missing:
        faults.add(f"loss.class_weights: no weight for {', '.join(missing)}; give each class one")
    faults.raise_if_any()
    if not any(by_name.values()):
        raise InputError("loss.class_weights: all are 0; give at least one class a weight above 0")
    return [float(by_name[name]) for name in names]
