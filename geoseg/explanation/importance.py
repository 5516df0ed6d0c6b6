"""Tell how much scores fall when something is shuffled: bands, or periods of the year.

Permutation importance (Breiman 2001; Fisher et al. 2019): what a network does without, it does not
go by. It needs no gradient, and holds for forests as for networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.evaluation.accuracy import Scores
from geoseg.explanation.settings import ExplainSettings
from geoseg.outputs.progress import follow

Judge = Callable[[np.random.Generator], Scores]
"""Scores after a shuffle."""


@dataclass(frozen=True)
class Importance:
    """By how much scores fall when a thing is shuffled; positive: it counts."""

    name: str
    miou: float
    """Mean fall of the mean IoU over the shuffles."""
    spread: float
    """Standard deviation of that over the shuffles."""
    classes: tuple[float, ...]
    """Mean fall of the IoU of each class; NaN for classes without a pixel."""

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """As JSON values, None where undefined."""
        by_class = {
            f"iou:{name}": None if fall != fall else fall
            for name, fall in zip(names, self.classes, strict=True)
        }
        return {"name": self.name, "miou": self.miou, "sd": self.spread, **by_class}


def importance(
    name: str,
    clean: Scores,
    judge: Judge,
    repeats: int,
    seed: int,
) -> Importance:
    """seed: the same for all names, so that they meet alike."""
    falls, by_class = [], []
    for number in range(repeats):
        made = judge(np.random.default_rng([seed, number]))
        falls.append(clean.miou - made.miou)
        by_class.append(np.subtract(clean.iou, made.iou))
    return Importance(
        name,
        float(np.mean(falls)),
        float(np.std(falls)),
        tuple(np.mean(by_class, axis=0).tolist()),
    )


def importances(
    clean: Scores,
    judges: Sequence[tuple[str, Judge]],
    settings: ExplainSettings,
    what: str,
) -> list[Importance]:
    """Of each thing with its name; what: they are, for the bar."""
    return [
        importance(name, clean, judge, settings.repeats, settings.seed)
        for name, judge in follow(judges, what)
    ]


def derangement(count: int, random: np.random.Generator) -> np.ndarray:
    """For each of `count` (≥ 2) another one, each given once: (count,) int64."""
    order = random.permutation(count)
    made = np.empty(count, np.int64)
    made[order] = np.roll(order, 1)
    return made
