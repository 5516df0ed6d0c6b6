"""Learn from labelled batches."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from geoseg.training.validation import confusion, inputs


class Objective(Protocol):
    """What `fit_network` makes small; a module, whose buffers go to the network's device."""

    def __call__(
        self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float
    ) -> Tensor: ...

    """(network, network with the averaged weights, batch, share of the training done) → loss.

    Of several processes each has its part of a batch; the loss is that of the whole.
    """


class Supervised(nn.Module):
    """Batches (inputs, target): the loss of what the network makes of its inputs."""

    def __init__(self, criterion: nn.Module) -> None:
        """criterion: (output, target) → scalar."""
        super().__init__()
        self.criterion = criterion
        self.counts: Tensor | None = None
        """Confusion (K, K) of what was learnt from since it was last set to None."""

    def forward(self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float) -> Tensor:
        given, target = batch
        logits = model(*inputs(given))
        loss: Tensor = self.criterion(logits, target)
        self.add(logits, target)
        return loss

    @torch.no_grad()
    def add(self, logits: Tensor, target: Tensor) -> None:
        """Count what was learnt from."""
        counts = confusion(logits, target)
        self.counts = counts if self.counts is None else self.counts + counts
