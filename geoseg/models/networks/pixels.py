"""Classify single pixels by their bands and by what lies around them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOWS = (3, 5, 9, 17)
"""Heights and widths of the neighbourhoods of a pixel."""
LEAST = 1e-6
"""What divides is no smaller."""


class PixelPath(nn.Module):
    """Images (B, C, H, W) to logits (B, K, H, W), for any H and W: two layers on `neighbourhoods`.

    It is fitted in seconds (training.quick), and what it finds is added to the logits of a deeper
    network, which then learns only what shapes and surroundings tell beyond that.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, classes: int, width: int) -> None:
        """channels: bands C. classes: K. width: units of each layer."""
        super().__init__()
        features = (1 + 3 * len(WINDOWS)) * channels
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.zeros(features))
        self.layers = nn.Sequential(
            nn.Conv2d(features, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, classes, 1),
        )

    @property
    def is_new(self) -> bool:
        """Whether nothing was fitted or loaded yet: then all pixels look alike to it."""
        return not bool(self.scale.any())

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F, H, W) float32 of images (B, C, H, W), not yet standardised."""
        with torch.autocast(images.device.type, enabled=False):
            return neighbourhoods(images.float())

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K, H, W) of features (B, F, H, W)."""
        standard = (features - self.mean[:, None, None]) * self.scale[:, None, None]
        logits: Tensor = self.layers(standard)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))


def neighbourhoods(images: Tensor) -> Tensor:
    """Features (B, 13 C, H, W) of images (B, C, H, W): the bands, and for each of WINDOWS their
    mean, their deviation, and how far the pixel is from the mean.

    What is 0 in all bands is not seen, as the scaling of bands leaves it: it counts nowhere. Every
    pixel is summed up in the same order wherever it lies, so no window makes a difference.
    """
    visible = seen(images)
    features = [images]
    for side in WINDOWS:
        count = _box(visible, side).clamp_min(LEAST)
        mean = _box(images, side) / count
        square = _box(images.square(), side) / count
        features += [mean, (square - mean.square()).clamp_min(0).sqrt(), (images - mean) * visible]
    return torch.cat(features, dim=1)


def seen(images: Tensor) -> Tensor:
    """(B, 1, H, W): 1 where an image shows anything, else 0."""
    return (images != 0).any(dim=1, keepdim=True).float()


def _box(images: Tensor, side: int) -> Tensor:
    """Means over squares; beyond the edge all is 0."""
    half = side // 2
    rows = F.avg_pool2d(images, (1, side), stride=1, padding=(0, half))
    return F.avg_pool2d(rows, (side, 1), stride=1, padding=(half, 0))
