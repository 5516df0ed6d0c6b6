"""Show a network what a person said of places, as channels beside the bands.

After DISIR (Lenczner et al. 2020, "DISIR: Deep image segmentation with interactive refinement"):
clicks are channels of the input, one per class, and the weights stay as they are.
Letters of shapes: B images, C bands, K classes, H and W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.models.networks.smp import convolution

REACH = 64
"""Pixels around a click within which it can change the map."""
WIDTHS = (16, 32, 48)
"""Channels at full, half and quarter resolution."""
SHARP = 8
"""Power by which a channel of distances becomes one of disks, half as strong after 5 pixels."""


class Person(Protocol):
    """Who looks at maps and clicks into what is wrong."""

    rounds: int
    """How often they look."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Channels (B, K, H, W) of all clicks so far, from logits (B, K, H, W) of the map."""
        ...


def encode(corrected: np.ndarray, classes: int, *, ignored: int) -> np.ndarray:
    """Channels (K, H, W) float32: 1 where it was corrected to a class, falling to 0 around.

    corrected: (H, W) indices of classes, `ignored` where nothing was corrected.
    """
    from scipy.ndimage import distance_transform_edt  # half as slow as all of geoseg

    made = np.zeros((classes, *corrected.shape), np.float32)
    for index in np.unique(corrected[corrected != ignored]).tolist():
        made[index] = near(distance_transform_edt(corrected != index))
    return made


def near(distance: np.ndarray) -> np.ndarray:
    """What a channel says at a distance in pixels: 1 on a click, 0 from REACH on."""
    return np.clip(1 - distance / REACH, 0, 1).astype(np.float32)


class ClickPath(nn.Module):
    """What clicks change in the logits of a network that does not see them.

    A small U-Net of image, map and clicks. Where no click is near it adds nothing, so that without
    clicks the map is that of the network, to the bit.
    """

    def __init__(self, bands: int, classes: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        first, *_ = widths
        self.down = nn.ModuleList()
        before = bands + 3 * classes
        for width in widths:
            layers = [*convolution(before, width), *convolution(width, width)]
            self.down.append(nn.Sequential(*layers))
            before = width
        self.up = nn.ModuleList(
            nn.Sequential(*convolution(low + high, high))
            for low, high in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(first, classes, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, images: Tensor, logits: Tensor, clicks: Tensor) -> Tensor:
        """What is added to logits (B, K, H, W); images: (B, C, H, W), clicks: (B, K, H, W)."""
        shares = logits.float().softmax(dim=1).to(logits.dtype)
        x = torch.cat([images, shares, clicks, clicks**SHARP], dim=1)
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            if number:
                kept.append(x)
                x = F.avg_pool2d(x, 2, ceil_mode=True)
            x = block(x)
        for block in self.up:
            skip = kept.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = block(torch.cat([x, skip], dim=1))
        # Within half the reach clicks count in full.
        weight = (2 * clicks.amax(dim=1, keepdim=True)).clamp(max=1)
        change: Tensor = self.last(x)
        return weight * change
