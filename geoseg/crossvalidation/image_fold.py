"""Train the network of one fold of images and judge it on what it was not shown."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from geoseg.dataset.prepare import filled, measure
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.evaluation.accuracy import confusion
from geoseg.models import checkpoint, transfer
from geoseg.models.card import ModelCard
from geoseg.models.device import Device
from geoseg.models.settings import Model
from geoseg.outputs.summary import Summary
from geoseg.samples.augment import Augment
from geoseg.samples.settings import SeriesSamples
from geoseg.samples.tiles import ValTiles
from geoseg.training import recipe
from geoseg.training.loop import fit_network, loading, read_well
from geoseg.training.processes.ranks import ready
from geoseg.training.settings import Fit, Loss, TrainingSettings
from geoseg.training.tasks.images import CPU_BATCH, GPU_BATCH, fuller, make_task
from geoseg.training.validation import inputs

FitTiles = Callable[..., np.ndarray]
"""(dataset, train, held_out, *, seed) → confusion matrix (K, K)."""


def fit_fold(
    dataset: Dataset,
    train_tiles: Sequence[Tile],
    held_out_tiles: Sequence[Tile],
    *,
    model: Model,
    loss: Loss,
    augment: Augment,
    fit: Fit,
    seed: int,
) -> np.ndarray:
    """Train on some tiles, the scaling being theirs too, and judge others with the last weights.

    What is held out chooses nothing: neither scaling nor epoch. A tile's split does not matter.
    Returns: confusion matrix (K, K) int64 of the labelled pixels held out, each counted once.
    Raises: InputError if the training ran away.
    """
    own = [replace(tile, split="train") for tile in train_tiles]
    own += [replace(tile, split="test") for tile in held_out_tiles]
    fold = replace(dataset, own=tuple(own))
    fold = filled(replace(fold, statistics=measure(fold, Summary())))
    torch.manual_seed(seed)
    study = TrainingSettings(model, loss, fit, SeriesSamples(), seed, augment=augment)
    times = fuller(fold)
    study, device, fabric = ready(
        recipe.for_images(study, fold), times * CPU_BATCH, on_gpu=times * GPU_BATCH
    )
    fit = study.fit
    with tempfile.TemporaryDirectory() as folder:
        network = _train(fold, Path(folder), fabric, study)
    held_out = ValTiles(fold, "test")
    options = loading(fit, device.torch)
    return _judge(
        device.place(network.eval()),
        DataLoader(held_out, fit.batch_size, **options),
        len(fold.legend),
        device=device,
        rate=fit.peak,
    )


def _train(fold: Dataset, folder: Path, fabric: Fabric, study: TrainingSettings) -> nn.Module:
    """The averaged weights at the end of the schedule, as nothing is validated."""
    card = ModelCard.of(fold, study.model, {})
    network = checkpoint.build(card)
    transfer.begin(network, study.model, card, None)
    kept: list[nn.Module] = []
    task = make_task(fold, network, study, folder=folder, fabric=fabric)
    task.keep = lambda best, _: kept.append(best)
    silent = Console(file=io.StringIO())
    fit = replace(study.fit, logger="none", pictures=0)
    fit_network(task, fit, fabric=fabric, seed=study.seed, console=silent)
    return kept[-1]


def _judge(
    network: nn.Module,
    batches: DataLoader[tuple[torch.Tensor, torch.Tensor]],
    classes: int,
    *,
    device: Device,
    rate: float,
) -> np.ndarray:
    """Confusion matrix (K, K). rate: the learning rate, for the words if it was too high."""
    matrix = np.zeros((classes, classes), np.int64)
    with torch.inference_mode(), device.autocast(), read_well():
        for image, target in batches:
            logits = network(*inputs(image.to(device.torch)))
            if not torch.isfinite(logits).all():
                raise InputError(
                    "the network gives no numbers, its training ran away; set a lower"
                    f" fit.learning_rate than {rate:g}"
                )
            matrix += confusion(target.numpy(), logits.argmax(dim=1).cpu().numpy(), classes)
    return matrix
