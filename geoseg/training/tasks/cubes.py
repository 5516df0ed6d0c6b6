"""Train networks on windows through time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from geoseg.dataset.tiles import Dataset
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.evaluation.by_date import ByDate
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.device import Device
from geoseg.outputs.files import write_json
from geoseg.samples.cubes import Batch, TrainCubes, ValCubes, collate
from geoseg.samples.tiles import train_tiles
from geoseg.training import recipe, refit
from geoseg.training.cards import card_of
from geoseg.training.loop import Task
from geoseg.training.objectives import loss
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import Session, ready
from geoseg.training.run.history import History
from geoseg.training.run.recorder import Keep
from geoseg.training.run_training import TaskBuilder, loaders, run_training
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import TrainingSettings
from geoseg.training.tasks.images import with_val
from geoseg.training.tasks.series import SCORES
from geoseg.training.validation import SegmentationValidator

BATCH = 4
"""Tiles per step where the settings leave it open: each brings all its dates."""
CURVE_TILES = 16
"""Tiles of val that are looked at again for each point of the curve by date, evenly spread."""


def learn_map(dataset: Dataset, folder: Path, study: TrainingSettings) -> str:
    """Train into `folder`; as `run_training`."""
    session, card = ready(recipe.for_images(study, dataset), BATCH), card_of(dataset, study.model)
    task = partial(_task, session=session)
    return run_training(
        TaskBuilder(
            session=session,
            card=card,
            task=partial(task, dataset),
            again=partial(task, with_val(dataset)) if dataset.tiles("val") else None,
            opening=partial(_opening, dataset, session),
            judged=partial(_judged, dataset, card, session.device),
        ),
        folder,
    )


def _task(
    dataset: Dataset, network: nn.Module, session: Session, *, folder: Path, keep: Keep
) -> Task:
    study, names = session.study, dataset.legend.names
    fit, ranks = study.fit, session.ranks
    tiles = train_tiles(dataset, fit.train_share, study.seed)
    train = TrainCubes(dataset, study.series, jitter=fit.jitter, tiles=tiles)
    counts = [tile.counts for tile in tiles]
    shuffle = Shuffle.of(counts, fit, study.seed)
    return Task(
        network=network,
        lesson=Supervised(loss.build(study.loss, counts, names=names, ranks=ranks)),
        **loaders(session, train, ValCubes(dataset), shuffle, collate_fn=collate),
        judge=SegmentationValidator(names),
        folder=folder,
        keep=keep,
        title=train.title,
    )


def _opening(dataset: Dataset, session: Session, network: nn.Module, task: Task) -> str:
    size = sum(p.numel() for p in network.parameters())
    train: Any = task.train.dataset
    val: Any = task.val.dataset
    return (
        f"{session.study.model.name}, {size} weights, {len(dataset.bands)} bands,"
        f" dates as they are, {len(dataset.legend)} classes, on {session}\n"
        f"{len(train)} train tiles of {train.side} px, {len(val)} val tiles"
    )


def judge(
    network: nn.Module,
    batches: Iterable[Batch],
    names: list[str],
    *,
    device: Device,
    until: float | None = None,
) -> Scores:
    """Scores over the pixels of batches of cubes. until: only dates up to this day are seen."""
    matrix = np.zeros((len(names), len(names)), np.int64)
    network.eval()
    with torch.inference_mode(), device.autocast():
        for cube, target in batches:
            values, valid, days = (part.to(device.torch) for part in cube)
            if until is not None:
                valid = valid & (days <= until)[..., None, None]
            found = network(values, valid, days).argmax(dim=1)
            matrix += confusion(target.numpy(), found.cpu().numpy(), len(names))
    return Scores.of(matrix, names)


def _judged(dataset: Dataset, card: ModelCard, device: Device, folder: Path, _: History) -> str:
    """Scores of val and test tiles, by class and by date; returns what is to be said."""
    best, _card = checkpoint.load(refit.judged(folder))
    network = device.place(best)
    names, said, written = dataset.legend.names, [], {}
    for split in ("val", "test"):
        cubes = ValCubes(dataset, split)
        if not len(cubes):
            continue
        scores = judge(network, DataLoader(cubes, collate_fn=collate), names, device=device)
        written[split] = scores.to_dict()
        said.append(f"{split}: {len(cubes)} tiles\n{scores.table()}")
        if split == "val":
            some = sorted({int(n) for n in np.linspace(0, len(cubes) - 1, CURVE_TILES)})
            batches = list(DataLoader(Subset(cubes, some), collate_fn=collate))
            assert card.series is not None
            curve = ByDate.measure(
                lambda day, batches=batches: judge(  # type: ignore[misc]
                    network, batches, names, device=device, until=day
                ),
                (card.series.first_day, card.series.last_day),
                card.series.reference,
            )
            curve.save(folder)
            said.append(str(curve))
    write_json(folder / SCORES, written)
    return "\n\n".join(said)
