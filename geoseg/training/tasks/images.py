"""Train networks for images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geoseg.dataset import retile
from geoseg.dataset.prepare import filled, measure
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.models import checkpoint
from geoseg.models.card import LAST
from geoseg.models.device import choose
from geoseg.models.networks.build import Clicked
from geoseg.outputs.counted import counted
from geoseg.outputs.summary import Summary
from geoseg.samples import augment as augment_room
from geoseg.samples.cubes import TrainCubes, ValCubes, collate
from geoseg.samples.own_augment import own_augment
from geoseg.samples.style import Styles, read_styles
from geoseg.samples.tiles import (
    Augmentation,
    TrainTiles,
    ValTiles,
    gather,
    sample_side,
    train_tiles,
)
from geoseg.samples.unlabelled import PairedTiles
from geoseg.scenes.scene import Scene
from geoseg.training import advice, recipe, refit
from geoseg.training.cards import card_of
from geoseg.training.checks import described, find_styles
from geoseg.training.loop import Task, loading, read_well
from geoseg.training.objectives.adversarial import Adversarial
from geoseg.training.objectives.clicks import JUDGED, Clicks, ClicksValidator
from geoseg.training.objectives.mean_teacher import MeanTeacher
from geoseg.training.objectives.own import criterion_of
from geoseg.training.objectives.remember import Earlier, Remember
from geoseg.training.objectives.supervised import Objective, Supervised
from geoseg.training.processes.ranks import Session, ready
from geoseg.training.quick import pixels
from geoseg.training.run.history import History
from geoseg.training.run.pictures import TilePictures
from geoseg.training.run.recorder import Keep
from geoseg.training.run_training import TaskBuilder, loaders, run_training, train_for_fold
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import TrainingSettings
from geoseg.training.tasks.earlier import EarlierRun
from geoseg.training.validation import Difficulty, Judge, SegmentationValidator, count

CPU_BATCH, GPU_BATCH = 4, 16
"""Tiles per step where the settings leave it open, of 256 px and more."""
FULL = 256
MOST = 4
"""Smaller tiles come in batches up to so many times as large: with fewer pixels a step is noisier
and costs nearly as much."""


@dataclass(frozen=True)
class TrainingData:
    """What a network for images learns from."""

    dataset: Dataset
    unlabelled: Sequence[Scene] = ()
    """Scenes with the data set's bands to learn from as well."""
    earlier: EarlierRun | None = None
    """Whose classes are kept."""


def learn(
    dataset: Dataset,
    folder: Path,
    study: TrainingSettings,
    *,
    unlabelled: Sequence[Scene] = (),
    earlier: EarlierRun | None = None,
) -> str:
    """Train into `folder`; as `run_training`. The arguments as of `TrainingData`."""
    return run_training(builder(TrainingData(dataset, unlabelled, earlier), study), folder)


def builder(data: TrainingData, study: TrainingSettings) -> TaskBuilder:
    """What a training on tiles of images has to know."""
    dataset = data.dataset if data.earlier is None else data.earlier.scaled(data.dataset)
    data = replace(data, dataset=dataset)
    on_cpu = choose(study.fit.device, study.fit.precision).accelerator == "cpu"
    study = recipe.for_images(study, dataset, on_cpu=on_cpu)
    times = fuller(study.fit.crop or dataset.tiling.size)
    session = ready(study, times * CPU_BATCH, on_gpu=times * GPU_BATCH)
    task = partial(make_task, session=session)
    return TaskBuilder(
        session=session,
        card=replace(card_of(dataset, study.model), clicks=study.fit.clicks),
        task=partial(task, data),
        again=partial(task, replace(data, dataset=with_val(dataset)))
        if dataset.tiles("val")
        else None,
        opening=partial(_opening, data, session),
        judged=partial(_judged, dataset, session),
    )


def fit_fold(
    dataset: Dataset, train: Sequence[Tile], held_out: Sequence[Tile], study: TrainingSettings
) -> np.ndarray:
    """Train on some tiles, the scaling being theirs too, and judge others with the last weights.

    What is held out chooses nothing: neither scaling nor epoch. A tile's split does not matter.
    Returns: confusion matrix (K, K) int64 of the labelled pixels held out, each counted once.
    Raises: InputError if the training ran away.
    """
    fold = dataset.with_splits(train=train, test=held_out)
    fold = filled(replace(fold, statistics=measure(fold, Summary())))
    made = builder(TrainingData(fold), study)
    network = train_for_fold(made.session, made.card, made.task)
    fit, device = made.session.study.fit, made.session.device

    def sound(image: Tensor) -> Tensor:
        logits: Tensor = network(image)
        if not torch.isfinite(logits).all():
            raise InputError(
                "the network gives no numbers, its training ran away; set a lower"
                f" fit.learning_rate than {fit.peak:g}"
            )
        return logits

    batches = DataLoader(ValTiles(fold, "test"), fit.batch_size, **loading(fit, device.torch))
    with read_well(), device.autocast():
        matrix = count(sound, batches, len(fold.legend), device=device.torch)
    return matrix.cpu().numpy()


def fuller(side: int) -> int:
    """How many times as large as usual the batches of samples with this side are."""
    return min(max((FULL // side) ** 2, 1), MOST)


def parts_of(dataset: Dataset, crop: int | None) -> int:
    """How many squares of a side cover a tile: so many are drawn where it would be."""
    size = dataset.tiling.size
    return (size // min(size, crop or size)) ** 2


def with_val(dataset: Dataset) -> Dataset:
    """The data set with its val tiles among those of train."""
    train, val, test = map(dataset.tiles, SPLITS)
    return dataset.with_splits(train=train + val, test=test)


def _advice(dataset: Dataset, session: Session, folder: Path) -> str:
    """What would gain in prediction, by the best weights on val; "" if nothing does."""
    val = ValTiles(dataset)
    if not len(val):
        return ""
    best, _ = checkpoint.load(refit.judged(folder), session.study.network)
    device = session.device
    miou = advice.compare(device.place(best), val, dataset.legend.names, device)
    return advice.advise(miou, str(folder))


def make_task(
    data: TrainingData, network: nn.Module, session: Session, *, folder: Path, keep: Keep
) -> Task:
    """What is to be learnt from tiles, with dates or without. folder, keep: as of `Task`."""
    dataset, unlabelled, earlier = data.dataset, data.unlabelled, data.earlier
    study, ranks, fabric = session.study, session.ranks, session.fabric
    fit, augment, names = study.fit, study.augment, dataset.legend.names
    tiles = train_tiles(dataset, fit.train_share, study.seed)
    train: Any
    val: Any
    together: Any
    if dataset.reference is None:
        train = TrainTiles(
            dataset, augmentation(study), style=styles_of(dataset, study, tiles), jitter=fit.jitter,
            tiles=tiles, crop=fit.crop,
        )  # fmt: skip
        val, together, shown = ValTiles(dataset), gather, fit.pictures
    else:
        train = TrainCubes(dataset, study.series, jitter=fit.jitter, tiles=tiles, crop=fit.crop)
        val, together, shown = ValCubes(dataset), collate, 0
    counts = [tile.counts for tile in tiles]
    part = ranks.share(fit.batch_size)
    criterion = criterion_of(study, counts, names=names, ranks=ranks)
    began = time.monotonic()
    # What goes on has its weights yet to come; a search of the rate never goes on.
    if study.lr_find or not (folder / LAST).exists():
        pixels.begin(network, train, val, study, counts, names)
    spent = (time.monotonic() - began) / 60
    lesson: Objective = Supervised(criterion)
    if fit.adversarial:
        lesson = Adversarial(criterion, fit, autocast=fabric.autocast)
    if earlier is not None:
        lesson = _remember(earlier, criterion, session)
    judge: Judge = SegmentationValidator(names, study.own.metric)
    if isinstance(network, Clicked):
        network.still = fit.clicks_only
        lesson = Clicks(criterion, only=fit.clicks_only)
        judge = ClicksValidator(names, study.own.metric, only=fit.clicks_only)
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
    if shown and len(val):
        pictures = TilePictures(dataset, ValTiles(dataset), fabric)
    shuffle = Shuffle.of(counts, fit, study.seed, parts=parts_of(dataset, fit.crop))
    return Task(
        network=network,
        lesson=lesson,
        **loaders(session, train, val, shuffle, collate_fn=together),
        judge=judge,
        folder=folder,
        keep=keep,
        title=train.title,
        difficulty=difficulty,
        pictures=pictures,
        spent=spent,
    )


def _remember(earlier: EarlierRun, criterion: nn.Module, session: Session) -> Remember:
    before, _ = checkpoint.load(earlier.path)
    return Remember(
        criterion,
        Earlier(before, earlier.bands, earlier.classes),
        weight=session.study.fit.remember_weight,
        autocast=session.fabric.autocast,
        ranks=session.ranks,
    )


def augmentation(study: TrainingSettings) -> Augmentation:
    """What varies the train tiles."""
    if study.augment.target is None:
        return augment_room.build(study.augment)
    return own_augment(study.augment, study.own.augment)


def styles_of(dataset: Dataset, study: TrainingSettings, tiles: list[Tile]) -> Styles | None:
    """The looks of other scenes that train tiles get."""
    scenes = find_styles(study.augment, card_of(dataset, study.model), dataset)
    if not scenes:
        return None
    side = sample_side(tiles, study.fit.crop or dataset.tiling.size)
    return read_styles(dataset, scenes, study.augment, tiles=tiles, side=side)


def _opening(data: TrainingData, session: Session, network: nn.Module, task: Task) -> str:
    dataset, earlier = data.dataset, data.earlier
    size = sum(p.numel() for p in network.parameters()) / 1e6
    train: Any = task.train.dataset
    val: Any = task.val.dataset
    model = session.study.model
    side = sample_side(dataset.tiles("train"), dataset.tiling.size)
    squares = f" in squares of {train.side} px" if train.side < side else ""
    lines = [
        f"{model.title}, {size:.1f} million weights, {len(dataset.bands)} bands,"
        f" {len(dataset.legend)} classes, on {session}",
        f"{counted(len(train), 'train tile')} of {side} px{squares},"
        f" {counted(len(val), 'val tile')}",
    ]
    slow = retile.complaint(dataset.scenes, dataset.tiling.size)
    lines += [f"note: {slow}"] if slow else []
    remembered = earlier.said(dataset.legend.names) if earlier else []
    told = [recipe.said(session.study), *remembered, *described(dataset, data.unlabelled)]
    return "\n".join([*lines, *told])


def _judged(dataset: Dataset, session: Session, folder: Path, history: History) -> str:
    lines = []
    if history.rows and "val_miou" in history.rows[-1]:
        best = history.rows[history.best_epoch - 1]
        lines.append(f"best validation mIoU {best['val_miou']:.4f} in epoch {history.best_epoch}")
        if "val_miou_clicks" in best:
            lines.append(f"after {JUDGED} clicks into each tile: {best['val_miou_clicks']:.4f}")
    return "\n".join(filter(None, [*lines, _advice(dataset, session, folder)]))
