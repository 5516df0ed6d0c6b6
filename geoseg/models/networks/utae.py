"""U-TAE (Garnot & Landrieu 2021): a U-Net over all dates, whose bottom tells which dates count.

One encoder reads each date by itself. At the lowest resolution L-TAE attends to the dates; its
attention, enlarged, merges the dates of each skip connection too.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.models import settings
from geoseg.models.networks.ltae import LightAttention
from geoseg.models.networks.masked import put, take

WIDTH, HEADS, KEYS = 64, 16, 4
"""As published: channels at full resolution (other widths follow), heads, size of a key."""
GROUPS = 4
"""Groups of the encoder's norms."""
SMALLEST = 2
"""Cells at the lowest resolution, each way: convolutions there mirror their edge."""


class UTAE(nn.Module):
    """Series of images (B, T, C, H, W) to logits (B, K, H, W), for any T, H and W."""

    def __init__(self, model: settings.Model, channels: int, classes: int) -> None:
        super().__init__()
        width, heads = model.width or WIDTH, model.heads or HEADS
        down = (width, width, width, 2 * width)
        up = (width // 2, width // 2, width, 2 * width)
        first = nn.Sequential(
            *convolution(channels, width, norm="group"), *convolution(width, width, norm="group")
        )
        self.encoder = nn.ModuleList([first, *(Down(a, b) for a, b in pairwise(down))])
        self.time = LightAttention(
            4 * width, heads=heads, keys=model.keys or KEYS, dropout=model.dropped, knots=0
        )
        self.decoder = nn.ModuleList(
            Up(up[level + 1], up[level], skip=down[level]) for level in reversed(range(3))
        )
        # The published network ends with batch norm and ReLU. Without the ReLU, logits may be
        # negative, as a softmax wants.
        self.classifier = nn.Sequential(
            *convolution(up[0], up[0], norm="batch"),
            nn.Conv2d(up[0], classes, 3, padding=1, padding_mode="reflect"),
            nn.BatchNorm2d(classes),
        )

    def forward(self, values: Tensor, valid: Tensor, days: Tensor) -> Tensor:
        """Returns: logits (B, K, H, W) from values, valid (B, T, H, W) and days (B, T)."""
        height, width = values.shape[-2:]
        values, valid = self.pad(torch.where(valid.unsqueeze(2), values, 0), valid)
        *skips, bottom = self.encode(values, valid.flatten(2).any(2))
        merged, attention = self.attend(bottom, valid, days)
        for level, block in zip(reversed(range(len(skips))), self.decoder, strict=True):
            skip = merge(skips[level], attention, at_level(valid, level))
            merged = block(merged, skip)
        logits: Tensor = self.classifier(merged)
        return logits[..., :height, :width]

    def pad(self, values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Repeat the edges below and on the right, up to sides that can be halved."""
        stride = 2 ** (len(self.encoder) - 1)
        below, right = (max(-side % stride, SMALLEST * stride - side) for side in values.shape[-2:])
        if not below and not right:
            return values, valid
        sides = (0, right, 0, below)
        padded = F.pad(values.flatten(0, 1), sides, mode="replicate")
        seen = F.pad(valid.float(), sides, mode="replicate") > 0
        return padded.unflatten(0, values.shape[:2]), seen

    def encode(self, values: Tensor, seen: Tensor) -> list[Tensor]:
        """Features (B, T, C, h, w) at each resolution, 0 on dates (B, T) without data."""
        x = take(values, seen)
        features = []
        for block in self.encoder:
            x = block(x)
            features.append(put(x, seen))
        return features

    def attend(self, bottom: Tensor, valid: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w) and attention (B, heads, T, h, w) at the lowest resolution."""
        batch, _, _, height, width = bottom.shape
        seen = at_level(valid, len(self.encoder) - 1)
        cells = height * width
        features, attention = self.time(
            bottom.permute(0, 3, 4, 1, 2).flatten(0, 2),
            seen.permute(0, 2, 3, 1).flatten(0, 2),
            days.repeat_interleave(cells, 0),
        )
        features = features.unflatten(0, (batch, height, width)).permute(0, 3, 1, 2)
        attention = attention.unflatten(0, (batch, height, width)).permute(0, 3, 4, 1, 2)
        return features.contiguous(), attention


class Down(nn.Module):
    """Halve the resolution, then two convolutions, the second beside a shortcut."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.halve = nn.Sequential(*convolution(channels, channels, norm="group", stride=2))
        self.first = nn.Sequential(*convolution(channels, width, norm="group"))
        self.second = nn.Sequential(*convolution(width, width, norm="group"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.halve(x))
        return x + self.second(x)


class Up(nn.Module):
    """Double the resolution, join the skip connection, then two convolutions as in `Down`."""

    def __init__(self, channels: int, width: int, *, skip: int) -> None:
        super().__init__()
        self.skip = nn.Sequential(
            nn.Conv2d(skip, skip, 1), nn.BatchNorm2d(skip), nn.ReLU(inplace=True)
        )
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.first = nn.Sequential(*convolution(width + skip, width, norm="batch"))
        self.second = nn.Sequential(*convolution(width, width, norm="batch"))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.first(torch.cat([self.enlarge(x), self.skip(skip)], 1))
        return x + self.second(x)


def convolution(channels: int, width: int, *, norm: str, stride: int = 1) -> list[nn.Module]:
    """A convolution with its norm and ReLU: 3 × 3, or 4 × 4 where it halves the resolution."""
    kernel = 3 if stride == 1 else 4
    return [
        nn.Conv2d(channels, width, kernel, stride=stride, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(GROUPS, width),
        nn.ReLU(inplace=True),
    ]


def at_level(valid: Tensor, level: int) -> Tensor:
    """Cells (B, T, h, w) of 2^level pixels each way with at least one valid pixel."""
    return F.max_pool2d(valid.float(), 2**level) > 0 if level else valid


def merge(features: Tensor, attention: Tensor, valid: Tensor) -> Tensor:
    """The dates' features (B, T, C, h, w) as one (B, C, h, w), by the enlarged attention.

    Each head weighs its share of the channels. Cells without data on a date leave it out, and
    the other dates share its weight; 0 where no date has data.
    """
    heads, dates = attention.shape[1:3]
    weights = F.interpolate(attention.flatten(1, 2), size=valid.shape[-2:], mode="bilinear")
    weights = weights.unflatten(1, (heads, dates)) * valid.unsqueeze(1)
    weights = weights / weights.sum(2, keepdim=True).clamp_min(1e-6)
    # Multiplied and summed with pixels last: several times as fast as einsum on a CPU.
    grouped = features.contiguous().unflatten(2, (heads, -1))
    weights = weights.to(features.dtype).transpose(1, 2).unsqueeze(3)
    return (grouped * weights).sum(1).flatten(1, 2)
