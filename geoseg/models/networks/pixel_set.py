"""Encode the set of pixels of a parcel (Garnot et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoseg.models.networks.masked import Dense, on_valid

PIXEL_WIDTHS = (32, 64)
"""Widths of the layers that each pixel passes before pooling."""
FLAT = 1e-6
"""Added to variances: of one pixel it is 0, where a root has no slope."""


class PixelSet(nn.Module):
    """Pixels (B, T, S, C) to features (B, T, width): dense layers, mean and deviation, dense layer.

    The parcel's shape features join at each date. Norms see valid pixels and dates only.
    """

    def __init__(self, channels: int, width: int, *, shape_features: int) -> None:
        super().__init__()
        first, second = PIXEL_WIDTHS
        self.shape_features = shape_features
        self.pixel = nn.Sequential(Dense(channels, first), Dense(first, second))
        # As published, no ReLU at the end: the temporal encoder goes on with its norm.
        self.date = Dense(2 * second + shape_features, width, relu=False)

    def forward(self, values: Tensor, valid: Tensor, shape: Tensor) -> Tensor:
        """Returns: features (B, T, width), 0 on dates without any valid pixel.

        From values (B, T, S, C), valid (B, T, S) and shape (B, F), which is left unread without
        shape features.
        """
        shape = shape[:, None, : self.shape_features].expand(-1, values.shape[1], -1)
        return on_valid(self.encode, valid.any(2), values, valid, shape)

    def encode(self, values: Tensor, valid: Tensor, shape: Tensor) -> Tensor:
        """Features (N, width) of dates (N, S, C) of which each has some valid pixels (N, S)."""
        pixels = on_valid(self.pixel, valid, values)
        return self.date(torch.cat([*mean_and_deviation(pixels, valid), shape], -1))


def mean_and_deviation(pixels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Over the valid pixels, of which there are some; (N, C) each, in float32."""
    if pixels.shape[1] == 1:
        return pixels[:, 0].float(), pixels.new_full(pixels[:, 0].shape, FLAT**0.5).float()
    with torch.autocast(pixels.device.type, enabled=False):
        pixels = pixels.float()
        # Weights of the pixels: (N, 1, S) @ (N, S, C) is the mean over the valid ones.
        share = (valid / valid.sum(1, keepdim=True)).unsqueeze(1)
        mean = share @ pixels
        away = pixels - mean
        return mean[:, 0], ((share @ away.square_())[:, 0] + FLAT).sqrt()
