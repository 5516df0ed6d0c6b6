"""Schedule: how fast which weights move, and when an encoder stands still."""

from __future__ import annotations

import math

import torch
from torch import nn

from geoseg.settings import Fit

LOWEST = 0.01
"""Where the learning rate ends, as a share of its peak."""
SWA_RATE = 0.25
"""Where it stays while weights are averaged evenly: high enough to walk around in the valley
(Izmailov et al. 2018 take a constant rate near the peak's half to tenth)."""


def learning_rate(fit: Fit, progress: float) -> float:
    """Linear rise over the warm-up, then a cosine down to 1 % (Loshchilov & Hutter 2017).

    With fit.swa the cosine ends earlier, at 25 %, where the rate stays (Izmailov et al. 2018).
    progress: share of the training that is done, 0..1.
    """
    if progress < fit.warmup:
        return fit.peak * max(progress / fit.warmup, 0.01)
    lowest = SWA_RATE if fit.swa else LOWEST
    falling = min((progress - fit.warmup) / (1 - fit.swa - fit.warmup), 1.0)
    return fit.peak * (lowest + (1 - lowest) * (1 + math.cos(math.pi * falling)) / 2)


def encoder_of(network: nn.Module) -> nn.Module | None:
    """The encoder of a network for images; networks for series have none."""
    encoder = getattr(network, "encoder", None)
    return encoder if isinstance(encoder, nn.Module) else None


def optimizer_of(network: nn.Module, fit: Fit) -> torch.optim.Optimizer:
    """AdamW; biases and norms do not decay, and the encoder may learn at another rate.

    A bias or a norm's scale has nothing to over-fit with, and decay pulls it from where it should
    be (He et al. 2019, "Bag of tricks", section 3.1).
    """
    encoder = encoder_of(network)
    inside = set() if encoder is None else {id(weights) for weights in encoder.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for weights in network.parameters():
        scale = fit.encoder_lr_scale if id(weights) in inside else 1.0
        decay = fit.weight_decay if weights.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(weights)
    return torch.optim.AdamW(
        [
            {"params": weights, "scale": scale, "weight_decay": decay}
            for (scale, decay), weights in groups.items()
        ],
        lr=fit.peak,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def set_frozen(network: nn.Module, *, frozen: bool) -> None:
    """Let the encoder stand still, statistics of its norms included, or move; for training."""
    network.train()
    encoder = encoder_of(network)
    if encoder is not None:
        encoder.requires_grad_(not frozen)
        encoder.train(not frozen)
