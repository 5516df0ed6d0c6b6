"""LeNet-5 (LeCun et al. 1998), written out, for images of any size and number of bands.

Two rounds of "convolve, squash, halve", then three full layers. As published but for two points:
the second convolution sees all maps of the first, and what it gives is averaged to 5 × 5 places
whatever the size of the image, where the paper has images of 32 × 32 pixels that come to just that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEATURES = 84
"""Units of the last layer before the classes."""


class LeNet(nn.Module):
    """Images (B, C, H, W) to features (B, 84)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # An image of 32 × 32 pixels comes to 28 × 28: a kernel of 5 has no place at the edge.
        self.conv1 = nn.Conv2d(channels, 6, kernel_size=5)
        # Halved to 14 × 14, it comes to 10 × 10.
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        # Halved to 5 × 5 of 16 features: 400 numbers, and each unit sees them all.
        self.full1 = nn.Linear(16 * 5 * 5, 120)
        self.full2 = nn.Linear(120, FEATURES)
        self.halve = nn.AvgPool2d(2)
        self.places = nn.AdaptiveAvgPool2d(5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.halve(torch.tanh(self.conv1(image)))
        x = self.places(self.halve(torch.tanh(self.conv2(x))))
        x = torch.tanh(self.full1(x.flatten(1)))
        return torch.tanh(self.full2(x))
