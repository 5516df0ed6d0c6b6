"""Train networks for images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from geoseg.dataset import retile
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.models import checkpoint, transfer
from geoseg.models.card import BEST, ModelCard
from geoseg.models.device import Device
from geoseg.models.settings import Model
from geoseg.samples import augment as augment_room
from geoseg.samples.tiles import TrainTiles, ValTiles, gather, train_tiles
from geoseg.samples.unlabelled import PairedTiles
from geoseg.scenes.scene import Scene
from geoseg.training import advice, recipe, refit
from geoseg.training.checks import described
from geoseg.training.loop import Task, fit_network, loading
from geoseg.training.lr_find import find_rate
from geoseg.training.objectives import loss
from geoseg.training.objectives.mean_teacher import MeanTeacher
from geoseg.training.objectives.supervised import Objective, Supervised
from geoseg.training.processes.ranks import Ranks, ready
from geoseg.training.run.history import History
from geoseg.training.run.pictures import TilePictures
from geoseg.training.sampler import Share, Shuffle
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.validation import Difficulty, SegmentationValidator

CPU_BATCH, GPU_BATCH = 4, 16
"""Tiles per step where the settings leave it open, of 256 px and more."""
FULL = 256
MOST = 4
"""Smaller tiles come in batches up to so many times as large: with fewer pixels a step is noisier
and costs nearly as much."""


def learn(
    dataset: Dataset, folder: Path, study: TrainingSettings, *, unlabelled: Sequence[Scene] = ()
) -> str:
    """Train into `folder`, with the other processes if there are any.

    unlabelled: scenes with the data set's bands to learn from as well.
    Returns: what came out, as a text for people.
    """
    torch.manual_seed(study.seed)
    times = fuller(dataset)
    study, device, fabric = ready(
        recipe.for_images(study, dataset), times * CPU_BATCH, on_gpu=times * GPU_BATCH
    )
    fit, model, ranks = refit.first(study.fit), study.model, Ranks.of(fabric)
    card = ModelCard.of(dataset, model, {})
    network = checkpoint.build(card)
    with fabric.rank_zero_first(local=True):  # weights are downloaded once
        before = None if study.lr_find else folder
        card, started = transfer.begin(network, model, card, before)
    task = make_task(dataset, network, study, folder=folder, fabric=fabric, unlabelled=unlabelled)
    task.keep = checkpoint.keeper(folder, card)
    if ranks.first:
        print(started + _opening(dataset, network, model, task, f"{device}{ranks}"))
        print(recipe.said(study))
        for line in described(dataset, unlabelled):
            print(line)
    if study.lr_find:
        return find_rate(task, fit, fabric=fabric, seed=study.seed)
    history = fit_network(task, fit, fabric=fabric, seed=study.seed)
    if not ranks.first:
        return ""
    said = [_advice(dataset, folder, device)]
    if fit.refit and dataset.tiles("val"):
        both = replace(
            dataset, own=tuple(as_train(tile) for split in SPLITS for tile in dataset.tiles(split))
        )

        def again(place: Path, fit: Fit) -> None:
            torch.manual_seed(study.seed)
            judged = ModelCard.read(refit.judged(folder))
            network = checkpoint.build(card)
            transfer.load(network, model, card)
            task = make_task(
                both, network, study, folder=place, fabric=fabric, unlabelled=unlabelled
            )
            task.keep = lambda best, _: checkpoint.keeper(place, judged)(best, judged.scores)
            fit_network(task, fit, fabric=fabric, seed=study.seed)

        said.append(refit.second(fit, history, folder, again))
    return _closing(history, fit, folder, said)


def fuller(dataset: Dataset) -> int:
    """How many times as large as usual the batches of a data set of small tiles are."""
    return min(max((FULL // dataset.tiling.size) ** 2, 1), MOST)


def as_train(tile: Tile) -> Tile:
    """A val tile as one of train; others as they are."""
    return replace(tile, split="train") if tile.split == "val" else tile


def _advice(dataset: Dataset, folder: Path, device: Device) -> str:
    """What would gain in prediction, by the best weights on val; "" if nothing does."""
    val = ValTiles(dataset)
    if not len(val):
        return ""
    best, _ = checkpoint.load(refit.judged(folder))
    miou = advice.compare(device.place(best), val, dataset.legend.names, device)
    return advice.advise(miou, str(folder))


def make_task(
    dataset: Dataset,
    network: nn.Module,
    study: TrainingSettings,
    *,
    folder: Path,
    fabric: Fabric,
    unlabelled: Sequence[Scene] = (),
) -> Task:
    """What is to be learnt from a data set; the arguments as of `learn`."""
    fit, augment, names = study.fit, study.augment, dataset.legend.names
    ranks = Ranks.of(fabric)
    tiles = train_tiles(dataset, fit.train_share, study.seed)
    train: Any = TrainTiles(dataset, augment_room.build(augment), jitter=fit.jitter, tiles=tiles)
    val = ValTiles(dataset)
    counts = [tile.counts for tile in tiles]
    part = ranks.share(fit.batch_size)
    feeding = loading(fit, fabric.device) | {"collate_fn": gather}
    criterion = loss.build(study.loss, counts, names=names, ranks=ranks)
    share = Share.of(Shuffle.of(counts, fit, study.seed), fit, ranks)
    lesson: Objective = Supervised(criterion)
    if unlabelled:
        if part < 2:
            raise InputError(
                f"fit.unlabelled: each process gets {part} tile of fit.batch_size={fit.batch_size},"
                " and boxes of one tile are laid over another: 2 at least; raise fit.batch_size"
            )
        statistics = dataset.statistics
        train = PairedTiles(train, unlabelled, augment=augment, statistics=statistics)
        lesson = MeanTeacher(criterion, fit, autocast=fabric.autocast, ranks=ranks)
    difficulty = None
    if fit.hard:
        seen = ValTiles(dataset, tiles=tiles)
        difficulty = Difficulty(seen, part, fabric=fabric, options=feeding)
    return Task(
        network,
        lesson,
        DataLoader(train, part, sampler=share, **feeding),
        DataLoader(val, part, sampler=range(ranks.number, len(val), ranks.count), **feeding),
        SegmentationValidator(names),
        folder,
        lambda *_: None,
        train.title,
        difficulty,
        TilePictures(dataset, ValTiles(dataset), fabric) if fit.pictures and len(val) else None,
    )


def _opening(dataset: Dataset, network: nn.Module, model: Model, task: Task, on: str) -> str:
    size = sum(p.numel() for p in network.parameters()) / 1e6
    train: Any = task.train.dataset
    val: Any = task.val.dataset
    lines = [
        f"{model.name} {model.encoder}, {size:.1f} million weights, {len(dataset.bands)} bands,"
        f" {len(dataset.legend)} classes, on {on}",
        f"{len(train)} train tiles of {train.side} px, {len(val)} val tiles",
    ]
    slow = retile.complaint(dataset.scenes, dataset.tiling.size)
    lines += [f"note: {slow}"] if slow else []
    return "\n".join(lines)


def _closing(history: History, fit: Fit, folder: Path, said: Sequence[str]) -> str:
    lines = [f"{history.finished(fit)}: {history.minutes:.1f} minutes"]
    if history.rows and "val_miou" in history.rows[-1]:
        lines.append(f"best validation mIoU {history.best:.4f} in epoch {history.best_epoch}")
    lines += [text for text in said if text]
    lines += [f"note: {remark}" for remark in history.remarks()]
    lines.append(f"weights: {folder / BEST}  curves: {folder / 'curves.png'}")
    return "\n".join(lines)
