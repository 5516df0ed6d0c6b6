"""Measure the statistics of batch normalisation anew (AdaBN, Li et al. 2016, section 3).

Letters in shapes: B windows of a batch, C channels, H and W.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Moments = tuple[Tensor, Tensor]
"""Mean (C,) and biased variance (C,) of what a layer was given, float64."""


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The layers of a network that scale by statistics of the training."""
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]


@torch.no_grad()
def renew(network: nn.Module, batches: Iterable[Tensor], *, share: float) -> None:
    """Replace the statistics of a network's batch normalisation by those of images.

    batches: of images (B, C, H, W), scaled. share: of the new statistics; the rest stays.
    Each layer sees what the layers before it make when they, too, scale by the images at hand. The
    variance over all images is the mean of those of the batches and the variance of their means.
    """
    layers = batch_norms(network)
    found: dict[_BatchNorm, list[Moments]] = defaultdict(list)

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        values = given[0].double()
        others = [axis for axis in range(values.ndim) if axis != 1]
        mean, variance = values.mean(others), values.var(others, correction=0)
        found[layer].append((mean, variance))  # type: ignore[index]

    network.eval()
    kept = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        for layer in layers:
            layer.train()
            layer.momentum = 0.0  # its own running mean would weigh the last batches most
            layer.num_batches_tracked = None  # it counts the training's
        for images in batches:
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (momentum, count) in zip(layers, kept, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
        network.eval()
    for layer in layers:
        if found[layer]:  # one that is never called keeps what it has
            _blend(layer, found[layer], share)


def _blend(layer: _BatchNorm, moments: list[Moments], share: float) -> None:
    means = torch.stack([mean for mean, _ in moments])
    within = torch.stack([variance for _, variance in moments]).mean(0)
    mean, variance = means.mean(0), within + means.var(0, correction=0)
    for mine, new in ((layer.running_mean, mean), (layer.running_var, variance)):
        assert mine is not None
        mine.mul_(1 - share).add_((share * new).to(mine.dtype))
