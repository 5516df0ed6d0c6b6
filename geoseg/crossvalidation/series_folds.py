"""Cross-validate networks for series by blocks, by a column or at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.crossvalidation import scores
from geoseg.crossvalidation.draw import Folding, deal
from geoseg.crossvalidation.folds import FoldJob, FoldPlan, Way
from geoseg.crossvalidation.scores import Judged, write_predictions
from geoseg.dataset.sample_split import Units, centres_m, has_places, nearest_m, said_of_parted
from geoseg.dataset.samples import SAMPLES, Samples, SeriesDataset
from geoseg.errors import Faults, InputError
from geoseg.models.settings import FOREST, OWN, SERIES_NETWORKS, Model
from geoseg.outputs.counted import counted
from geoseg.training.checks import MAP_NETWORKS

FitSamples = Callable[..., np.ndarray]
"""(dataset, train, held_out, *, seed) → probabilities (N, K) float32."""


@dataclass(frozen=True)
class SeriesFolds:
    """The samples of a data set, and the ways that they are held out."""

    dataset: SeriesDataset
    samples: Samples
    ways: tuple[Way, ...]
    learning_rate: float
    """Of the training, for the words on one that ran away."""

    kept = "probabilities"
    table = SAMPLES
    """File of the data set that says what is dealt out."""

    @classmethod
    def plan(
        cls, dataset: SeriesDataset, draw: FoldPlan, model: Model, *, learning_rate: float
    ) -> SeriesFolds:
        """Draw the folds. Raises: InputError for anything that could not end well."""
        _check_settings(model, draw)
        samples = dataset.samples()
        _check_samples(dataset, samples)
        return cls(dataset, samples, tuple(_ways(dataset, samples, draw)), learning_rate)

    def jobs(self, way: Way, seeds: Sequence[int], fit: FitSamples) -> Iterator[FoldJob]:
        """Trainings of a way; each gives probabilities (n, K) of the samples held out."""
        for seed, fold in zip(seeds, way.fold, strict=True):
            for one in range(way.folds):
                held = np.flatnonzero(fold == one)

                def train(
                    place: str, held: np.ndarray = held, seed: int = seed
                ) -> tuple[np.ndarray, str]:
                    return self._train(fit, held, seed, place)

                yield FoldJob(seed, one + 1, held, (len(held), len(self.dataset.legend)), train)

    def _train(
        self, fit: FitSamples, held: np.ndarray, seed: int, place: str
    ) -> tuple[np.ndarray, str]:
        rest = np.setdiff1d(np.arange(len(self.samples)), held)
        found = fit(self.dataset, self.samples.take(rest), self.samples.take(held), seed=seed)
        if not np.isfinite(found).all():
            raise InputError(
                f"{place}: the network gives no numbers, its training ran away; set a lower"
                f" fit.learning_rate than {self.learning_rate:g}"
            )
        truth = self.dataset.legend.encode(self.samples.code[held].astype(np.uint8))
        right = float((found.argmax(axis=1) == truth).mean())
        said = (
            f"trained on {counted(len(rest), 'sample')}, {100 * right:.1f} % of {len(held)}"
            " held out are right"
        )
        return np.asarray(found, np.float32), said

    def judged(self, way: Way, seeds: Sequence[int], results: Sequence[np.ndarray]) -> Judged:
        """The results of a way's jobs together: every sample once per seed."""
        legend, given = self.dataset.legend, iter(results)
        probabilities = np.zeros((*way.fold.shape, len(legend)), np.float32)
        for i, fold in enumerate(way.fold):
            for one in range(way.folds):
                probabilities[i, fold == one] = next(given)
        return Judged(
            way.by,
            way.title,
            way.units,
            tuple(seeds),
            way.fold,
            legend.encode(self.samples.code.astype(np.uint8)),
            probabilities,
            tuple(legend.names),
            way.nearest_m,
        )

    def text(self, judged: Sequence[Judged]) -> str:
        """The scores as tables for a terminal."""
        return scores.text(judged)

    def notes(self) -> list[str]:
        columns = [way for way in self.ways if way.by == "column"]
        return [
            text for way in columns for text in said_of_parted(self.samples, way.fold[0], "folds")
        ]

    def write(self, out: Path, judged: Sequence[Judged]) -> None:
        """What became of each sample: predictions.csv."""
        write_predictions(out / "predictions.csv", self.samples, judged, self.dataset.legend)

    def origin(self) -> dict[str, Any]:
        return {"unit": self.dataset.unit}


def _check_settings(model: Model, draw: FoldPlan) -> None:
    """Raises: InputError for what only images know."""
    faults = Faults()
    known = [*(name for name in SERIES_NETWORKS if name not in MAP_NETWORKS), FOREST, OWN]
    if model.name not in known:
        faults.add(f"model.name={model.name}: not for samples; choose from {', '.join(known)}")
    if draw.split.by == "scene":
        faults.add(
            "split.by=scene: series have no scenes; set split.by=column, or split.by=column"
            " split.column=tile"
        )
    if draw.split.buffer_m is not None:
        faults.add(
            f"split.buffer_m={draw.split.buffer_m:g}: for images; leave it out, or hold out larger"
            " blocks with split.block_m"
        )
    faults.raise_if_any()


def _ways(dataset: SeriesDataset, samples: Samples, draw: FoldPlan) -> list[Way]:
    """The way asked for and, beside it, as many random folds. Raises: InputError."""
    column = _column(dataset, draw.split)
    if draw.split.by == "column" and column == "tile":
        samples = replace(samples, fold_by=samples.tile)
    first = _way(dataset, samples, draw, by=draw.split.by, column=column)
    if not draw.random or first.by == "random":
        return [first]
    # As many random folds leave as much for training.
    same = replace(draw, folds=first.folds)
    try:
        return [first, _way(dataset, samples, same, by="random", column=column)]
    except InputError as error:
        one = "or leave out the random folds beside: random=false"
        raise InputError(*error.faults, one) from None


def _way(dataset: SeriesDataset, samples: Samples, draw: FoldPlan, *, by: str, column: str) -> Way:
    names = {c.code: c.name for c in dataset.legend.classes}
    units = Units.of(samples, by, block_m=draw.split.block_m, crs=dataset.crs)
    drawn = [
        deal(units, samples.code, count=draw.folds, seed=seed, names=names) for seed in draw.seeds
    ]
    near = None
    if has_places(samples, dataset.crs):
        places = centres_m(samples, dataset.crs)
        near = float(np.median([nearest_m(places, fold) for fold in drawn]))
    title = {"block": "by blocks", "column": f"by {column}", "random": "at random"}[by]
    return Way(by, title, len(units), np.stack(drawn), near)


def _column(dataset: SeriesDataset, split: Folding) -> str:
    """The column whose values are held out. Raises: InputError for one that isn't known."""
    own = (dataset.settings.get("split") or {}).get("column") or "tile"
    if split.column not in (None, own, "tile"):
        raise InputError(
            f"split.column={split.column}: the data set knows {', '.join({own: 0, 'tile': 0})};"
            f" run geoseg.prepare_series with split.column={split.column}"
        )
    return split.column or own


def _check_samples(dataset: SeriesDataset, samples: Samples) -> None:
    """Raises: InputError if pixels are gone, or there is nothing to tell apart."""
    faults = Faults()
    if len(np.unique(samples.code)) < 2:
        faults.add(
            f"{dataset.folder}: {len(samples)} samples of {len(np.unique(samples.code))} classes:"
            " nothing to tell apart; prepare a data set with two classes at least"
        )
    if strangers := sorted(set(samples.code.tolist()) - set(dataset.legend.codes)):
        faults.add(
            f"{dataset.folder}: samples of code {', '.join(map(str, strangers))}, which the legend"
            " lacks; run geoseg.prepare_series again"
        )
    for tile in dict.fromkeys(samples.tile.tolist()):
        faults.attempt(dataset.arrays, tile)
    faults.raise_if_any()
