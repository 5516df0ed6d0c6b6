"""Say how an image looks without asking the network: brightness, contrast, how bands differ.

The deepest features of a network are trained to ignore what does not tell classes apart: order of
the bands, haze, an image without any contrast may all be lost on them. What is lost there is plain
in the image itself.

Letters of shapes: B windows of a batch, C bands, H and W, h and w cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 32
"""Pixels of a cell's side: the reach of one of the deepest features of most encoders."""
LEAST_CONTRAST = 0.005
"""In standard deviations of the training's images; what is below it is alike."""

MOST_OF_IT = 0.5
"""Share of a cell that must be image for its looks to count."""


def looks(images: Tensor) -> tuple[Tensor, Tensor]:
    """Looks (B, 3 · C - 1, h, w) of images (B, C, H, W) as networks see them, and what is seen.

    For each cell the means of the bands, the logarithms of their standard deviations, and those of
    the differences between neighbouring bands. Pixels that are 0 in all bands are none. The second
    value is the share (B, 1, h, w) of pixels of a cell that are there.
    """
    images = images.float()
    cells = max(1, round(images.shape[2] / CELL)), max(1, round(images.shape[3] / CELL))
    there = (images != 0).any(dim=1, keepdim=True).float()
    share = F.adaptive_avg_pool2d(there, cells)
    some = share.clamp_min(1e-6)

    def mean(values: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(values * there, cells) / some

    def contrast(values: Tensor) -> Tensor:
        variance = mean(values**2) - mean(values) ** 2
        return (variance.clamp_min(0).sqrt() + LEAST_CONTRAST).log()

    differences = images[:, 1:] - images[:, :-1]
    return torch.cat([mean(images), contrast(images), contrast(differences)], dim=1), share
