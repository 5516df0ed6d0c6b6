"""Fit what classifies single pixels, before the network that it is added to learns anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
VAL_TILES = 32
"""Val tiles that are read."""
STEPS, BATCH, LOOK = 1000, 2048, 100
"""A few seconds on two cores. Every LOOK of them the path is judged by val, whose best is kept: how
many steps are too many differs by set, from 200 to more than 1000; see docs/benchmarks.md."""
LEAST = 1e-3
"""Deviation of a feature, of images whose bands are scaled to a deviation of 1."""
RATE, WARMUP, DECAY = 3e-3, 0.1, 1e-2
"""Of AdamW: peak, share of the steps in which it rises, and weight decay."""


class Tiles(Protocol):
    """Train tiles."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]: ...


class Seen(Protocol):
    """Val tiles."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]: ...


def begin(
    network: nn.Module,
    tiles: Tiles,
    val: Seen,
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
    fit(path, tiles, val, loss.build(study.loss, counts, names=names), seed=study.seed)
    if study.model.keep != "network" and isinstance(network, AnySize):
        network.silence()


def fit(
    path: PixelPath, tiles: Tiles, val: Seen, criterion: loss.WeightedSum, *, seed: int
) -> None:
    """Fit a path to pixels of train tiles; as it was if none of them has a label.

    tiles: whose items are images (C, H, W), as scaled and augmented, with targets (H, W). val: the
    same of other ground, which says after how many steps it is best; there may be none.
    criterion: the loss of the training.
    """
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    order = random.permuted(np.tile(np.arange(len(tiles)), (-(-TILES // len(tiles)), 1)), axis=1)
    seeds = random.integers(2**31, size=TILES).tolist()
    draws = zip(order.ravel()[:TILES].tolist(), seeds, strict=True)
    found = _drawn(path, (tiles[draw] for draw in draws), generator)
    if found is None:
        return
    features, target = found
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    path.mean.copy_(mean)
    # What hardly varies here tells nothing, and scaled up it would drown the rest elsewhere.
    path.scale.copy_(torch.where(deviation > LEAST, 1 / deviation.clamp_min(LEAST), 0))
    some = random.permutation(len(val))[:VAL_TILES].tolist()
    judge = _Judge(path, _drawn(path, (val[number] for number in some), generator), criterion)
    features = (features - path.mean) * path.scale
    optimizer = torch.optim.AdamW(path.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=STEPS, pct_start=WARMUP, cycle_momentum=False
    )
    for step in range(1, STEPS + 1):
        part = torch.randint(len(features), (BATCH,), generator=generator)
        value = _loss(path, features[part], target[part], criterion)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if step % LOOK == 0 or step == STEPS:
            judge.look()
    judge.take_best()


class _Judge:
    """Keeps the weights of a path by which the loss on val is the lowest."""

    def __init__(
        self, path: PixelPath, found: tuple[Tensor, Tensor] | None, criterion: loss.WeightedSum
    ) -> None:
        """found: features (N, F) and targets (N,) of val; None = there are none."""
        self._path, self._criterion, self._found = path, criterion, None
        if found is not None:
            features, target = found
            self._found = (features - path.mean) * path.scale, target
        self._least = math.inf
        self._best: dict[str, Tensor] = {}

    @torch.no_grad()
    def look(self) -> None:
        if self._found is None:
            return
        value = float(_loss(self._path, *self._found, self._criterion))
        if value < self._least:
            self._least = value
            self._best = {name: w.clone() for name, w in self._path.state_dict().items()}

    def take_best(self) -> None:
        """The weights stay the last ones where nothing was judged."""
        if self._best:
            self._path.load_state_dict(self._best)


def _loss(path: PixelPath, features: Tensor, target: Tensor, criterion: loss.WeightedSum) -> Tensor:
    """Of features (N, F), standardised, and targets (N,)."""
    # As an image of a single column.
    logits = _classified(path.layers, features).t()[None, :, :, None]
    value: Tensor = criterion(logits, target[None, :, None])
    return value


def _drawn(
    path: PixelPath, samples: Iterable[tuple[Tensor, Tensor]], generator: torch.Generator
) -> tuple[Tensor, Tensor] | None:
    """Features (N, F) and targets (N,) of labelled pixels of some tiles; None if there are none."""
    rows, targets = [], []
    for image, target in samples:
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
