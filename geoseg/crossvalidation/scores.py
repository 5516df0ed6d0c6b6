"""Score held-out samples and pixels per fold, and the gap between the two ways."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.crossvalidation.tally import Tally
from geoseg.dataset.sample_split import NOUNS
from geoseg.dataset.samples import Samples
from geoseg.evaluation.accuracy import confusion
from geoseg.geo.legend import Legend
from geoseg.outputs.counted import counted, spaced
from geoseg.outputs.csv_cells import write_csv
from geoseg.outputs.numbers import score
from geoseg.outputs.summary import table

SAME = 0.005
"""Gap in overall accuracy below which nothing is made of it: half a point."""
FEW = 30
"""Samples of a class below which its scores say little."""


@dataclass(frozen=True)
class Judged(Tally):
    """One way of holding out samples: every sample is judged once per seed (S seeds)."""

    by: str
    title: str
    units: int
    seeds: tuple[int, ...]
    fold: np.ndarray
    """(S, N) 0..folds-1."""
    truth: np.ndarray
    """(N,) class indices."""
    probabilities: np.ndarray
    """(S, N, K) float32."""
    names: tuple[str, ...]
    nearest_m: float | None
    """Median distance from a sample to the nearest one that trained its judge."""

    noun = "samples"
    measures = (("overall_accuracy", "overall accuracy"), ("macro_f1", "macro F1"))

    @property
    def unit_noun(self) -> str:  # type: ignore[override]
        return NOUNS[self.by]

    @cached_property
    def predicted(self) -> np.ndarray:
        """Class indices (S, N) uint8."""
        return self.probabilities.argmax(axis=2).astype(np.uint8)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability (S, N) of the class that was predicted."""
        return np.asarray(self.probabilities.max(axis=2))

    @cached_property
    def matrices(self) -> np.ndarray:  # type: ignore[override]
        folds = range(int(self.fold.max()) + 1)
        return np.array(
            [
                [
                    confusion(self.truth[fold == one], predicted[fold == one], len(self.names))
                    for one in folds
                ]
                for fold, predicted in zip(self.fold, self.predicted, strict=True)
            ]
        )


@dataclass(frozen=True)
class Gap:
    """How much more random folds promise than the way that counts; in shares, not points."""

    overall_accuracy: float
    macro_f1: float
    words: str

    @classmethod
    def of(cls, honest: Tally, random: Tally) -> Gap:
        """honest: by blocks, by column or by scene."""
        a, b = honest.scores, random.scores
        accuracy, f1 = b.overall_accuracy - a.overall_accuracy, b.macro_f1 - a.macro_f1
        both = (
            f"{_percent(a.overall_accuracy)} of the {honest.noun} are right when they are held out"
            f" {honest.title}, {_percent(b.overall_accuracy)} when they are held out"
            f" {random.title}."
        )
        same = honest.title.removeprefix("by ")
        shared = "neighbours of" if honest.by == "block" else f"{honest.noun} of the same {same} as"
        chance, cause = _by_chance(honest, random)
        if SAME < abs(accuracy) < chance:
            said = (
                f" The gap of {100 * accuracy:+.1f} points is within the {100 * chance:.1f} {cause}"
                f" would tell. Until then expect the figure {honest.title}."
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


def _by_chance(one: Tally, other: Tally) -> tuple[float, str]:
    """Gap in overall accuracy that may be by chance: twice its standard error; and why, in words.

    Samples count as independent, the pixels of an image do not: there the folds say how much.
    """
    if one.noun == "samples":
        shares = (one.scores.overall_accuracy, other.scores.overall_accuracy)
        error = math.sqrt(sum(share * (1 - share) for share in shares) / max(1, one.count))
        return 2 * error, f"that chance makes of {one.count} samples: more samples or seeds"
    spreads = [way.over_folds("overall_accuracy") for way in (one, other)]
    error = math.sqrt(sum(spread.sd**2 / spread.count for spread in spreads))
    return 2 * error, "that may come from which blocks a fold holds: more folds or seeds"


def caveats(ways: Sequence[Tally]) -> list[str]:
    """What a reader of the scores should know of what was judged."""
    notes, noun = [], ways[0].noun
    scores = ways[0].scores
    counts = {
        name: count // len(ways[0].seeds)
        for name, count in zip(scores.names, scores.truth_pixels, strict=True)
    }
    few = [f"{name} ({count})" for name, count in counts.items() if 0 < count < FEW]
    none = [name for name, count in counts.items() if not count]
    if few and noun == "samples":
        notes.append(f"classes with fewer than {FEW} samples, of whose scores little can be said:"
                     f" {', '.join(few)}")  # fmt: skip
    if none:
        notes.append(f"classes of the legend without {noun}: {', '.join(none)}")
    for way in ways:
        folds = way.folds * len(way.seeds)
        lacking = [f"{name} ({count} of {folds})" for name, count in way.lacking().items()]
        if lacking:
            notes.append(
                f"{way.title}, folds without a {noun[:-1]} of a class: {', '.join(lacking)}"
            )
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
            cells += [score(v[i]) for v in (s.users_accuracy, s.producers_accuracy, s.f1)]
        classes.append(cells)
    columns = [f"{what} {way.title}" for way in ways for what in ("user's", "prod.'s", "F1")]
    return f"{table(header, rows)}\n\n{table(('class', 'samples', *columns), classes)}"


def write_predictions(path: Path, samples: Samples, ways: Sequence[Judged], legend: Legend) -> None:
    """Write a CSV with a row per sample and seed: its class, and by each way what it got."""
    write_csv(path, _prediction_rows(samples, ways, legend))


def _prediction_rows(
    samples: Samples, ways: Sequence[Judged], legend: Legend
) -> Iterator[list[Any]]:
    columns = [f"{way.by}_{what}" for way in ways for what in ("fold", "code", "confidence")]
    yield ["id", "seed", "code", *columns]
    found = [(way.fold, legend.decode(way.predicted), way.confidence) for way in ways]
    for i, seed in enumerate(ways[0].seeds):
        by_way = [[part[i].tolist() for part in parts] for parts in found]
        both = zip(samples.id.tolist(), samples.code.tolist(), strict=True)
        for j, (name, code) in enumerate(both):
            cells = [(fold[j] + 1, own[j], f"{sure[j]:.4f}") for fold, own, sure in by_way]
            yield [name, seed, code, *chain.from_iterable(cells)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


TILE_NOUNS = {"block": "blocks", "scene": "scenes", "random": "tiles"}
"""What of images is dealt out, by way."""


@dataclass(frozen=True)
class JudgedPixels(Tally):
    """One way of holding out pixels: every labelled pixel is judged once per seed."""

    by: str
    title: str
    units: int
    seeds: tuple[int, ...]
    matrices: np.ndarray
    names: tuple[str, ...]
    nearest_m: float | None
    """Smallest distance from a held-out pixel to one that trained its judge."""

    noun = "pixels"
    measures = (
        ("overall_accuracy", "overall accuracy"),
        ("miou", "mIoU"),
        ("macro_f1", "macro F1"),
    )

    @property
    def unit_noun(self) -> str:  # type: ignore[override]
        return TILE_NOUNS[self.by]

    def to_dict(self, codes: Sequence[int]) -> dict[str, object]:
        """As of samples, with the spread of each class and the matrix of each training."""
        values = super().to_dict(codes)
        iou, f1 = self.class_over_folds("iou"), self.class_over_folds("f1")
        for entry, a, b in zip(values["classes"], iou, f1, strict=True):
            entry["over_folds"] = {"iou": a.to_dict(), "f1": b.to_dict(), "trainings": a.count}
        flat = self.matrices.reshape(-1, *self.confusion.shape)
        for entry, matrix in zip(values["trainings"], flat, strict=True):
            entry["confusion"] = matrix.tolist()
        return values

    def text(self) -> str:
        """The table for a terminal: by class and on the whole, mean ± deviation and pooled."""
        s, trainings = self.scores, len(self.trainings)
        iou, f1 = self.class_over_folds("iou"), self.class_over_folds("f1")
        rows = [
            (
                name,
                *(str(iou[i]), str(f1[i])),
                *(score(values[i]) for values in (s.iou, s.f1)),
                spaced(s.truth_pixels[i] // len(self.seeds)),
                f"{iou[i].count} of {trainings}",
            )
            for i, name in enumerate(self.names)
        ]
        means = [str(self.over_folds(what)) for what in ("miou", "macro_f1")]
        whole = [score(value) for value in (s.miou, s.macro_f1)]
        rows.append(("mean", *means, *whole, spaced(self.count), f"{trainings} of {trainings}"))
        header = ("class", "IoU", "F1", "IoU pooled", "F1 pooled", "pixels", "in folds")
        accuracy = self.over_folds("overall_accuracy")
        return (
            f"held out {self.title}: {self.folds} folds × {counted(len(self.seeds), 'seed')},"
            f" mean ± standard deviation over the {trainings} trainings\n{table(header, rows)}\n"
            f"  overall accuracy {accuracy}, pooled {score(s.overall_accuracy)}"
        )
