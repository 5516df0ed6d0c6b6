"""Add up what a network makes of images, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from geoseg.evaluation.accuracy import Scores, confusion, defined
from geoseg.evaluation.reliability import Reliability

CLEAN, NATURAL, ATTACK = "clean", "natural", "attack"
WORST = "worst"
"""Kind of the attack that, tile by tile, leaves the fewest right pixels."""


class Case(NamedTuple):
    """What images suffered."""

    family: str
    """clean, natural or attack."""
    kind: str
    strength: float
    """Of nature 0 to 1; of attacks standard deviations; of the patch its share of the area."""


UNTOUCHED = Case(CLEAN, CLEAN, 0.0)


@dataclass
class Tally:
    """Labelled pixels by class and map, and by confidence."""

    confusion: np.ndarray
    """(K, K) int64, rows labels."""
    reliability: Reliability

    @classmethod
    def empty(cls, classes: int) -> Tally:
        return cls(np.zeros((classes, classes), np.int64), Reliability())

    @classmethod
    def of(cls, shares: np.ndarray, truth: np.ndarray) -> Tally:
        """Of probabilities (n, K) and labels (n,) of the labelled pixels of an image."""
        classes = shares.shape[1]
        mapped = shares.argmax(1).astype(np.uint8)
        return cls(
            confusion(truth, mapped, classes),
            Reliability.of(shares.max(1), mapped == truth),
        )

    def add(self, other: Tally) -> None:
        self.confusion = self.confusion + other.confusion
        mine, more = self.reliability, other.reliability
        self.reliability = Reliability(
            mine.count + more.count, mine.confidence + more.confidence, mine.right + more.right
        )

    @property
    def right(self) -> int:
        return int(np.trace(self.confusion))


class Tallies(dict[Case, Tally]):
    """Tallies by case, in the order in which they were begun."""

    def add(self, case: Case, tally: Tally) -> None:
        if case not in self:
            self[case] = Tally.empty(len(tally.confusion))
        self[case].add(tally)

    def rows(self, names: Sequence[str]) -> list[Row]:
        return [Row.of(case, tally, names) for case, tally in self.items()]


@dataclass(frozen=True)
class Row:
    """The scores of a case."""

    case: Case
    scores: Scores
    ece: float
    pixels: int

    @classmethod
    def of(cls, case: Case, tally: Tally, names: Sequence[str]) -> Row:
        scores = Scores.of(tally.confusion, names)
        return cls(case, scores, tally.reliability.ece, int(tally.confusion.sum()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, None where undefined."""
        per_class = {
            f"iou:{name}": defined(iou)
            for name, iou in zip(self.scores.names, self.scores.iou, strict=True)
        }
        return {
            "family": self.case.family,
            "kind": self.case.kind,
            "strength": self.case.strength,
            "pixels": self.pixels,
            "miou": defined(self.scores.miou),
            "overall_accuracy": defined(self.scores.overall_accuracy),
            "ece": defined(self.ece),
            **per_class,
        }


class Figures:
    """All rows of a network, to look up."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self._by_case = {row.case: row for row in rows}

    @property
    def clean(self) -> Row:
        return self._by_case[UNTOUCHED]

    def kinds(self, family: str) -> list[str]:
        return list(dict.fromkeys(r.case.kind for r in self.rows if r.case.family == family))

    def strengths(self, kind: str) -> list[float]:
        return [row.case.strength for row in self.rows if row.case.kind == kind]

    def get(self, family: str, kind: str, strength: float) -> Row | None:
        return self._by_case.get(Case(family, kind, strength))

    def curve(self, kind: str) -> list[Row]:
        """The row of the untouched images, and those of a kind by strength."""
        found = [row for row in self.rows if row.case.kind == kind]
        return [self.clean, *sorted(found, key=lambda row: row.case.strength)]
