"""Judges: what a network is worth on val samples, by the counts of all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from geoseg.accuracy import Scores
from geoseg.history import IOU, Validation
from geoseg.legend import IGNORED
from geoseg.ranks import Ranks

Judge = Callable[[nn.Module, Any, Fabric], Validation | None]
"""(network, val batches of this process, fabric) → its worth, or None without val samples."""


def inputs(given: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a network is called with: images in the layout that is fastest, series as they come."""
    if isinstance(given, Tensor):
        return (given.contiguous(memory_format=torch.channels_last),)
    return tuple(given)


class ClassJudge:
    """Scores over all labelled pixels or samples; their mean IoU decides."""

    def __init__(self, names: list[str]) -> None:
        """names: of the K classes."""
        self._names = names

    @torch.inference_mode()
    def __call__(self, network: nn.Module, batches: Any, fabric: Fabric) -> Validation | None:
        if not len(batches.dataset):
            return None
        network.eval()
        classes = len(self._names)
        counts = MulticlassConfusionMatrix(classes, ignore_index=IGNORED, validate_args=False)
        counts = counts.to(fabric.device)
        with fabric.autocast():
            for given, target in batches:
                logits = network(*inputs(given))
                counts.update(logits.argmax(dim=1), target.long())
        total = Ranks.of(fabric).total(counts.confmat)
        return of_scores(Scores.of(total.cpu().numpy(), self._names))


def of_scores(scores: Scores) -> Validation:
    columns = {"val_miou": scores.miou, "val_overall_accuracy": scores.overall_accuracy}
    for name, iou, f1 in zip(scores.names, scores.iou, scores.f1, strict=True):
        columns |= {f"{IOU}{name}": iou, f"val_f1_{name}": f1}
    return Validation(scores.miou, columns, scores.to_dict())
