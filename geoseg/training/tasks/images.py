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
from geoseg.training import advice, recipe
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
from geoseg.training.validation import Difficulty, SegmentationValidator, Validator, count

CPU_BATCH, GPU_BATCH = 4, 16
"""Samples per step where the settings leave it open, of as many pixels as these and more."""
FULL = 256
PHOTOGRAPH = 128
"""The same of photographs on a CPU: there minutes are few steps, and four times as many of 4
squares teach more than those of 16; on coarser pixels they did not (docs/benchmarks.md)."""
MOST = 4
"""Smaller samples come in batches up to so many times as large: with fewer pixels a step is noisier
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
    accelerator = choose(study.fit.device, study.fit.precision).accelerator
    study = recipe.for_images(study, dataset, on_cpu=accelerator == "cpu")
    on_cpu, on_gpu = usual_batches(study, dataset)
    session = ready(study, on_cpu, on_gpu=on_gpu)
    task = partial(make_task, session=session)
    return TaskBuilder(
        session=session,
        card=replace(card_of(dataset, study.model), clicks=study.fit.clicks),
        task=partial(task, data),
        again=partial(task, replace(data, dataset=with_val(dataset)))
        if dataset.tiles("val")
        else None,
        opening=partial(_opening, data, session),
        report=partial(_report, dataset, session),
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


def usual_batches(study: TrainingSettings, dataset: Dataset) -> tuple[int, int]:
    """Samples of a step on a CPU and on a GPU, where the settings leave it open.

    study: as of `recipe.for_images`.
    """
    small = study.model.name in recipe.CROPPED and recipe.is_fine(dataset)
    side = study.fit.crop or dataset.tiling.size
    on_cpu, on_gpu = (
        min(max((full // side) ** 2, 1), MOST) for full in (PHOTOGRAPH if small else FULL, FULL)
    )
    return on_cpu * CPU_BATCH, on_gpu * GPU_BATCH


def parts_of(dataset: Dataset, crop: int | None) -> int:
    """How many squares of a side cover a tile: so many are drawn where it would be."""
    size = dataset.tiling.size
    return (size // min(size, crop or size)) ** 2


def with_val(dataset: Dataset) -> Dataset:
    """The data set with its val tiles among those of train."""
    train, val, test = map(dataset.tiles, SPLITS)
    return dataset.with_splits(train=train + val, test=test)


def make_task(
    data: TrainingData, network: nn.Module, session: Session, *, folder: Path, keep: Keep
) -> Task:
    """What is to be learnt from tiles, with dates or without. folder, keep: as of `Task`."""
    dataset, study, fabric = data.dataset, session.study, session.fabric
    fit, names, is_dated = study.fit, dataset.legend.names, dataset.reference is not None
    tiles = train_tiles(dataset, fit.train_share, study.seed)
    counts = [tile.counts for tile in tiles]
    train: Any = _train_samples(dataset, study, tiles)
    val: Any = ValCubes(dataset) if is_dated else ValTiles(dataset)
    criterion = criterion_of(study, counts, names=names, ranks=session.ranks)
    began = time.monotonic()
    # What goes on has its weights yet to come; a search of the rate never goes on.
    if study.lr_find or not (folder / LAST).exists():
        pixels.begin(network, train, val, study, counts, names)
    spent = (time.monotonic() - began) / 60
    objective, validator = _objective(data, network, criterion, session)
    if data.unlabelled:
        statistics = dataset.statistics
        train = PairedTiles(train, data.unlabelled, augment=study.augment, statistics=statistics)
    difficulty = pictures = None
    if fit.hard:
        options = loading(fit, fabric.device) | {"collate_fn": gather}
        part = session.ranks.share(fit.batch_size)
        difficulty = Difficulty(
            ValTiles(dataset, tiles=tiles), part, fabric=fabric, options=options
        )
    if fit.pictures and not is_dated and len(val):
        pictures = TilePictures(dataset, ValTiles(dataset), fabric)
    shuffle = Shuffle.of(counts, fit, study.seed, parts=parts_of(dataset, fit.crop))
    return Task(
        network=network,
        objective=objective,
        **loaders(session, train, val, shuffle, collate_fn=collate if is_dated else gather),
        validator=validator,
        folder=folder,
        keep=keep,
        title=train.title,
        difficulty=difficulty,
        pictures=pictures,
        spent=spent,
    )


def _train_samples(
    dataset: Dataset, study: TrainingSettings, tiles: list[Tile]
) -> TrainTiles | TrainCubes:
    fit = study.fit
    if dataset.reference is not None:
        return TrainCubes(dataset, study.series, jitter=fit.jitter, tiles=tiles, crop=fit.crop)
    return TrainTiles(
        dataset, augmentation(study), style=styles_of(dataset, study, tiles), jitter=fit.jitter,
        tiles=tiles, crop=fit.crop,
    )  # fmt: skip


def _objective(
    data: TrainingData, network: nn.Module, criterion: nn.Module, session: Session
) -> tuple[Objective, Validator]:
    """How batches are learnt from, and how the network is judged. Raises: InputError."""
    study, ranks, autocast = session.study, session.ranks, session.fabric.autocast
    fit, names = study.fit, data.dataset.legend.names
    if isinstance(network, Clicked):
        network.still = fit.clicks_only
        validator = ClicksValidator(names, study.own.metric, only=fit.clicks_only)
        return Clicks(criterion, only=fit.clicks_only), validator
    plain = SegmentationValidator(names, study.own.metric)
    if data.unlabelled:
        part = ranks.share(fit.batch_size)
        if part < 2:
            raise InputError(
                f"fit.unlabelled: each process gets {part} tile of fit.batch_size={fit.batch_size},"
                " and boxes of one tile are laid over another: 2 at least; raise fit.batch_size"
            )
        return MeanTeacher(criterion, fit, autocast=autocast, ranks=ranks), plain
    if data.earlier is not None:
        before, _ = checkpoint.load(data.earlier.path)
        earlier = Earlier(before, data.earlier.bands, data.earlier.classes)
        weight = fit.remember_weight
        return Remember(criterion, earlier, weight=weight, autocast=autocast, ranks=ranks), plain
    if fit.adversarial:
        return Adversarial(criterion, fit, autocast=autocast), plain
    return Supervised(criterion), plain


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


def _report(dataset: Dataset, session: Session, folder: Path, history: History) -> str:
    lines = []
    if history.rows and "val_miou" in history.rows[-1]:
        best = history.rows[history.best_epoch - 1]
        lines.append(f"best validation mIoU {best['val_miou']:.4f} in epoch {history.best_epoch}")
        if "val_miou_clicks" in best:
            lines.append(f"after {JUDGED} clicks into each tile: {best['val_miou_clicks']:.4f}")
    lines.append(advice.on_val(dataset, folder, session.study.network, session.device))
    return "\n".join(filter(None, lines))
