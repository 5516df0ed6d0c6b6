"""Train a network on any kind of data, into a run folder or for a fold."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from geoseg.models import checkpoint, transfer
from geoseg.models.card import BEST, ModelCard
from geoseg.training import refit
from geoseg.training.loop import Task, fit_network, loading
from geoseg.training.lr_find import find_rate
from geoseg.training.processes.ranks import Session
from geoseg.training.run.history import History
from geoseg.training.run.recorder import Keep
from geoseg.training.sampler import Share, Shuffle
from geoseg.training.settings import Fit, TrainingSettings


def _weights(folder: Path) -> str:
    return f"weights: {folder / BEST}  curves: {folder / 'curves.png'}"


@dataclass(frozen=True, kw_only=True)
class TaskBuilder:
    """What a training has to know of the data it learns from."""

    session: Session
    card: ModelCard
    """Of the network with random weights."""
    task: Callable[..., Task]
    """(network, *, folder, keep) → what is to be learnt."""
    again: Callable[..., Task] | None = None
    """The same with the val samples among those of train, for fit.refit; None if there are none."""
    opening: Callable[[nn.Module, Task], str]
    """(network, task) → what is said before the first step."""
    report: Callable[[Path, History], str]
    """(run folder, history) → what is said of the weights that val has chosen."""
    keeper: Callable[[Path, ModelCard], Keep] = checkpoint.keeper
    """(folder, card) → what saves the best weights."""
    product: Callable[[Path], str] = _weights
    """(run folder) → the last line, which names what was made."""


def run_training(builder: TaskBuilder, folder: Path) -> str:
    """Train into `folder`, or go on there, with the other processes if there are any.

    Returns: what came out, as a text for people.
    """
    session, study = builder.session, builder.session.study
    fit = refit.first(study.fit) if builder.again else study.fit
    network = _new_network(builder.card, study)
    with session.fabric.rank_zero_first(local=True):  # weights are downloaded once
        before = None if study.lr_find else folder
        card, started = transfer.begin(network, study.model, builder.card, before)
    task = builder.task(network, folder=folder, keep=builder.keeper(folder, card))
    if session.ranks.first:
        print(started + builder.opening(network, task))
    if study.lr_find:
        return find_rate(task, fit, fabric=session.fabric, seed=study.seed)
    history = fit_network(task, fit, fabric=session.fabric, seed=study.seed)
    if not session.ranks.first:
        return ""
    said = builder.report(folder, history)
    if fit.refit and builder.again:
        text = refit.second(fit, history, folder, partial(_train_again, builder, card, folder))
        said = refit.below(said, text)
    remarks = [f"note: {remark}" for remark in history.remarks()]
    lines = [f"{history.finished(fit)}: {spent(history)}", said, *remarks, builder.product(folder)]
    return "\n".join(filter(None, lines))


def spent(history: History) -> str:
    """How long a training took, and a step of it, validations included."""
    minutes = f"{history.minutes:.1f} minutes"
    if not history.step:
        return minutes
    each = 60 * (history.minutes - history.before) / history.step
    return (
        f"{minutes}, {each:.2f} s per step"
        if each >= 1
        else f"{minutes}, {1000 * each:.0f} ms per step"
    )


def _new_network(card: ModelCard, study: TrainingSettings) -> nn.Module:
    """The network of a card with random weights, which the seed alone decides.

    Or with those that a module given in Python has.
    """
    torch.manual_seed(study.seed)
    return checkpoint.build(card, study.network)


def _train_again(
    builder: TaskBuilder, card: ModelCard, run: Path, folder: Path, fit: Fit
) -> History:
    """Train on train and val together into `folder`, the scores being those of before."""
    assert builder.again is not None
    session, study = builder.session, builder.session.study
    judged = ModelCard.read(refit.judged_weights(run))
    network = _new_network(builder.card, study)
    transfer.load(network, study.model, card)
    save = checkpoint.keeper(folder, replace(judged, refit=True))
    task = builder.again(network, folder=folder, keep=lambda best, _: save(best, judged.scores))
    return fit_network(task, fit, fabric=session.fabric, seed=study.seed)


def train_for_fold(session: Session, card: ModelCard, task: Callable[..., Task]) -> nn.Module:
    """Train without a word and without a run folder; the arguments as of `TaskBuilder`.

    Returns: the network with the averaged weights at the end of the schedule, on its device.
    """
    study, kept = session.study, list[nn.Module]()
    network = _new_network(card, study)
    transfer.begin(network, study.model, card, None)
    # A logger's run would be named after a run folder.
    fit = replace(study.fit, logger="none", pictures=0)
    with tempfile.TemporaryDirectory() as folder:
        made = task(network, folder=Path(folder), keep=lambda best, _: kept.append(best))
        silent = Console(file=io.StringIO())
        fit_network(made, fit, fabric=session.fabric, seed=study.seed, console=silent)
    return session.device.place(kept[-1].eval())


def loaders(
    session: Session, train: Any, val: Any, shuffle: Shuffle, **options: Any
) -> dict[str, Any]:
    """The batches `train` and `val` of a task, this process's part of them.

    train, val: torch data sets of tiles. options: of both loaders.
    """
    ranks, fit = session.ranks, session.study.fit
    part, share = ranks.share(fit.batch_size), Share.of(shuffle, fit, ranks)
    options = loading(fit, session.fabric.device) | options
    order = range(ranks.number, len(val), ranks.count)
    return {
        "train": DataLoader(train, part, sampler=share, **options),
        "val": DataLoader(val, part, sampler=order, **options),
    }
