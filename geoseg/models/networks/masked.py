"""Layers over valid entries only, blind to padding and clouds."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PART = 8192
"""Entries (samples × dates × pixels) whose features, 1 KB each, a cache holds."""


def take(x: Tensor, valid: Tensor) -> Tensor:
    """The valid entries (N, …) of x (*valid.shape, …); a view of x where all are valid."""
    flat = x.flatten(0, valid.ndim - 1)
    if valid.all():
        return flat
    return flat.index_select(0, positions(valid))


def put(entries: Tensor, valid: Tensor) -> Tensor:
    """The inverse of `take`: entries (N, …) at their places in (*valid.shape, …), 0 elsewhere."""
    if not valid.all():
        empty = entries.new_zeros(valid.numel(), *entries.shape[1:])
        entries = empty.index_copy(0, positions(valid), entries)
    return entries.unflatten(0, valid.shape)


def on_valid(function: Callable[..., Tensor], valid: Tensor, *inputs: Tensor) -> Tensor:
    """What the function makes (N, …) of the valid entries of its inputs, put back in place."""
    return put(function(*(take(x, valid) for x in inputs)), valid)


def in_parts(network: nn.Module, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The function of all samples (B, T, …, C); on a CPU and not in training, of a few at a time.

    Their features then stay in the processor's cache, which more than doubles the speed.
    """
    entries = inputs[0][0, ..., 0].numel() if len(inputs[0]) else 1
    part = max(PART // max(entries, 1), 1)
    if network.training or inputs[0].device.type != "cpu" or len(inputs[0]) <= part:
        return function(*inputs)
    parts = zip(*(x.split(part) for x in inputs), strict=True)
    return torch.cat([function(*some) for some in parts])


def positions(valid: Tensor) -> Tensor:
    return valid.flatten().nonzero().squeeze(1)


def pixel_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid pixels of each date; 0 where there are none.

    Returns: (B, T, C) from values (B, T, S, C) and valid (B, T, S).
    """
    total = torch.where(valid.unsqueeze(-1), values, 0).sum(2)
    return total / valid.sum(2).clamp_min(1).unsqueeze(-1)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over (N, C) or (N, C, T); fewer than two values take the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() >= 2 * self.num_features:
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class Dense(nn.Module):
    """A dense layer over (N, C) with batch norm and, if wanted, ReLU."""

    def __init__(self, channels: int, width: int, *, relu: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width)
        self.norm = BatchNorm(width)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = self.norm(self.linear(x))
        else:
            # The norm is part of the weights now: one pass over x fewer.
            assert self.norm.running_mean is not None
            assert self.norm.running_var is not None
            scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
            bias = (self.linear.bias - self.norm.running_mean) * scale + self.norm.bias
            x = F.linear(x, self.linear.weight * scale.unsqueeze(1), bias)
        return x.relu_() if self.relu else x


def classifier(width: int, classes: int) -> nn.Sequential:
    """The published decoder of pixel-set networks: features (N, width) to logits (N, K)."""
    return nn.Sequential(Dense(width, 64), Dense(64, 32), nn.Linear(32, classes))
