"""From settings to a trained network: builds what the training loop needs, and runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from geoseg import augment as augment_room
from geoseg import checkpoint, transfer
from geoseg import loss as loss_room
from geoseg.augment import Augment
from geoseg.card import BEST, ModelCard
from geoseg.dataset import Dataset
from geoseg.device import choose
from geoseg.fit import History, Task, fit_network, loading
from geoseg.ranks import Ranks, start
from geoseg.samples.tiles import Share, Shuffle, TrainTiles, ValTiles
from geoseg.settings import Fit, Loss, Model

CPU_BATCH, GPU_BATCH = 4, 16
"""Tiles per step where the settings leave it open."""


def learn(
    dataset: Dataset,
    folder: Path,
    *,
    model: Model,
    loss: Loss,
    augment: Augment,
    fit: Fit,
    seed: int,
) -> str:
    """Train into `folder`, with the other processes if there are any.

    Returns: what came out, as a text for people.
    """
    torch.manual_seed(seed)
    device = choose(fit.device, fit.precision)
    fabric = start(device)
    ranks = Ranks.of(fabric)
    batch_size = CPU_BATCH if device.accelerator == "cpu" else GPU_BATCH
    fit = replace(fit, batch_size=fit.batch_size or batch_size)
    part = ranks.share(fit.batch_size)
    legend = dataset.legend
    card = make_card(dataset, model, {})
    network = checkpoint.build(card)
    with fabric.rank_zero_first(local=True):  # weights are downloaded once
        card, started = transfer.begin(network, model, card, folder)
    train = TrainTiles(dataset, augment_room.build(augment), jitter=fit.jitter)
    counts = [tile.counts for tile in train.tiles]
    criterion = loss_room.build(loss, counts, names=legend.names, ranks=ranks)
    val = ValTiles(dataset)
    if ranks.first:
        on = f"{device}{ranks}"
        print(started + _opening(dataset, network, model, (train, val), on))

    def keep(best: nn.Module, scores: dict[str, Any]) -> None:
        checkpoint.save(folder / BEST, best, replace(card, scores=scores))

    shuffle = Shuffle(len(train), least=fit.epoch_tiles, batch=fit.batch_size, seed=seed)
    share = Share(shuffle, batch=fit.batch_size, rank=ranks.number, ranks=ranks.count)
    options = loading(fit, fabric.device)
    task = Task(
        network,
        criterion,
        DataLoader(train, part, sampler=share, **options),
        DataLoader(val, part, sampler=range(ranks.number, len(val), ranks.count), **options),
        legend.names,
        folder,
        keep,
    )
    history = fit_network(task, fit, fabric=fabric, seed=seed)
    return _closing(history, fit, folder)


def make_card(dataset: Dataset, model: Model, scores: dict[str, Any]) -> ModelCard:
    """The card of a network that was trained on a data set."""
    bands = dataset.settings["bands"]
    dtypes = sorted({scene.dtype for scene in dataset.scenes})
    return ModelCard(
        model=model.trained(),
        bands=dataset.bands,
        statistics=dataset.statistics,
        dtype=dtypes[0],
        nodata=bands["nodata"],
        extra=bands["extra"],
        pixel_size_m=dataset.pixel_size_m,
        legend=dataset.legend,
        tiling=dataset.tiling,
        scores=scores,
    )


def _opening(
    dataset: Dataset,
    network: nn.Module,
    model: Model,
    data: tuple[TrainTiles, ValTiles],
    on: str,
) -> str:
    size = sum(p.numel() for p in network.parameters()) / 1e6
    train, val = data
    lines = [
        f"{model.name} {model.encoder}, {size:.1f} million weights, {len(dataset.bands)} bands,"
        f" {len(dataset.legend)} classes, on {on}",
        f"{len(train)} train tiles of {train.side} px, {len(val)} val tiles",
    ]
    return "\n".join(lines)


def _closing(history: History, fit: Fit, folder: Path) -> str:
    lines = [f"{history.finished(fit)}: {history.minutes:.1f} minutes"]
    if history.rows and "val_miou" in history.rows[-1]:
        lines.append(f"best validation mIoU {history.best:.4f} in epoch {history.best_epoch}")
    lines.append(f"weights: {folder / BEST}  curves: {folder / 'curves.png'}")
    return "\n".join(lines)
