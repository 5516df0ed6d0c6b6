"""Combine the scores of folds and seeds into means with their spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from geoseg.evaluation.accuracy import Scores, defined


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n − 1) of a score; NaN where undefined."""

    mean: float
    sd: float
    count: int = 0
    """Trainings, or rounds of them, where it is defined."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        known = np.array([value for value in values if not math.isnan(value)])
        return cls(
            float(known.mean()) if len(known) else math.nan,
            float(known.std(ddof=1)) if len(known) > 1 else math.nan,
            len(known),
        )

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        return f"{self.mean:.3f}" + ("" if math.isnan(self.sd) else f" ± {self.sd:.3f}")

    def to_dict(self) -> dict[str, float | None]:
        """JSON-safe, None where undefined."""
        return {"mean": defined(self.mean), "sd": defined(self.sd)}


@dataclass(frozen=True)
class Fold:
    """One training: how much was held out and what the network made of it."""

    seed: int
    fold: int
    """From 1."""
    samples: int
    """Samples or pixels."""
    scores: Scores


class Tally:
    """What confusion matrices of folds say: all is judged once per seed (S seeds, F folds).

    Samples of series and pixels of images bring their matrices in their own way.
    """

    by: str
    """block, column, scene or random."""
    title: str
    """The way in words: "by blocks"."""
    units: int
    """Blocks, groups … that were dealt out."""
    unit_noun: str
    """What these are called."""
    noun: str
    """What is counted: samples or pixels."""
    measures: tuple[tuple[str, str], ...]
    """Scores that are given by fold and seed: attribute of Scores and name."""
    seeds: tuple[int, ...]
    matrices: np.ndarray
    """(S, F, K, K) int64; rows labels, columns predicted."""
    names: tuple[str, ...]
    """Of the K classes."""
    nearest_m: float | None
    """Distance to what trained."""

    @property
    def folds(self) -> int:
        """Trainings per seed."""
        return int(self.matrices.shape[1])

    @cached_property
    def confusion(self) -> np.ndarray:
        """(K, K) over all folds and seeds."""
        return np.asarray(self.matrices.sum(axis=(0, 1)))

    @cached_property
    def scores(self) -> Scores:
        return Scores.of(self.confusion, self.names)

    @cached_property
    def trainings(self) -> list[Fold]:
        """Each fold of each seed by itself."""
        return [
            Fold(seed, one + 1, int(matrix.sum()), Scores.of(matrix, self.names))
            for seed, matrices in zip(self.seeds, self.matrices, strict=True)
            for one, matrix in enumerate(matrices)
        ]

    @property
    def count(self) -> int:
        """Samples or pixels that were judged, each once."""
        return int(self.confusion.sum()) // len(self.seeds)

    @property
    def majority(self) -> float:
        """Share of the most frequent class: what naming it everywhere would score."""
        found = self.matrices[0].sum(axis=(0, 2))
        return float(found.max() / found.sum()) if found.sum() else math.nan

    def over_folds(self, what: str) -> Spread:
        """Of a score by training: how much it hangs on what is held out."""
        return Spread.of([getattr(fold.scores, what) for fold in self.trainings])

    def over_seeds(self, what: str) -> Spread:
        """Of a score over everything by seed."""
        return Spread.of(
            [
                getattr(Scores.of(one, self.names), what)
                for one in self.matrices.sum(axis=1)
            ]
        )  # fmt: skip

    def class_over_folds(self, what: str) -> list[Spread]:
        """Of a score of each class, over the trainings whose held-out part has the class."""
        return [
            Spread.of(
                [
                    getattr(fold.scores, what)[i]
                    for fold in self.trainings
                    if fold.scores.truth_pixels[i]
                ]
            )
            for i in range(len(self.names))
        ]

    def lacking(self) -> dict[str, int]:
        """Classes that some folds hold nothing of, and how many folds these are."""
        found: dict[str, int] = {}
        for training in self.trainings:
            for name, count, whole in zip(
                self.names, training.scores.truth_pixels, self.scores.truth_pixels, strict=True
            ):
                if whole and not count:
                    found[name] = found.get(name, 0) + 1
        return found

    def to_dict(self, codes: Sequence[int]) -> dict[str, Any]:
        """JSON-safe, None where undefined."""
        scores, means = self.scores, [what for what, _ in self.measures]
        classes = [
            {
                "code": code,
                "name": name,
                self.noun: scores.truth_pixels[i] // len(self.seeds),
                "users_accuracy": defined(scores.users_accuracy[i]),
                "producers_accuracy": defined(scores.producers_accuracy[i]),
                "f1": defined(scores.f1[i]),
                "iou": defined(scores.iou[i]),
            }
            for i, (code, name) in enumerate(zip(codes, self.names, strict=True))
        ]
        trainings = [
            {"seed": one.seed, "fold": one.fold, self.noun: one.samples}
            | {what: defined(getattr(one.scores, what)) for what in means}
            for one in self.trainings
        ]

        def spreads(over: Callable[[str], Spread]) -> dict[str, Any]:
            return {what: over(what).to_dict() for what in means}

        return {
            "title": self.title,
            self.unit_noun.replace(" ", "_"): self.units,
            "folds": self.folds,
            "seeds": list(self.seeds),
            self.noun: self.count,
            **{what: defined(getattr(scores, what)) for what in (*means, "kappa")},
            "over_folds": spreads(self.over_folds),
            "over_seeds": spreads(self.over_seeds),
            "nearest_train_m": self.nearest_m,
            "classes": classes,
            "trainings": trainings,
            "confusion": self.confusion.tolist(),
        }
