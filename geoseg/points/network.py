"""PointNet: a network for sets of points.

Letters in shapes: B tiles, P points of each, F numbers of a point, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PLACE = 2
"""Numbers of a point that say where in the tile it lies; they are not scaled."""


class PointNet(nn.Module):
    """Segment points by what each is and by the largest of what all are.

    The network for segmentation of Qi et al. (2017, "PointNet: Deep Learning on Point Sets for 3D
    Classification and Segmentation", figure 2), without the two networks that turn the points:
    here it is known which way is up, and training turns the tiles around the vertical instead.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, classes: int, width: int) -> None:
        """features: numbers of a point beside its place. width: numbers that sum up a tile."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(PLACE + features))
        self.register_buffer("std", torch.ones(PLACE + features))
        self.local = nn.Sequential(_layer(PLACE + features, 64), _layer(64, 64))
        self.wide = nn.Sequential(_layer(64, 128), _layer(128, width))
        # A convolution of point and tile side by side, the tile's half computed once for all.
        self.of_point = nn.Conv1d(64, width // 2, 1, bias=False)
        self.of_tile = nn.Linear(width, width // 2)
        self.norm = nn.BatchNorm1d(width // 2)
        self.head = nn.Sequential(
            _layer(width // 2, width // 4), nn.Dropout(0.3), nn.Conv1d(width // 4, classes, 1)
        )

    def scale_by(self, mean: Tensor, std: Tensor) -> None:
        """Take mean and deviation (F,) of the features; the place stays as it is."""
        self.mean[PLACE:], self.std[PLACE:] = mean, std

    def forward(self, points: Tensor) -> Tensor:
        """Logits (B, K, P) of points (B, P, 2 + F)."""
        scaled = ((points - self.mean) / self.std).transpose(1, 2)
        local = self.local(scaled)
        tile = self.wide(local).amax(dim=2)
        joint = self.of_point(local) + self.of_tile(tile)[:, :, None]
        logits: Tensor = self.head(torch.relu(self.norm(joint)))
        return logits


def _layer(before: int, after: int) -> nn.Sequential:
    """A layer that all points share."""
    return nn.Sequential(
        nn.Conv1d(before, after, 1, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)
    )
