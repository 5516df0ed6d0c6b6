"""Fit what classifies series by all their dates at once, before the network beside it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.models.networks.season import SeasonPath, SeriesNetwork
from geoseg.samples.series import SeriesBatches
from geoseg.training.objectives import loss
from geoseg.training.quick.pixels import DECAY, LEAST, RATE, WARMUP
from geoseg.training.settings import TrainingSettings

SERIES = 20_000
"""Series that are read, each as varied as in training."""
ROUNDS = 20
"""Times that a sample is among them, at most."""
VALUES = 4e7
"""Values that they have together, or a thousand series: what reading them costs."""
TOGETHER = 256
"""Series that are read at once."""
STEPS, BATCH = 600, 256
"""A second or two on two cores. On inner folds of three sets 300 and 1500 steps scored alike."""


def begin(
    network: nn.Module,
    batches: SeriesBatches,
    study: TrainingSettings,
    counts: np.ndarray,
    *,
    names: list[str],
) -> None:
    """Fit the season path of a network, if it has one that is new.

    batches: of train samples, as varied as in training. counts: (K,) of them by class. names: of
    the K classes. Of several processes each fits its own, and goes on with the first one's.
    """
    if not isinstance(network, SeriesNetwork) or network.season is None:
        return
    if not network.season.is_new:
        return
    criterion = loss.build(study.loss, counts[None], names=names)
    fit(network.season, batches, criterion, seed=study.seed)


def fit(
    path: SeasonPath, batches: SeriesBatches, criterion: loss.WeightedSum, *, seed: int
) -> None:
    """Fit a path to train samples by the loss of the training."""
    generator = torch.Generator().manual_seed(seed)
    features, target = _drawn(path, batches, np.random.default_rng(seed))
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    path.mean.copy_(mean)
    # What hardly varies here tells nothing, and scaled up it would drown the rest elsewhere.
    path.scale.copy_(torch.where(deviation > LEAST, 1 / deviation.clamp_min(LEAST), 0))
    last = path.layers[-1]
    assert isinstance(last, nn.Linear)
    last.reset_parameters()
    path.requires_grad_(True)
    optimizer = torch.optim.AdamW(path.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=STEPS, pct_start=WARMUP, cycle_momentum=False
    )
    path.train()
    for _ in range(STEPS):
        some = torch.randint(len(features), (BATCH,), generator=generator)
        value = criterion(path.classify(features[some]), target[some])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    path.requires_grad_(False)


def _drawn(
    path: SeasonPath, batches: SeriesBatches, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Features (N, F) and targets (N,) of samples, each drawn as often as the next."""
    count = len(batches)
    (values, *_), _ = batches[[(0, 0)]]
    wanted = int(min(ROUNDS * count, SERIES, max(VALUES / values.numel(), 1000)))
    rounds = [random.permutation(count) for _ in range(-(-wanted // count))]
    order = np.concatenate(rounds)[:wanted]
    seeds = random.integers(2**31, size=wanted)
    rows, targets = [], []
    for start in range(0, wanted, TOGETHER):
        some = slice(start, start + TOGETHER)
        draws = [(int(n), int(s)) for n, s in zip(order[some], seeds[some], strict=True)]
        (values, valid, days, _), target = batches[draws]
        rows.append(path.features(values, valid, days))
        targets.append(target)
    return torch.cat(rows), torch.cat(targets)
