"""Train networks for series."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from geoseg.dataset.samples import Samples, SeriesDataset
from geoseg.dataset.statistics import measure, shape_statistics
from geoseg.errors import InputError
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.evaluation.by_date import ByDate
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint, transfer
from geoseg.models.card import BEST, ModelCard, SeriesCard
from geoseg.models.device import Device
from geoseg.models.settings import FOREST, Model
from geoseg.models.view import view_of
from geoseg.outputs.files import write_json
from geoseg.samples.draw import part_of
from geoseg.samples.predict import PREDICTED, predict_samples
from geoseg.samples.series import InOrder, SeriesBatches
from geoseg.samples.settings import SeriesSamples
from geoseg.scenes.bands import BandStatistics
from geoseg.training import recipe, refit
from geoseg.training.loop import Task, fit_network, loading
from geoseg.training.lr_find import find_rate
from geoseg.training.objectives import loss as loss_room
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import Ranks, ready
from geoseg.training.run.history import History
from geoseg.training.sampler import BatchShuffle, Share, Shuffle
from geoseg.training.settings import Fit, Loss, TrainingSettings
from geoseg.training.validation import SegmentationValidator

BATCH = 64
"""Samples per step where the settings leave it open: few parcels are had, and each step teaches."""
SCORES = "scores.json"
REGULAR = ("tempcnn", FOREST)
"""What reads series on a grid of days."""


def learn_series(dataset: SeriesDataset, folder: Path, study: TrainingSettings) -> str:
    """Train into `folder`, with the other processes if there are any.

    Returns: what came out, as a text for people.
    """
    torch.manual_seed(study.seed)
    study, device, fabric = ready(recipe.for_series(study), BATCH)
    fit = refit.first(study.fit)
    card = make_card(dataset, study, dataset.statistics)
    train, val = dataset.samples("train"), dataset.samples("val")
    train = train.take(part_of(len(train), fit.train_share, study.seed))
    network = build(card)
    before = None if study.lr_find else folder
    card, started = transfer.begin(network, study.model, card, before)
    size = sum(p.numel() for p in network.parameters())
    view = view_of(card).card
    dates = "dates as they are" if view.grid is None else f"every {view.step} days"
    if fabric.is_global_zero:
        print(
            f"{started}{study.model.name}, {size} weights, {len(dataset.bands)} bands, {dates},"
            f" {len(dataset.legend)} classes, on {device}{Ranks.of(fabric)}\n"
            f"{len(train)} train samples, {len(val)} val samples, one per {dataset.unit}\n"
            f"{recipe.said(study)}"
        )
    task = _task(dataset, (train, val), network, card, study, folder=folder, fabric=fabric)
    task.keep = checkpoint.keeper(folder, card)
    if study.lr_find:
        return find_rate(task, fit, fabric=fabric, seed=study.seed)
    history = fit_network(task, fit, fabric=fabric, seed=study.seed)
    if not fabric.is_global_zero:
        return ""
    best, judged = checkpoint.load(refit.judged(folder))
    scores = judge_splits(dataset, device.place(best), card, device, folder=folder)
    if fit.refit and len(val):
        both = dataset.samples()
        both = both.take(np.isin(both.split, ("train", "val")))

        def again(place: Path, fit: Fit) -> None:
            torch.manual_seed(study.seed)
            network = build(card)
            none = both.take(np.zeros(0, np.int64))
            task = _task(dataset, (both, none), network, card, study, folder=place, fabric=fabric)
            task.keep = lambda best, _: checkpoint.keeper(place, judged)(best, judged.scores)
            fit_network(task, fit, fabric=fabric, seed=study.seed)

        scores += f"\n\n{refit.second(fit, history, folder, again)}"
    return closing(history, fit, folder, scores)


def closing(history: History, fit: Fit, folder: Path, scores: str) -> str:
    """What is said at the end. scores: of val and test."""
    lines = [f"{history.finished(fit)}: {history.minutes:.1f} minutes", scores]
    lines += [f"note: {remark}" for remark in history.remarks()]
    lines.append(f"weights: {folder / BEST}  curves: {folder / 'curves.png'}")
    return "\n".join(lines)


def fit_fold(
    dataset: SeriesDataset,
    train: Samples,
    held_out: Samples,
    *,
    model: Model,
    loss: Loss,
    fit: Fit,
    series: SeriesSamples,
    seed: int,
) -> np.ndarray:
    """Train on some samples, the scaling being theirs too, and judge others.

    Returns: probabilities (N, K) float32 of the samples held out.
    """
    torch.manual_seed(seed)
    study, device, fabric = ready(
        recipe.for_series(TrainingSettings(model, loss, fit, series, seed)), BATCH
    )
    train = train.take(part_of(len(train), study.fit.train_share, seed))
    statistics = measure(dataset.folder, train, dataset.bands)
    card = make_card(dataset, study, statistics, train)
    network = build(card)
    kept: list[nn.Module] = []
    with tempfile.TemporaryDirectory() as folder:
        transfer.begin(network, model, card, None)
        none = train.take(np.zeros(0, np.int64))
        task = _task(
            dataset, (train, none), network, card, study, folder=Path(folder), fabric=fabric
        )
        task.keep = lambda best, _: kept.append(best)
        silent = Console(file=io.StringIO())
        # A fold has no run folder, which a logger's run would be named after.
        unlogged = replace(study.fit, logger="none")
        fit_network(task, unlogged, fabric=fabric, seed=seed, console=silent)
    return predict_samples(
        device.place(kept[-1].eval()), dataset.folder, held_out, view_of(card), device=device,
        each_pixel=dataset.unit == "pixel",
    )  # fmt: skip


def build(card: ModelCard) -> nn.Module:
    """The network of a card, with fresh weights."""
    return checkpoint.build(card)


def make_card(
    dataset: SeriesDataset,
    study: TrainingSettings,
    statistics: BandStatistics,
    train: Samples | None = None,
) -> ModelCard:
    """The card of a network that is trained on a data set, or on some of its samples."""
    said = dataset.settings["series"]
    fill = study.series.fill
    if fill == "auto":
        fill = "linear" if study.model.name in REGULAR else said["fill"]
    if fill == "none" and study.model.name in REGULAR:
        raise InputError(
            f"series.fill=none: model={study.model.name} needs regular series; set"
            " series.fill=linear"
        )
    step = study.series.step or said["step"]
    shape = (dataset.shape_mean, dataset.shape_std)
    if train is not None:
        shape = shape_statistics(train)
    kept = dataset.settings["samples"]
    return ModelCard(
        model=study.model.trained(),
        bands=dataset.bands,
        statistics=statistics,
        dtype=dataset.dtype,
        nodata=dataset.settings["bands"]["nodata"],
        extra={},
        pixel_size_m=dataset.pixel_size_m,
        pixel_size_on=dataset.pixel_size_on,
        legend=dataset.legend,
        tiling=Tiling(128, 0),
        scores={},
        tags=dataset.tags,
        partial=bool(dataset.settings["bands"].get("partial")),
        series=SeriesCard(
            unit=dataset.unit,
            reference=dataset.reference,
            first_day=dataset.days[0],
            last_day=dataset.days[1],
            fill=fill,
            step=step,
            shape_mean=shape[0],
            shape_std=shape[1],
            min_clear=said["min_clear"],
            buffer_m=kept["buffer_m"],
            max_pixels=kept["max_pixels"],
            masked=dataset.settings.get("masked", False),
        ),
    )


def _task(
    dataset: SeriesDataset,
    samples: tuple[Samples, Samples],
    network: nn.Module,
    card: ModelCard,
    study: TrainingSettings,
    *,
    folder: Path,
    fabric: Fabric,
) -> Task:
    fit, legend, view, ranks = study.fit, dataset.legend, view_of(card), Ranks.of(fabric)
    each_pixel = dataset.unit == "pixel"
    train, val = (
        SeriesBatches(
            dataset.folder,
            part,
            indices(part.code, legend.codes),
            view,
            vary,
            each_pixel=each_pixel,
        )
        for part, vary in zip(samples, (study.series, None), strict=True)
    )
    of_units = indices(samples[0].code, legend.codes)[train.owner]
    counts = np.bincount(of_units, minlength=len(legend))
    each = np.eye(len(legend))[of_units]
    share = Share.of(Shuffle.of(each, fit, study.seed), fit, ranks)
    parts = BatchShuffle(share, ranks.share(fit.batch_size))
    options = loading(fit, fabric.device)
    order = InOrder(len(val), PREDICTED, rank=ranks.number, ranks=ranks.count)
    return Task(
        network,
        Supervised(loss_room.build(study.loss, counts[None], names=legend.names, ranks=ranks)),
        DataLoader(train, None, sampler=parts, **options),
        DataLoader(val, None, sampler=order, **options),
        SegmentationValidator(legend.names),
        folder,
        lambda *_: None,
        train.title,
    )


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
            probabilities = predict_samples(
                network, dataset.folder, samples, view, device=device,
                each_pixel=dataset.unit == "pixel", until=until,
            )  # fmt: skip
            matrix = confusion(truth, probabilities.argmax(axis=1), len(legend))
            return Scores.of(matrix, legend.names)

        scores = judge()
        written[split] = scores.to_dict()
        said.append(f"{split}: {len(samples)} samples\n{scores.table(dataset.unit)}")
        if split == "val":
            curve = ByDate.measure(judge, dataset.days, dataset.reference)
            curve.save(folder)
            said.append(str(curve))
    write_json(folder / SCORES, written)
    return "\n\n".join(said)
