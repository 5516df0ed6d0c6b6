"""Train networks on windows through time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader, Subset

from geoseg.dataset.tiles import Dataset
from geoseg.evaluation.accuracy import Scores
from geoseg.evaluation.by_date import ByDate
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.device import Device
from geoseg.outputs.counted import counted
from geoseg.outputs.files import write_json
from geoseg.samples.cubes import Batch, Cube, ValCubes, collate
from geoseg.training import recipe, refit
from geoseg.training.cards import card_of
from geoseg.training.loop import Task
from geoseg.training.processes.ranks import Session, ready
from geoseg.training.run.history import History
from geoseg.training.run_training import TaskBuilder, run_training
from geoseg.training.settings import TrainingSettings
from geoseg.training.tasks.images import TrainingData, make_task, with_val
from geoseg.training.tasks.series import SCORES
from geoseg.training.validation import count

BATCH = 4
"""Tiles per step where the settings leave it open: each brings all its dates."""
CURVE_TILES = 16
"""Tiles of val that are looked at again for each point of the curve by date, evenly spread."""


def learn_map(dataset: Dataset, folder: Path, study: TrainingSettings) -> str:
    """Train into `folder`; as `run_training`."""
    session, card = ready(recipe.for_images(study, dataset), BATCH), card_of(dataset, study.model)
    task, data = partial(make_task, session=session), TrainingData(dataset)
    return run_training(
        TaskBuilder(
            session=session,
            card=card,
            task=partial(task, data),
            again=partial(task, TrainingData(with_val(dataset))) if dataset.tiles("val") else None,
            opening=partial(_opening, dataset, session),
            report=partial(_report, dataset, card, session),
        ),
        folder,
    )


def _opening(dataset: Dataset, session: Session, network: nn.Module, task: Task) -> str:
    size = sum(p.numel() for p in network.parameters())
    train: Any = task.train.dataset
    val: Any = task.val.dataset
    return (
        f"{session.study.model.title}, {size} weights, {len(dataset.bands)} bands,"
        f" dates as they are, {len(dataset.legend)} classes, on {session}\n"
        f"{counted(len(train), 'train tile')} of {train.side} px, {counted(len(val), 'val tile')}\n"
        f"{recipe.said(session.study)}"
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

    def seen(cube: Cube) -> Cube:
        values, valid, days = cube
        return values, valid if until is None else valid & (days <= until)[..., None, None], days

    with device.autocast():
        matrix = count(network.eval(), batches, len(names), device=device.torch, see=seen)
    return Scores.of(matrix.cpu().numpy(), names)


def _report(dataset: Dataset, card: ModelCard, session: Session, folder: Path, _: History) -> str:
    """Scores of val and test tiles, by class and by date; returns what is to be said."""
    best, _card = checkpoint.load(refit.judged_weights(folder), session.study.network)
    device = session.device
    network = device.place(best)
    names, said, written = dataset.legend.names, [], {}
    for split in ("val", "test"):
        cubes = ValCubes(dataset, split)
        if not len(cubes):
            continue
        scores = judge(network, DataLoader(cubes, collate_fn=collate), names, device=device)
        written[split] = scores.to_dict()
        said.append(f"{split}: {counted(len(cubes), 'tile')}\n{scores.table()}")
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
