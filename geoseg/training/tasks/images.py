"""Train networks for images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from geoseg.dataset import retile
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.models import checkpoint
from geoseg.models.device import Device
from geoseg.samples import augment as augment_room
from geoseg.samples.tiles import TrainTiles, ValTiles, gather, train_tiles
from geoseg.samples.unlabelled import PairedTiles
from geoseg.scenes.scene import Scene
from geoseg.training import advice, recipe, refit
from geoseg.training.cards import card_of
from geoseg.training.checks import described
from geoseg.training.loop import Task, loading
from geoseg.training.objectives import loss
from geoseg.training.objectives.mean_teacher import MeanTeacher
from geoseg.training.objectives.supervised import Objective, Supervised
from geoseg.training.processes.ranks import Session, ready
from geoseg.training.run.history import History
from geoseg.training.run.pictures import TilePictures
from geoseg.training.run.recorder import Keep
from geoseg.training.run_training import TaskBuilder, loaders, run_training
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import TrainingSettings
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
    """Train into `folder`; as `run_training`.

    unlabelled: scenes with the data set's bands to learn from as well.
    """
    return run_training(builder(dataset, study, unlabelled=unlabelled), folder)


def builder(
    dataset: Dataset, study: TrainingSettings, *, unlabelled: Sequence[Scene] = ()
) -> TaskBuilder:
    """What a training on tiles of images has to know; the arguments as of `learn`."""
    times = fuller(dataset)
    session = ready(recipe.for_images(study, dataset), times * CPU_BATCH, on_gpu=times * GPU_BATCH)
    task = partial(make_task, session=session, unlabelled=unlabelled)
    return TaskBuilder(
        session=session,
        card=card_of(dataset, study.model),
        task=partial(task, dataset),
        again=partial(task, with_val(dataset)) if dataset.tiles("val") else None,
        opening=partial(_opening, dataset, session, unlabelled),
        judged=partial(_judged, dataset, session.device),
    )


def fuller(dataset: Dataset) -> int:
    """How many times as large as usual the batches of a data set of small tiles are."""
    return min(max((FULL // dataset.tiling.size) ** 2, 1), MOST)


def with_val(dataset: Dataset) -> Dataset:
    """The data set with its val tiles among those of train."""
    tiles = [tile for split in SPLITS for tile in dataset.tiles(split)]
    return replace(dataset, own=tuple(map(_as_train, tiles)))


def _as_train(tile: Tile) -> Tile:
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
    session: Session,
    *,
    folder: Path,
    keep: Keep,
    unlabelled: Sequence[Scene] = (),
) -> Task:
    """What is to be learnt from a data set; the arguments as of `learn` and of `Task`."""
    study, ranks, fabric = session.study, session.ranks, session.fabric
    fit, augment, names = study.fit, study.augment, dataset.legend.names
    tiles = train_tiles(dataset, fit.train_share, study.seed)
    train: Any = TrainTiles(dataset, augment_room.build(augment), jitter=fit.jitter, tiles=tiles)
    val = ValTiles(dataset)
    counts = [tile.counts for tile in tiles]
    part = ranks.share(fit.batch_size)
    criterion = loss.build(study.loss, counts, names=names, ranks=ranks)
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
    difficulty = pictures = None
    if fit.hard:
        options = loading(fit, fabric.device) | {"collate_fn": gather}
        difficulty = Difficulty(
            ValTiles(dataset, tiles=tiles), part, fabric=fabric, options=options
        )
    if fit.pictures and len(val):
        pictures = TilePictures(dataset, ValTiles(dataset), fabric)
    shuffle = Shuffle.of(counts, fit, study.seed)
    return Task(
        network=network,
        lesson=lesson,
        **loaders(session, train, val, shuffle, collate_fn=gather),
        judge=SegmentationValidator(names),
        folder=folder,
        keep=keep,
        title=train.title,
        difficulty=difficulty,
        pictures=pictures,
    )


def _opening(
    dataset: Dataset,
    session: Session,
    unlabelled: Sequence[Scene],
    network: nn.Module,
    task: Task,
) -> str:
    size = sum(p.numel() for p in network.parameters()) / 1e6
    train: Any = task.train.dataset
    val: Any = task.val.dataset
    model = session.study.model
    lines = [
        f"{model.name} {model.encoder}, {size:.1f} million weights, {len(dataset.bands)} bands,"
        f" {len(dataset.legend)} classes, on {session}",
        f"{len(train)} train tiles of {train.side} px, {len(val)} val tiles",
    ]
    slow = retile.complaint(dataset.scenes, dataset.tiling.size)
    lines += [f"note: {slow}"] if slow else []
    return "\n".join([*lines, recipe.said(session.study), *described(dataset, unlabelled)])


def _judged(dataset: Dataset, device: Device, folder: Path, history: History) -> str:
    lines = []
    if history.rows and "val_miou" in history.rows[-1]:
        lines.append(f"best validation mIoU {history.best:.4f} in epoch {history.best_epoch}")
    return "\n".join(filter(None, [*lines, _advice(dataset, folder, device)]))
