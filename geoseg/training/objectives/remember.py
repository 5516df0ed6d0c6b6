"""Learn new classes and keep those of an earlier network where the labels say nothing.

To the labels of a later step, ground of the old classes is without label: the background shift of
Cermelli et al. (2020). Letters of shapes: B tiles, K classes, O old ones, C bands, H rows, W
columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geoseg.geo.legend import IGNORED
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import ALONE, Ranks
from geoseg.training.validation import inputs


@dataclass(frozen=True)
class Earlier:
    """A network that knows the old classes, and where its bands and classes are among the new."""

    network: nn.Module
    bands: Sequence[int]
    """Index of each of its bands."""
    classes: Sequence[int]
    """Index of each of its classes."""


class Remember(Supervised):
    """Batches (image, target): the loss of the labels and, where there are none, of forgetting."""

    def __init__(
        self,
        criterion: nn.Module,
        earlier: Earlier,
        *,
        weight: float,
        autocast: Callable[[], AbstractContextManager[Any]],
        ranks: Ranks = ALONE,
    ) -> None:
        """criterion: of the labelled part. weight: of distillation.

        autocast: context in which networks compute.
        """
        super().__init__(criterion)
        self.earlier = earlier.network.eval().requires_grad_(requires_grad=False)
        self.register_buffer("_bands", torch.tensor(earlier.bands), persistent=False)
        self.register_buffer("_classes", torch.tensor(earlier.classes), persistent=False)
        self._weight, self._autocast, self._ranks = weight, autocast, ranks

    def forward(self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float) -> Tensor:
        image, target = batch
        logits = model(*inputs(image))
        loss: Tensor = self.criterion(logits, target)
        self.add(logits, target)
        shown = (image != 0).any(1)
        return loss + self.forgetting(logits, self.known(image), shown & (target == IGNORED))

    @torch.no_grad()
    def known(self, image: Tensor) -> Tensor:
        """Probabilities (B, O, H, W) of the old classes, by the earlier network."""
        with self._autocast():
            logits = self.earlier(*inputs(image[:, self.get_buffer("_bands")]))
        return logits.float().softmax(1)

    def forgetting(self, logits: Tensor, known: Tensor, free: Tensor) -> Tensor:
        """The two unbiased terms, each a mean over pixels without label; 0 if all is remembered.

        Cross-entropy takes these pixels for any of the old classes, whichever it be (eq. 5 there).
        Distillation has the old classes share that probability as the earlier network has it (eq.
        8), which says nothing of the new ones: a divergence, so that it can reach 0.

        logits: (B, K, H, W). known: (B, O, H, W). free: (B, H, W), without label but with image.
        """
        with torch.autocast(logits.device.type, enabled=False):
            log_p = logits.float().log_softmax(1)[:, self.get_buffer("_classes")]
            log_old = log_p.logsumexp(1, keepdim=True)
            log_known = known.clamp_min(torch.finfo(known.dtype).tiny).log()
            diverging = (known * (log_known - log_p + log_old)).sum(1)
            losses = torch.where(free, self._weight * diverging - log_old[:, 0], 0)
            total = self._ranks.total(losses.sum())
            return total / self._ranks.total(free.sum()).clamp(min=1)
