"""Train networks for series."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from geoseg.dataset.samples import Samples, SeriesDataset
from geoseg.dataset.statistics import measure
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.evaluation.by_date import ByDate
from geoseg.models import checkpoint
from geoseg.models.card import LAST, ModelCard
from geoseg.models.device import Device
from geoseg.models.view import view_of
from geoseg.outputs.counted import counted
from geoseg.outputs.files import write_json
from geoseg.samples.draw import part_of
from geoseg.samples.predict import PREDICTED, predict_samples
from geoseg.samples.series import InOrder, SeriesBatches
from geoseg.samples.settings import SeriesSamples
from geoseg.training import recipe, refit
from geoseg.training.cards import card_of_samples
from geoseg.training.loop import Task, loading
from geoseg.training.objectives.own import criterion_of
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import Session, ready
from geoseg.training.quick import season
from geoseg.training.run.history import History
from geoseg.training.run.recorder import Keep
from geoseg.training.run_training import TaskBuilder, run_training, train_for_fold
from geoseg.training.sampler import BatchShuffle, Share, Shuffle
from geoseg.training.settings import TrainingSettings
from geoseg.training.validation import SegmentationValidator

BATCH = 64
"""Samples per step where the settings leave it open: few parcels are had, and each step teaches."""
SCORES = "scores.json"


def learn_series(dataset: SeriesDataset, folder: Path, study: TrainingSettings) -> str:
    """Train into `folder`; as `run_training`."""
    session = ready(recipe.for_series(study), BATCH)
    card = card_of_samples(dataset, study, dataset.statistics)
    train, val = dataset.samples("train"), dataset.samples("val")
    train = train.take(part_of(len(train), study.fit.train_share, study.seed))
    both = dataset.samples()
    both = both.take(np.isin(both.split, ("train", "val")))
    learning = SeriesLearning(dataset, card, session)
    return run_training(
        TaskBuilder(
            session=session,
            card=card,
            task=partial(learning.task, train, val),
            again=partial(learning.task, both, _none_of(both)) if len(val) else None,
            opening=partial(learning.opening, train, val),
            report=learning.report,
        ),
        folder,
    )


def _none_of(samples: Samples) -> Samples:
    return samples.take(np.zeros(0, np.int64))


def fit_fold(
    dataset: SeriesDataset, train: Samples, held_out: Samples, study: TrainingSettings
) -> np.ndarray:
    """Train on some samples, the scaling being theirs too, and judge others.

    Returns: probabilities (N, K) float32 of the samples held out.
    """
    session = ready(recipe.for_series(study), BATCH)
    train = train.take(part_of(len(train), study.fit.train_share, study.seed))
    statistics = measure(dataset.folder, train, dataset.bands)
    card = card_of_samples(dataset, session.study, statistics, train)
    learning = SeriesLearning(dataset, card, session)
    task = partial(learning.task, train, _none_of(train))
    network = train_for_fold(session, card, task)
    return predict_samples(network, dataset.folder, held_out, view_of(card), device=session.device)


@dataclass(frozen=True)
class SeriesLearning:
    """What networks learn from samples of series, and what is said of it."""

    dataset: SeriesDataset
    card: ModelCard
    session: Session

    def task(
        self, train: Samples, val: Samples, network: nn.Module, *, folder: Path, keep: Keep
    ) -> Task:
        """As `TaskBuilder.task`."""
        study, legend, ranks = self.session.study, self.dataset.legend, self.session.ranks
        fit, options = study.fit, loading(study.fit, self.session.fabric.device)
        batches = self._batches(train, study.series)
        classes = indices(train.code, legend.codes)[batches.owner]
        counts = np.bincount(classes, minlength=len(legend))
        share = Share.of(Shuffle.of(np.eye(len(legend))[classes], fit, study.seed), fit, ranks)
        parts = BatchShuffle(share, ranks.share(fit.batch_size))
        judged = self._batches(val, None)
        order = InOrder(len(judged), PREDICTED, rank=ranks.number, ranks=ranks.count)
        criterion = criterion_of(study, counts[None], names=legend.names, ranks=ranks)
        began = time.monotonic()
        # What goes on has its weights yet to come; a search of the rate never goes on.
        if study.lr_find or not (folder / LAST).exists():
            season.begin(network, batches, study, counts, names=legend.names)
        spent = (time.monotonic() - began) / 60
        return Task(
            network=network,
            objective=Supervised(criterion),
            train=DataLoader(batches, None, sampler=parts, **options),
            val=DataLoader(judged, None, sampler=order, **options),
            validator=SegmentationValidator(legend.names, study.own.metric),
            folder=folder,
            keep=keep,
            title=batches.title,
            spent=spent,
        )

    def _batches(self, samples: Samples, vary: SeriesSamples | None) -> SeriesBatches:
        dataset, view = self.dataset, view_of(self.card)
        truth = indices(samples.code, dataset.legend.codes)
        return SeriesBatches(dataset.folder, samples, truth, view, vary)

    def opening(self, train: Samples, val: Samples, network: nn.Module, _: Task) -> str:
        """As `TaskBuilder.opening`."""
        dataset, study, view = self.dataset, self.session.study, view_of(self.card).card
        size = sum(p.numel() for p in network.parameters())
        dates = "dates as they are" if view.grid is None else f"every {view.step} days"
        return (
            f"{study.model.title}, {size} weights, {counted(len(dataset.bands), 'band')}, {dates},"
            f" {len(dataset.legend)} classes, on {self.session}\n"
            f"{counted(len(train), 'train sample')}, {counted(len(val), 'val sample')},"
            f" {_seen_as(dataset.unit, train, val)}\n"
            f"{recipe.said(study)}"
        )

    def report(self, folder: Path, _: History) -> str:
        """As `TaskBuilder.report`."""
        named, device = self.session.study.network, self.session.device
        best, _card = checkpoint.load(refit.judged_weights(folder), named)
        return judge_splits(self.dataset, device.place(best), self.card, device, folder=folder)


def _seen_as(unit: str, train: Samples, val: Samples) -> str:
    """What the network sees as one, and how many there are of pixels that each count."""
    if unit != "pixel":
        return f"one per {unit}"
    return f"of {int(train.pixels.sum())} and {int(val.pixels.sum())} pixels, each seen by itself"


def indices(codes: np.ndarray, known: list[int]) -> np.ndarray:
    """Class indices of class codes."""
    place = {code: index for index, code in enumerate(known)}
    return np.array([place[int(code)] for code in codes], np.int64)


def judge_splits(
    dataset: SeriesDataset, network: nn.Module, card: ModelCard, device: Device, *, folder: Path
) -> str:
    """Scores of val and test samples, by class and by date; returns what is to be said."""
    legend, view = dataset.legend, view_of(card)
    said, written = [], {}
    for split in ("val", "test"):
        samples = dataset.samples(split)
        if not len(samples):
            continue
        truth = indices(samples.code, legend.codes)

        def judge(until: float | None = None, samples: Samples = samples,
                  truth: np.ndarray = truth) -> Scores:  # fmt: skip
            seen = replace(view, until=until)
            probabilities = predict_samples(network, dataset.folder, samples, seen, device=device)
            matrix = confusion(truth, probabilities.argmax(axis=1), len(legend))
            return Scores.of(matrix, legend.names)

        scores = judge()
        written[split] = scores.to_dict()
        # A sample of pixels may be a polygon, whose pixels together are one in the scores.
        unit = "sample" if dataset.unit == "pixel" else dataset.unit
        said.append(f"{split}: {counted(len(samples), 'sample')}\n{scores.table(unit)}")
        if split == "val":
            curve = ByDate.measure(judge, dataset.days, dataset.reference)
            curve.save(folder)
            said.append(str(curve))
    write_json(folder / SCORES, written)
    return "\n\n".join(said)
