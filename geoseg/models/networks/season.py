"""Classify a series by all its values at once, beside a network that reads date by date.

Letters of shapes: B samples of a batch, S pixels, T dates, C bands, G days of a regular grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from geoseg.models.networks.masked import in_parts, on_valid, pixel_mean

DROPOUT = 0.3
"""On inner folds of three sets 0.5 was no better."""


class SeasonPath(nn.Module):
    """Series (B, T, S, C) to logits (B, K): two layers on the values of all dates of a grid.

    It is fitted in seconds (training.quick) and does not change in the training of the network
    beside it, which few samples or few minutes could not teach as much.
    """

    mean: Tensor
    scale: Tensor
    grid: Tensor

    def __init__(
        self, channels: int, classes: int, width: int, *, grid: Sequence[int], filled: bool
    ) -> None:
        """channels: bands C. classes: K. width: units of each layer. grid: days, as the samples'.

        filled: whether series come on this grid; else their gaps are filled here, linearly.
        """
        super().__init__()
        self.filled = filled
        features = len(grid) * channels
        days = torch.tensor(grid, dtype=torch.float32)
        self.register_buffer("grid", days, persistent=False)  # the card says it
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.zeros(features))
        self.layers = nn.Sequential(
            nn.Linear(features, width),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
            nn.Linear(width, classes),
        )
        for weights in self.layers[-1].parameters():  # it says nothing before it is fitted
            nn.init.zeros_(weights)
        self.requires_grad_(False)

    @property
    def is_new(self) -> bool:
        """Whether nothing was fitted or loaded yet: then all series look alike to it."""
        return not bool(self.scale.any())

    def features(self, values: Tensor, valid: Tensor, days: Tensor) -> Tensor:
        """Features (B, G · C) of series (B, T, S, C), valid (B, T, S), on days (B, T)."""
        series = pixel_mean(values, valid)
        if self.filled:
            return series.flatten(1)
        seen = valid.any(2)[:, None, :, None]
        return fill(series[:, None], seen, days, self.grid)[0].flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, G · C)."""
        logits: Tensor = self.layers((features - self.mean) * self.scale)
        return logits

    def forward(self, values: Tensor, valid: Tensor, days: Tensor) -> Tensor:
        """Logits, 0 where nothing is valid."""
        seen = valid.flatten(1).any(1, keepdim=True)
        return self.classify(self.features(values, valid, days)) * seen


class SeriesNetwork(nn.Module):
    """A network for series of parcels or pixels, with or without a season path beside it."""

    logits: Callable[..., Tensor]
    """Of samples of which each has valid pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.season: SeasonPath | None = None

    def classify(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logits (B, K) by what the network itself reads, of the arguments of `forward`."""
        return on_valid(self.parts, valid.flatten(1).any(1), values, valid, days, shape)

    def parts(self, *inputs: Tensor) -> Tensor:
        return in_parts(self, self.logits, *inputs)

    def forward(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logits (B, K) of values (B, T, S, C), valid (B, T, S), days (B, T) and shape (B, F).

        They are 0, that is no opinion, where nothing is valid.
        """
        logits = self.classify(values, valid, days, shape)
        # Each learns by itself: where one has learnt all train samples by heart, the other would
        # find nothing left to learn. Their probabilities are averaged, not their logits, which are
        # larger where one is surer of itself than it should be.
        if self.season is None or self.training:
            return logits
        others = self.season(values, valid, days)
        mean = torch.logaddexp(logits.log_softmax(1), others.log_softmax(1)) - math.log(2)
        return mean * valid.flatten(1).any(1, keepdim=True)


def fill(values: Tensor, seen: Tensor, days: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Series on a regular grid of days: linear between observations, constant beyond them.

    values, seen (B, S, T, C), days (B, T), rising where anything is seen; grid (G,). Of what sees
    all bands or none seen may be (B, S, T, 1).
    Returns: values (B, S, G, C), 0 where a band was never seen, and valid (B, S, G).
    """
    if seen.shape[3] > 1 and bool((seen == seen[..., :1]).all()):
        seen = seen[..., :1]  # as is usual; between which dates a day lies is then found but once
    steps = values.shape[2]
    number = torch.arange(steps, device=values.device)[None, None, :, None].expand(seen.shape)
    before = torch.where(seen, number, -1).cummax(dim=2).values
    after = torch.where(seen, number, steps).flip(2).cummin(dim=2).values.flip(2)
    alive = seen.any(dim=3).any(dim=1)
    # One more than the place of the last date on or before each day of the grid.
    past = (days[:, :, None] <= grid) & alive[:, :, None]
    place = (past * (number[0, 0, :, :1] + 1)).amax(dim=1)[:, None, :, None]
    place = place.expand(-1, seen.shape[1], -1, seen.shape[3])
    left = before.gather(2, (place - 1).clamp_min(0)).where(place > 0, -1)
    right = after.gather(2, place.clamp_max(steps - 1)).where(place < steps, steps)
    on_left, on_right = left >= 0, right < steps
    left = left.where(on_left, right.where(on_right, 0))
    right = right.where(on_right, left)
    each = days[:, None, :, None].expand(seen.shape)
    start, end = each.gather(2, left), each.gather(2, right)
    share = (grid[:, None] - start) / (end - start).where(end > start, 1)
    filled = torch.lerp(_on(left, values), _on(right, values), share.where(end > start, 0))
    known = on_left | on_right
    return filled.where(known, 0), known.any(dim=3)


def _on(dates: Tensor, values: Tensor) -> Tensor:
    """Values (B, S, G, C) on dates by number (B, S, G, C or 1), of values (B, S, T, C)."""
    samples, pixels, steps, bands = values.shape
    if dates.shape[3] == bands:
        return values.gather(2, dates)
    first = torch.arange(samples * pixels, device=values.device).view(samples, pixels, 1) * steps
    rows = values.reshape(-1, bands).index_select(0, (first + dates[..., 0]).flatten())
    return rows.view(samples, pixels, -1, bands)
