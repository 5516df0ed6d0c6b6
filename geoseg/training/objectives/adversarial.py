"""Learn from tiles that the network's own gradient has perturbed, so that it withstands that.

Letters of shapes: B tiles, C bands, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.geo.legend import IGNORED
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.settings import Fit
from geoseg.training.validation import inputs

STRIDE = 1.25
"""Length of a single step in ε (Wong et al. 2020); of several it is twice that, all together."""


class Adversarial(Supervised):
    """Batches (image, target): the loss of a batch of which a share of the tiles is perturbed."""

    def __init__(
        self,
        criterion: nn.Module,
        fit: Fit,
        *,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """criterion: (output, target) → scalar. autocast: context in which networks compute."""
        super().__init__(criterion)
        self._share, self._epsilon = fit.adversarial, fit.epsilon
        self._steps, self._autocast = fit.adversarial_steps, autocast

    def forward(self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float) -> Tensor:
        image, target = batch
        # A share of a tile is a chance: of a batch of 4 a tenth is a tile now and then.
        count = int(self._share * len(image) + torch.rand(()).item())
        chosen = torch.randperm(len(image))[:count].to(image.device)
        if count:
            image = image.clone()
            image[chosen] = self.perturbed(bare(model), image[chosen], target[chosen])
        return super().forward(model, teacher, (image, target), progress)

    def perturbed(self, network: nn.Module, image: Tensor, target: Tensor) -> Tensor:
        """Tiles (B, C, H, W), each value moved by epsilon at most; none where there is no image."""
        free = (image != 0).any(1, keepdim=True)
        change = (2 * torch.rand_like(image) - 1) * self._epsilon
        step = self._epsilon * STRIDE * (1 if self._steps == 1 else 2 / self._steps)
        with standing_still(network):
            for _ in range(self._steps):
                moved = (image + change * free).detach().requires_grad_()
                with torch.enable_grad(), self._autocast():
                    logits = network(*inputs(moved))
                loss = F.cross_entropy(
                    logits.float(), target.long(), ignore_index=IGNORED, reduction="sum"
                )
                (gradient,) = torch.autograd.grad(loss, moved)
                change = (change + step * gradient.sign()).clamp(-self._epsilon, self._epsilon)
        return (image + change * free).detach()


def bare(model: nn.Module) -> nn.Module:
    """The network within its wrappers, which count how often they are called."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    return model


@contextmanager
def standing_still(network: nn.Module) -> Iterator[None]:
    """Context in which neither statistics of norms nor weights change, and nothing drops out."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
