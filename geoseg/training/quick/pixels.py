"""Fit what classifies single pixels, before the network that it is added to learns anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.geo.legend import IGNORED
from geoseg.models.networks.build import AnySize, pixel_path_of
from geoseg.models.networks.pixels import PixelPath
from geoseg.samples.draw import Draw
from geoseg.training.objectives import loss
from geoseg.training.settings import TrainingSettings

TILES = 96
"""Tiles that are read, each as augmented as in training."""
SIDE = 112
"""Pixels: height and width of the part of a tile from which they are drawn."""
PIXELS = 2048
"""Labelled pixels that are drawn from each, with replacement."""
STEPS, BATCH = 1000, 2048
"""A few seconds on two cores. On inner folds of Landsat scenes a network that begins with so many
steps had mIoU 0.63 and 0.40, with 300 of them 0.59 and 0.38; see docs/benchmarks.md."""
LEAST = 1e-3
"""Deviation of a feature, of images whose bands are scaled to a deviation of 1."""
RATE, WARMUP, DECAY = 3e-3, 0.1, 1e-2
"""Of AdamW: peak, share of the steps in which it rises, and weight decay."""


class Tiles(Protocol):
    """Train tiles."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]: ...


def begin(
    network: nn.Module,
    tiles: Tiles,
    study: TrainingSettings,
    counts: Sequence[Sequence[int]],
    names: Sequence[str],
) -> None:
    """Fit the pixel path of a network, if it has one that is new; the rest then adds to it.

    counts: labelled pixels (K,) of each tile. names: of the K classes. Of several processes each
    fits its own, and goes on with the first one's.
    """
    path = pixel_path_of(network)
    if path is None or not path.is_new:
        return
    # By this process alone, whose pixels are its own.
    fit(path, tiles, loss.build(study.loss, counts, names=names), seed=study.seed)
    if study.model.keep != "network" and isinstance(network, AnySize):
        network.silence()


def fit(path: PixelPath, tiles: Tiles, criterion: loss.WeightedSum, *, seed: int) -> None:
    """Fit a path to pixels of train tiles; as it was if none of them has a label.

    tiles: whose items are images (C, H, W), as scaled and augmented, with targets (H, W).
    criterion: the loss of the training.
    """
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    found = _drawn(path, tiles, random, generator)
    if found is None:
        return
    features, target = found
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    path.mean.copy_(mean)
    # What hardly varies here tells nothing, and scaled up it would drown the rest elsewhere.
    path.scale.copy_(torch.where(deviation > LEAST, 1 / deviation.clamp_min(LEAST), 0))
    features = (features - path.mean) * path.scale
    optimizer = torch.optim.AdamW(path.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=STEPS, pct_start=WARMUP, cycle_momentum=False
    )
    for _ in range(STEPS):
        some = torch.randint(len(features), (BATCH,), generator=generator)
        logits = _classified(path.layers, features[some])
        # As an image of a single column.
        value = criterion(logits.t()[None, :, :, None], target[some][None, :, None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


def _drawn(
    path: PixelPath, tiles: Tiles, random: np.random.Generator, generator: torch.Generator
) -> tuple[Tensor, Tensor] | None:
    """Features (N, F) and targets (N,) of labelled pixels of some tiles; None if there are none."""
    rounds = -(-TILES // len(tiles))
    order = np.concatenate([random.permutation(len(tiles)) for _ in range(rounds)])[:TILES]
    rows, targets = [], []
    for number, seed in zip(order, random.integers(2**31, size=TILES), strict=True):
        image, target = tiles[int(number), int(seed)]
        known = (target != IGNORED).nonzero()
        if not len(known):
            continue
        # Around one of them: of the features of a whole tile most would not be drawn.
        middle = known[int(torch.randint(len(known), (), generator=generator))].tolist()
        down, across = (
            _span(place, size) for place, size in zip(middle, target.shape, strict=True)
        )
        image, target = image[:, down, across], target[down, across]
        known = (target != IGNORED).nonzero()
        y, x = known[torch.randint(len(known), (PIXELS,), generator=generator)].t()
        rows.append(path.features(image[None])[0][:, y, x].t())
        targets.append(target[y, x])
    return (torch.cat(rows), torch.cat(targets)) if rows else None


def _span(middle: int, size: int) -> slice:
    """At most SIDE pixels around one."""
    start = max(0, min(middle - SIDE // 2, size - SIDE))
    return slice(start, start + SIDE)


def _classified(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Logits (N, K) of features (N, F); a convolution is slow on images of a single pixel."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            x = F.linear(x, layer.weight[:, :, 0, 0], layer.bias)
        else:
            x = layer(x)
    return x
