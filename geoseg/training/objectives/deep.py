"""Learn from what a U-Net's decoder makes at coarser resolutions, too.

Deep supervision (Lee et al. 2015, "Deeply-supervised nets"): every level of the decoder has a layer
of its own that says classes, and the labels teach each of them. A decoder that begins at random
hears of them through four levels otherwise, and in the few steps of a short training its deeper
ones hardly move. Only the training has these layers; no file of weights holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geoseg.models.networks.build import SIDES, AnySize, pixel_path_of
from geoseg.training.objectives.supervised import Supervised

LEVELS = slice(1, 4)
"""Blocks of the decoder that learn so: from an eighth to half of the resolution."""


class DeepSupervised(Supervised):
    """As Supervised, with the mean loss of the decoder's levels, each at its own resolution."""

    def __init__(
        self, criterion: nn.Module, network: AnySize, classes: int, *, weight: float
    ) -> None:
        """Gives the network a layer for each level. weight: of their mean loss."""
        super().__init__(criterion)
        self._weight = weight
        self._said: list[Tensor] = []
        self._pixels: list[Tensor] = []
        self._whole: list[Tensor] = []
        inner: Any = network.network
        *_, last = inner.decoder.blocks
        blocks = list(inner.decoder.blocks)[LEVELS]
        sides = nn.ModuleList(nn.Conv2d(_width(block), classes, 1) for block in blocks)
        for side in sides:
            # They add to what single pixels tell, and say nothing yet.
            for weights in side.parameters():
                nn.init.zeros_(weights)
        setattr(network, SIDES, sides)
        for block, side in zip(blocks, sides, strict=True):
            block.register_forward_hook(_keep(self._said, side))
        last.register_forward_hook(_keep(self._whole, nn.Identity()))
        if (path := pixel_path_of(network)) is not None:
            path.register_forward_hook(_keep(self._pixels, nn.Identity()))

    def forward(self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float) -> Tensor:
        loss = super().forward(model, teacher, batch, progress)
        _, target = batch
        losses = [self._loss(said, target) for said in self._said]
        for kept in (self._said, self._pixels, self._whole):
            kept.clear()
        return loss + self._weight * torch.stack(losses).mean()

    def _loss(self, said: Tensor, target: Tensor) -> Tensor:
        """Of logits (B, K, h, w) of one level; target: (B, H, W), of which each has its pixel."""
        step = self._whole[0].shape[-1] // said.shape[-1]
        # Images are padded on the right and below: what is said of that has no truth.
        truth = target[:, step // 2 :: step, step // 2 :: step]
        height, width = truth.shape[-2:]
        said = said[..., :height, :width]
        for pixels in self._pixels:
            said = said + pixels[..., step // 2 :: step, step // 2 :: step]
        loss: Tensor = self.criterion(said, truth)
        return loss


def _width(block: nn.Module) -> int:
    *_, last = (module for module in block.modules() if isinstance(module, nn.Conv2d))
    return last.out_channels


def _keep(kept: list[Tensor], layer: nn.Module) -> Callable[[nn.Module, Any, Tensor], None]:
    """A hook that keeps what a layer makes of an output, in training.

    A function, which copies of the network share with it; they learn nothing themselves.
    """

    def hook(module: nn.Module, _: Any, made: Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            kept.append(layer(made))

    return hook
