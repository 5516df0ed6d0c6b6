"""Forests: decision trees that are called like networks, for images and for series.

The features are made here, in the growing as in the prediction; the trees come from geoseg.grow.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg import settings
from geoseg.models.entries import pixel_mean
from geoseg.models.trees import Trees

TREES, SERIES_TREES, DEPTH = 50, 300, 12
"""Where the settings leave them open: of images each pixel takes its time, of series few do."""
WINDOWS = (3, 5, 9, 17)
"""Heights and widths of the neighbourhoods of a pixel."""
LEAST = 1e-6
"""Of a probability: its logarithm is a number then."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def sized(model: settings.Model, *, of_series: bool) -> settings.Model:
    """The settings with the numbers that they leave open, as a model card keeps them."""
    trees = SERIES_TREES if of_series else TREES
    return replace(model, trees=model.trees or trees, depth=model.depth or DEPTH)


class ImageForest(nn.Module):
    """Images (B, C, H, W) to logits (B, K, H, W): each pixel by itself and its neighbourhoods."""

    margin = max(WINDOWS) // 2
    """Pixels along an edge whose neighbourhoods are cut off."""

    def __init__(self, model: settings.Model, classes: int) -> None:
        super().__init__()
        self.trees = Trees(model.trees, model.depth, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of probabilities, for any H and W."""
        with torch.autocast(images.device.type, enabled=False):
            return torch.stack([self._logits(image) for image in images.float()])

    def _logits(self, image: Tensor) -> Tensor:
        x = neighbourhoods(image[None])[0]
        found = self.trees(x.flatten(1)).clamp_min(LEAST).log()
        return found.unflatten(1, x.shape[1:])


def neighbourhoods(images: Tensor) -> Tensor:
    """Features (B, F, H, W) of images (B, C, H, W): bands, their means and deviations around.

    What is 0 in all bands is not seen, as the scaling of bands leaves it: it counts nowhere. Every
    pixel is summed up in the same order wherever it lies, so no window makes a difference.
    """
    images = images.contiguous()
    seen = (images != 0).any(dim=1, keepdim=True).float()
    features = [images]
    for side in WINDOWS:
        count = _box(seen, side).clamp_min(LEAST)
        mean = _box(images, side) / count
        square = _box(images.square(), side) / count
        features += [mean, (square - mean.square()).clamp_min(0).sqrt()]
    return torch.cat(features, dim=1)


def _box(images: Tensor, side: int) -> Tensor:
    """Means over squares; beyond the edge all is 0."""
    half = side // 2
    rows = F.avg_pool2d(images, (1, side), stride=1, padding=(0, half))
    return F.avg_pool2d(rows, (side, 1), stride=1, padding=(half, 0))


class SeriesForest(nn.Module):
    """Filled series (B, T, S, C) to logits (B, K): the mean pixel's values and their statistics."""

    def __init__(self, model: settings.Model, classes: int) -> None:
        super().__init__()
        self.trees = Trees(model.trees, model.depth, classes)

    def forward(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logarithms of probabilities; 0, which says nothing, where nothing is valid."""
        with torch.autocast(values.device.type, enabled=False):
            x = courses(values.float(), valid)
            logits = self.trees(x.t()).t().clamp_min(LEAST).log()
        return logits * valid.flatten(1).any(dim=1, keepdim=True)


def courses(values: Tensor, valid: Tensor) -> Tensor:
    """Features (B, F) of filled series (B, T, S, C): the mean pixel on each date, and by band its
    extremes, quantiles, mean, deviation, and when it is highest and lowest."""
    mean = pixel_mean(values, valid)
    order = mean.sort(dim=1).values
    last = mean.shape[1] - 1
    picks = [order[:, round(share * last)] for share in (0.0, *QUANTILES, 1.0)]
    places = [mean.argmax(dim=1).float(), mean.argmin(dim=1).float()]
    spread = [picks[-1] - picks[0], mean.mean(dim=1), mean.std(dim=1, correction=0)]
    return torch.cat([mean.flatten(1), *picks, *spread, *places], dim=1)
