"""Judge a network on val samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geoseg.errors import InputError
from geoseg.evaluation.accuracy import Scores
from geoseg.geo.legend import IGNORED
from geoseg.received.target import what_went_wrong
from geoseg.samples.tiles import ValTiles
from geoseg.training.processes.ranks import Ranks
from geoseg.training.run.history import IOU, Validation

RESERVED = {"val_loss", "val_miou", "val_miou_clicks", "val_overall_accuracy"}
"""Columns of the history that are geoseg's."""
Validator = Callable[[nn.Module, Any, Fabric], Validation | None]
"""(network, val batches of this process, fabric) → its worth, or None without val samples."""


def inputs(given: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a network is called with: images in the layout that is fastest, series as they come."""
    if isinstance(given, Tensor):
        return (given.contiguous(memory_format=torch.channels_last),)
    return tuple(given)


def confusion(logits: Tensor, target: Tensor) -> Tensor:
    """Labelled pixels or samples by true and predicted class: (K, K) int64.

    logits: (B, K, …). target: (B, …), indices, 255 = ignored.
    """
    classes, truth = logits.shape[1], target.long()
    known = truth != IGNORED
    pairs = truth[known] * classes + logits.argmax(dim=1)[known]
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@torch.inference_mode()
def count(
    network: Callable[..., Tensor],
    batches: Iterable[tuple[Any, Tensor]],
    classes: int,
    *,
    device: torch.device,
    see: Callable[[Any], Sequence[Tensor]] = inputs,
    also: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Confusion matrix (K, K) int64 of batches (given, target), rows labels, on the device.

    network: in eval mode; from what `see` makes of the given to logits (B, K, …). In which number
    format it computes is the caller's, by an autocast around the call.
    also: is given the logits and the target of each batch too.
    """
    total = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    for given, target in batches:
        logits, target = network(*(part.to(device) for part in see(given))), target.to(device)
        total += confusion(logits, target)
        if also is not None:
            also(logits, target)
    return total


class SegmentationValidator:
    """Scores over all labelled pixels or samples; their mean IoU decides."""

    def __init__(self, names: list[str], metric: Callable[[np.ndarray], Any] | None = None) -> None:
        """names: of the K classes. metric: of the confusion (K, K), told beside the scores."""
        self._names, self._metric = names, metric

    @torch.inference_mode()
    def __call__(self, network: nn.Module, batches: Any, fabric: Fabric) -> Validation | None:
        if not len(batches.dataset):
            return None
        loss = torch.zeros((), device=fabric.device)

        def add(logits: Tensor, target: Tensor) -> None:
            loss.add_(
                F.cross_entropy(
                    logits.float(), target.long(), ignore_index=IGNORED, reduction="sum"
                )
            )

        with fabric.autocast():
            part = count(network.eval(), batches, len(self._names), device=fabric.device, also=add)
        ranks = Ranks.of(fabric)
        total = ranks.total(part)
        mean = float(ranks.total(loss) / total.sum().clamp(min=1))
        matrix = total.cpu().numpy()
        made = of_scores(Scores.of(matrix, self._names), mean)
        if self._metric is None:
            return made
        own = columns(self._metric, matrix)
        return replace(made, columns=made.columns | own)


def columns(metric: Callable[[np.ndarray], Any], matrix: np.ndarray) -> dict[str, float]:
    """What a metric says of a confusion matrix (K, K), rows labels, by column of the history.

    Raises: InputError if it fails, or gives no number.
    """
    name = getattr(metric, "__name__", type(metric).__name__)
    try:
        found = metric(matrix.copy())
        given = found if isinstance(found, dict) else {name: found}
        return {f"val_{key}": float(value) for key, value in given.items()}
    except Exception as error:  # foreign code may raise anything
        raise InputError(
            f"metric: {name}, called with the confusion matrix {matrix.shape}:"
            f" {what_went_wrong(error)}; expected a number, or numbers by name"
        ) from None


def of_scores(scores: Scores, loss: float | None = None) -> Validation:
    """loss: cross-entropy, a mean over all labelled pixels or samples, where it is known."""
    columns = {} if loss is None else {"val_loss": loss}
    columns |= {"val_miou": scores.miou, "val_overall_accuracy": scores.overall_accuracy}
    for name, iou, f1 in zip(scores.names, scores.iou, scores.f1, strict=True):
        columns |= {f"{IOU}{name}": iou, f"val_f1_{name}": f1}
    return Validation(scores.miou, columns, scores.to_dict())


class Difficulty:
    """Mean cross-entropy of each tile's labelled pixels, without augmentation; 0 without any."""

    def __init__(
        self, tiles: ValTiles, batch: int, *, fabric: Fabric, options: dict[str, Any]
    ) -> None:
        """batch: tiles at a time, of this process. options: of the DataLoader."""
        ranks = Ranks.of(fabric)
        self._own = range(ranks.number, len(tiles), ranks.count)
        loader = DataLoader(tiles, batch, sampler=self._own, **options)
        self._loader: Any = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
        self._count, self._fabric, self._ranks = len(tiles), fabric, ranks

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> list[float]:
        network.eval()
        found = torch.zeros(self._count, device=self._fabric.device)
        done = 0
        with self._fabric.autocast():
            for given, target in self._loader:
                logits = network(*inputs(given)).float()
                losses = F.cross_entropy(
                    logits, target.long(), ignore_index=IGNORED, reduction="none"
                )
                labelled = (target != IGNORED).sum((1, 2)).clamp(min=1)
                part = self._own[done : done + len(target)]
                found[part.start : part.stop : part.step] = losses.sum((1, 2)) / labelled
                done += len(target)
        return [float(loss) for loss in self._ranks.total(found).cpu()]
