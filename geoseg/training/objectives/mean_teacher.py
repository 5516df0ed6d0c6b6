"""Learn from unlabelled tiles by a mean teacher.

Where the teacher is sure (Sohn et al. 2020, FixMatch) of a tile that it sees as it is, the student
has to come to the same class from another light, through holes, and with a box of another tile laid
over it (CutMix; French et al. 2020). Letters of shapes: B tiles, K classes, C bands, H rows, W
columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.geo.legend import IGNORED
from geoseg.training.processes.ranks import ALONE, Ranks
from geoseg.training.settings import Fit
from geoseg.training.validation import inputs

RISE = 0.3
"""Share of the training over which the unlabelled loss gets its weight: a young teacher errs."""
BOX = 0.5
"""Share of a tile that another one covers."""


class MeanTeacher(nn.Module):
    """Batches ((image, weak, strong, seen), target): the loss of labels and that of agreement."""

    def __init__(
        self,
        criterion: nn.Module,
        fit: Fit,
        *,
        autocast: Callable[[], AbstractContextManager[Any]],
        ranks: Ranks = ALONE,
    ) -> None:
        """criterion: of the labelled part. autocast: context in which networks compute."""
        super().__init__()
        self.criterion = criterion
        self._weight, self._confidence = fit.unlabelled_weight, fit.confidence
        self._autocast, self._ranks = autocast, ranks

    def forward(self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float) -> Tensor:
        (image, weak, strong, seen), target = batch
        taught = self.teach(teacher, weak).where(seen, IGNORED)
        strong, taught, seen = mixed(strong, taught, seen)
        # One pass for both: norms see all, and a network over several processes may be called once.
        logits = model(*inputs(torch.cat((image, strong))))
        labelled: Tensor = self.criterion(logits[: len(image)], target)
        agreeing = self.agreement(logits[len(image) :].float(), taught, seen)
        return labelled + self._weight * risen(progress) * agreeing

    @torch.no_grad()
    def teach(self, teacher: nn.Module, image: Tensor) -> Tensor:
        """Indices (B, H, W) that the teacher is sure of, elsewhere ignored."""
        teacher.eval()
        with self._autocast():
            logits = teacher(*inputs(image))
        confidence, found = logits.float().softmax(1).max(1)
        return found.where(confidence >= self._confidence, IGNORED)

    def agreement(self, logits: Tensor, taught: Tensor, seen: Tensor) -> Tensor:
        """Cross-entropy (Sohn et al. 2020, eq. 4): a mean over all seen pixels, sure or not."""
        losses = F.cross_entropy(logits, taught, ignore_index=IGNORED, reduction="sum")
        return self._ranks.total(losses) / self._ranks.total(seen.sum()).clamp(min=1)


def risen(progress: float) -> float:
    """Share of its weight that the unlabelled loss has (Laine & Aila 2017, section 2)."""
    return math.exp(-5 * (1 - min(progress / RISE, 1.0)) ** 2)


def mixed(strong: Tensor, taught: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tiles (B, C, H, W), taught and seen (B, H, W) with a box of the next tile laid over each."""
    height, width = seen.shape[-2:]
    # A box of a random shape and of BOX of the area, at a random place.
    share = float(torch.empty(()).uniform_(math.log(BOX), 0).exp())
    rows = max(1, round(height * share))
    columns = max(1, min(width, round(width * BOX / share)))
    top = int(torch.randint(height - rows + 1, ()))
    left = int(torch.randint(width - columns + 1, ()))
    box = torch.zeros((height, width), dtype=torch.bool, device=seen.device)
    box[top : top + rows, left : left + columns] = True
    return (
        torch.where(box, strong.roll(1, 0), strong),
        torch.where(box, taught.roll(1, 0), taught),
        torch.where(box, seen.roll(1, 0), seen),
    )
