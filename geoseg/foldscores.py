"""Fold scores: what networks scored on samples held out of their training, and the gap."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.accuracy import Scores, confusion
from geoseg.legend import Legend
from geoseg.output import replacing
from geoseg.seriesset import Samples
from geoseg.summary import table
from geoseg.units import NOUNS

SAME = 0.005
"""Gap in overall accuracy below which nothing is made of it: half a point."""
FEW = 30
"""Samples of a class below which its scores say little."""
MEANS = ("overall_accuracy", "macro_f1")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n − 1) of a score; NaN where undefined."""

    mean: float
    sd: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        known = np.array([value for value in values if not math.isnan(value)])
        return cls(
            float(known.mean()) if len(known) else math.nan,
            float(known.std(ddof=1)) if len(known) > 1 else math.nan,
        )

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        return f"{self.mean:.3f}" + ("" if math.isnan(self.sd) else f" ± {self.sd:.3f}")


@dataclass(frozen=True)
class Fold:
    """One training: the samples held out and what the network made of them."""

    seed: int
    fold: int
    """From 1."""
    samples: int
    scores: Scores


@dataclass(frozen=True)
class Judged:
    """One way of holding out samples: every sample is judged once per seed (S seeds)."""

    by: str
    """block, column or random."""
    title: str
    """The way in words: "by blocks"."""
    units: int
    """Blocks, groups or values that were dealt out."""
    seeds: tuple[int, ...]
    fold: np.ndarray
    """(S, N) 0..folds-1."""
    truth: np.ndarray
    """(N,) class indices."""
    probabilities: np.ndarray
    """(S, N, K) float32."""
    names: tuple[str, ...]
    """Of the K classes."""
    nearest_m: float | None
    """Median distance from a sample to the nearest one that trained its judge."""

    @cached_property
    def predicted(self) -> np.ndarray:
        """Class indices (S, N) uint8."""
        return self.probabilities.argmax(axis=2).astype(np.uint8)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability (S, N) of the class that was predicted."""
        return np.asarray(self.probabilities.max(axis=2))

    @property
    def folds(self) -> int:
        """Trainings per seed."""
        return int(self.fold.max()) + 1

    @cached_property
    def confusion(self) -> np.ndarray:
        """(K, K) over all folds and seeds; rows labels, columns predicted."""
        truth = np.broadcast_to(self.truth, self.predicted.shape)
        return confusion(truth, self.predicted, len(self.names))

    @cached_property
    def scores(self) -> Scores:
        return Scores.of(self.confusion, self.names)

    @cached_property
    def trainings(self) -> list[Fold]:
        """Each fold of each seed by itself."""
        found = []
        for seed, fold, predicted in zip(self.seeds, self.fold, self.predicted, strict=True):
            for one in range(self.folds):
                held = fold == one
                counts = confusion(self.truth[held], predicted[held], len(self.names))
                found.append(Fold(seed, one + 1, int(held.sum()), Scores.of(counts, self.names)))
        return found

    def over_folds(self, what: str) -> Spread:
        """Of a score by training: how much it hangs on which samples are held out."""
        return Spread.of([getattr(fold.scores, what) for fold in self.trainings])

    def over_seeds(self, what: str) -> Spread:
        """Of a score over all samples by seed."""
        counts = [confusion(self.truth, one, len(self.names)) for one in self.predicted]
        return Spread.of([getattr(Scores.of(one, self.names), what) for one in counts])

    def lacking(self) -> dict[str, int]:
        """Classes that some folds hold no sample of, and how many folds these are."""
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
        scores = self.scores
        classes = [
            {
                "code": code,
                "name": name,
                "samples": scores.truth_pixels[i] // len(self.seeds),
                "users_accuracy": _defined(scores.users_accuracy[i]),
                "producers_accuracy": _defined(scores.producers_accuracy[i]),
                "f1": _defined(scores.f1[i]),
                "iou": _defined(scores.iou[i]),
            }
            for i, (code, name) in enumerate(zip(codes, self.names, strict=True))
        ]
        trainings = [
            {"seed": one.seed, "fold": one.fold, "samples": one.samples}
            | {what: _defined(getattr(one.scores, what)) for what in MEANS}
            for one in self.trainings
        ]
        return {
            "title": self.title,
            NOUNS[self.by].replace(" ", "_"): self.units,
            "folds": self.folds,
            "seeds": list(self.seeds),
            "samples": len(self.truth),
            **{what: _defined(getattr(scores, what)) for what in (*MEANS, "kappa")},
            "over_folds": {what: _spread(self.over_folds(what)) for what in MEANS},
            "over_seeds": {what: _spread(self.over_seeds(what)) for what in MEANS},
            "nearest_train_m": self.nearest_m,
            "classes": classes,
            "trainings": trainings,
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True)
class Gap:
    """How much more random folds promise than the way that counts; in shares, not points."""

    overall_accuracy: float
    macro_f1: float
    words: str

    @classmethod
    def of(cls, honest: Judged, random: Judged) -> Gap:
        """honest: by blocks or by column."""
        a, b = honest.scores, random.scores
        accuracy, f1 = b.overall_accuracy - a.overall_accuracy, b.macro_f1 - a.macro_f1
        both = (
            f"{_percent(a.overall_accuracy)} of the samples are right when they are held out"
            f" {honest.title}, {_percent(b.overall_accuracy)} when they are held out"
            f" {random.title}."
        )
        same = honest.title.removeprefix("by ")
        shared = "neighbours of" if honest.by == "block" else f"samples of the same {same} as"
        chance = _by_chance((a.overall_accuracy, b.overall_accuracy), len(honest.truth))
        if SAME < abs(accuracy) < chance:
            said = (
                f" The gap of {100 * accuracy:+.1f} points is within the {100 * chance:.1f} that"
                f" chance makes of {len(honest.truth)} samples: more samples or seeds would tell."
                f" Until then expect the figure {honest.title}."
            )
        elif accuracy > SAME:
            said = (
                f" Random folds promise {100 * accuracy:.1f} points more overall accuracy and"
                f" {abs(100 * f1):.1f} points {'more' if f1 > 0 else 'less'} macro F1: their"
                f" networks were trained on {shared} what they were judged on. Elsewhere expect"
                f" the figure {honest.title}."
            )
        elif accuracy < -SAME:
            said = (
                f" That is {-100 * accuracy:.1f} points less, so the folds differ by more than by"
                " what they hold out: more seeds would tell. Nothing speaks for a figure above"
                f" the one {honest.title}."
            )
        else:
            said = (
                " That is the same within half a point: here it does not matter for the score how"
                " near the training samples are."
            )
        return cls(accuracy, f1, both + said)


def _by_chance(shares: tuple[float, float], samples: int) -> float:
    """Twice the standard error of the difference of two shares of so many samples each."""
    return 2 * math.sqrt(sum(share * (1 - share) for share in shares) / max(1, samples))


def majority(truth: np.ndarray) -> float:
    """Share of the most frequent class: what naming it everywhere would score."""
    return float(np.bincount(truth).max() / len(truth)) if len(truth) else math.nan


def caveats(ways: Sequence[Judged]) -> list[str]:
    """What a reader of the scores should know of the samples."""
    notes = []
    scores = ways[0].scores
    counts = {
        name: count // len(ways[0].seeds)
        for name, count in zip(scores.names, scores.truth_pixels, strict=True)
    }
    few = [f"{name} ({count})" for name, count in counts.items() if 0 < count < FEW]
    none = [name for name, count in counts.items() if not count]
    if few:
        notes.append(f"classes with fewer than {FEW} samples, of whose scores little can be said:"
                     f" {', '.join(few)}")  # fmt: skip
    if none:
        notes.append(f"classes of the legend without samples: {', '.join(none)}")
    for way in ways:
        folds = way.folds * len(way.seeds)
        lacking = [f"{name} ({count} of {folds})" for name, count in way.lacking().items()]
        if lacking:
            notes.append(f"{way.title}, folds without a sample of a class: {', '.join(lacking)}")
    return notes


def text(ways: Sequence[Judged]) -> str:
    """The scores as tables for a terminal."""
    rows = [
        (
            way.title,
            f"{way.folds} × {len(way.seeds)}",
            f"{way.scores.overall_accuracy:.3f}",
            str(way.over_folds("overall_accuracy")),
            f"{way.scores.macro_f1:.3f}",
            str(way.over_folds("macro_f1")),
        )
        for way in ways
    ]
    header = ("held out", "folds × seeds", "accuracy", "by fold", "macro F1", "by fold")
    classes = []
    for i, name in enumerate(ways[0].names):
        cells: list[Any] = [name, ways[0].scores.truth_pixels[i] // len(ways[0].seeds)]
        for way in ways:
            s = way.scores
            cells += [_score(v[i]) for v in (s.users_accuracy, s.producers_accuracy, s.f1)]
        classes.append(cells)
    columns = [f"{what} {way.title}" for way in ways for what in ("user's", "prod.'s", "F1")]
    return f"{table(header, rows)}\n\n{table(('class', 'samples', *columns), classes)}"


def write_predictions(path: Path, samples: Samples, ways: Sequence[Judged], legend: Legend) -> None:
    """Write a CSV with a row per sample and seed: its class, and by each way what it got."""
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        columns = [f"{way.by}_{what}" for way in ways for what in ("fold", "code", "confidence")]
        writer.writerow(["id", "seed", "code", *columns])
        found = [(way.fold, legend.decode(way.predicted), way.confidence) for way in ways]
        for i, seed in enumerate(ways[0].seeds):
            by_way = [[part[i].tolist() for part in parts] for parts in found]
            for j, (name, code) in enumerate(
                zip(samples.id.tolist(), samples.code.tolist(), strict=True)
            ):
                cells = [
                    value
                    for fold, own, sure in by_way
                    for value in (fold[j] + 1, own[j], f"{sure[j]:.4f}")
                ]
                writer.writerow([name, seed, code, *cells])


def _spread(spread: Spread) -> dict[str, float | None]:
    return {"mean": _defined(spread.mean), "sd": _defined(spread.sd)}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
