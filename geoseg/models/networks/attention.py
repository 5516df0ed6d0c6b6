"""Temporal attention: positions of dates and weights over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PERIOD = 1000.0
"""T of the sinusoidal encoding: its slowest wave takes 2π · 1000 days (Garnot et al. 2020)."""


def encode_days(days: Tensor, width: int) -> Tensor:
    """Sines (even channels) and cosines (odd ones) of any real days; no table, so no last day.

    Returns: (…, width) float32 from days (…).
    """
    slowness = torch.arange(0, width, 2, device=days.device, dtype=torch.float32) / width
    angles = days.float().unsqueeze(-1) * torch.exp(-math.log(PERIOD) * slowness)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


def shared_days(days: Tensor, valid: Tensor) -> Tensor:
    """Days that are safe to compute with: (1, T) where all samples share them, else (N, T).

    Without this, the pixels of one image would each have the same days encoded again.
    """
    if bool((days.isfinite() & (days == days[:1])).all()):
        return days[:1].float()
    return torch.where(valid, days, 0).float()


def attention_weights(scores: Tensor, valid: Tensor) -> Tensor:
    """Softmax over the valid dates; all 0, not NaN, where there are none.

    Returns: weights (N, heads, T) float32 from scores (N, heads, T) and valid (N, T).
    """
    scores = scores.float()
    valid = valid.unsqueeze(1)
    scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) * valid


class DatesNorm(nn.Module):
    """Group norm over all valid dates of a sample, whatever the padding.

    Scale and shift are by channel or, with `knots`, by channel and season: given at so many days
    spread evenly over the year, linear in between.
    """

    YEAR = 365.25

    def __init__(self, channels: int, *, groups: int, knots: int = 0) -> None:
        super().__init__()
        self.groups, self.knots = groups, knots
        shape = (knots, channels) if knots else (channels,)
        # Kept as distance from 1, so that weight decay pulls it to "no scaling".
        self.scale = nn.Parameter(torch.zeros(shape))
        self.shift = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, valid: Tensor, days: Tensor) -> Tensor:
        """Returns: (N, T, C) float32 from x (N, T, C), valid (N, T) and days (N or 1, T)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            # Weights of the dates: (N, 1, T) @ (N, T, C) is the mean over the valid ones.
            share = (valid / valid.sum(1, keepdim=True).clamp_min(1)).unsqueeze(1)
            mean = self.by_group(share @ x)
            away = x - mean
            slope = (self.by_group(share @ (away * away)) + 1e-5).rsqrt()
            if self.knots:
                away = away * slope
                return torch.addcmul(self.at(days, self.shift), away, 1 + self.at(days, self.scale))
            return torch.addcmul(self.shift, away, slope * (1 + self.scale))

    def by_group(self, mean: Tensor) -> Tensor:
        """Means (N, 1, C) averaged over the channels of each group, at each of its channels."""
        grouped = mean.unflatten(-1, (self.groups, -1))
        return grouped.mean(-1, keepdim=True).expand_as(grouped).flatten(-2)

    def at(self, days: Tensor, parameter: Tensor) -> Tensor:
        knots = torch.arange(self.knots, device=days.device)
        place = (days * (self.knots / self.YEAR)).remainder(self.knots)
        away = (place.unsqueeze(-1) - knots).abs()
        away = torch.minimum(away, self.knots - away)
        return (1 - away).clamp_min(0) @ parameter
