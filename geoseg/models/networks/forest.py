"""Evaluate forests of decision trees as networks, for images and for series.

The features are made here, in growing as in prediction; the trees come from training.tasks.grow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geoseg.models.networks.masked import pixel_mean
from geoseg.models.networks.pixels import WINDOWS, neighbourhoods, seen
from geoseg.models.networks.trees import Trees

INDEXED = range(4, 9)
"""Numbers of bands of which normalised differences, such as the NDVI, are features too: colours
alone have none that tells more, and many bands have too many."""
LEAST = 1e-6
"""Of a probability: its logarithm is a number then."""


class ImageForest(nn.Module):
    """Images (B, C, H, W) to logits (B, K, H, W): each pixel by itself and its neighbourhoods."""

    margin = max(WINDOWS) // 2
    """Pixels along an edge whose neighbourhoods are cut off."""
    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        """mean, std: of each band, by which images are scaled; the model card has them."""
        super().__init__()
        bands = len(mean)
        pairs = bands * (bands - 1) // 2 if bands in INDEXED else 0
        self.trees = Trees(classes, (1 + 3 * len(WINDOWS)) * bands + pairs)
        for name, values in (("mean", mean), ("std", std)):
            column = torch.tensor(values, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, column, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of probabilities, for any H and W."""
        with torch.autocast(images.device.type, enabled=False):
            return torch.stack([self._logits(image) for image in images.float()])

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F, H, W) of images (B, C, H, W)."""
        images = images.contiguous()
        found = list(neighbourhoods(images))
        if len(self.mean) in INDEXED:
            values = images * self.std + self.mean
            found.append(differences(values) * seen(images))
        return torch.cat(found, dim=1)

    def _logits(self, image: Tensor) -> Tensor:
        x = self.features(image[None])[0]
        return self._classify(x.flatten(1)).clamp_min(LEAST).log().unflatten(1, x.shape[1:])

    def _classify(self, x: Tensor) -> Tensor:
        """Probabilities (K, N) of features (F, N); where nothing is seen around, asked once."""
        alive = x.any(dim=0)
        if alive.all():
            return self.trees(x)
        found = self.trees(x.new_zeros(len(x), 1)).repeat(1, x.shape[1])
        if alive.any():
            found[:, alive] = self.trees(x[:, alive])
        return found


def differences(values: Tensor) -> Tensor:
    """Normalised differences (B, C (C - 1) / 2, H, W) of all pairs of bands (B, C, H, W)."""
    one, other = torch.triu_indices(values.shape[1], values.shape[1], 1, device=values.device)
    a, b = values[:, one], values[:, other]
    return (a - b) / (a.abs() + b.abs()).clamp_min(LEAST)


class SeriesForest(nn.Module):
    """Filled series (B, T, S, C) to logits (B, K): the mean pixel's values on each date."""

    def __init__(self, classes: int, features: int) -> None:
        """features: dates times bands."""
        super().__init__()
        self.trees = Trees(classes, features)

    def forward(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logarithms of probabilities; 0, which says nothing, where nothing is valid."""
        with torch.autocast(values.device.type, enabled=False):
            x = courses(values.float(), valid)
            logits = self.trees(x.t()).t().clamp_min(LEAST).log()
        return logits * valid.flatten(1).any(dim=1, keepdim=True)


def courses(values: Tensor, valid: Tensor) -> Tensor:
    """Features (B, T · C) of filled series.

    Extremes, quantiles and their dates beside them made forests on few samples no better: what they
    tell lies in the values, and trees that draw among more features draw the good ones less often.
    """
    return pixel_mean(values, valid).flatten(1)
