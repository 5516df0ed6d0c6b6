"""L-TAE (Garnot & Landrieu 2020): attention heads with a learnt query each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoseg.models import settings
from geoseg.models.networks.attention import DatesNorm, attention_weights, encode_days, shared_days
from geoseg.models.networks.masked import Dense, classifier, on_valid
from geoseg.models.networks.pixel_set import PixelSet
from geoseg.models.networks.season import SeriesNetwork

WIDTH, HEADS, KEYS = 256, 16, 8
"""As published: features of a date within the attention, heads, size of a key."""
KNOTS = 24
"""The published norm has a scale and a shift for each of its 24 dates. Here they are for 24 days
of the year, so that they serve any number of dates."""


class LTAE(SeriesNetwork):
    """Pixel sets (B, T, S, C) to logits (B, K); 0, that is no opinion, where nothing is valid."""

    def __init__(
        self, model: settings.Model, channels: int, classes: int, *, shape_features: int = 4
    ) -> None:
        super().__init__()
        width = model.width or WIDTH
        self.pixels = PixelSet(
            channels, width // 2, shape_features=shape_features if model.shape else 0
        )
        self.time = LightAttention(
            width, heads=model.heads or HEADS, keys=model.keys or KEYS, dropout=model.dropped
        )
        self.classifier = classifier(width // 2, classes)

    def logits(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logits of samples of which each has valid pixels."""
        features, _ = self.time(self.pixels(values, valid, shape), valid.any(2), days)
        return self.classifier(features)


class LightAttention(nn.Module):
    """L-TAE: dates (N, T, C) to one feature vector (N, C), with C half the width inside."""

    def __init__(
        self, width: int, *, heads: int, keys: int, dropout: float, knots: int = KNOTS
    ) -> None:
        super().__init__()
        self.heads = heads
        self.before = DatesNorm(width // 2, groups=heads)
        self.widen = nn.Linear(width // 2, width)
        self.between = DatesNorm(width, groups=1, knots=knots) if knots else None
        self.query = nn.Parameter(torch.empty(heads, keys))
        self.keys = nn.Linear(width, heads * keys)
        self.out = nn.Sequential(
            Dense(width, width // 2), nn.Dropout(dropout), nn.GroupNorm(heads, width // 2)
        )
        for weight in (self.query, self.keys.weight):
            nn.init.normal_(weight, std=(2 / keys) ** 0.5)

    def forward(self, x: Tensor, valid: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, C) and attention (N, heads, T) from x (N, T, C), valid and days (N, T).

        Both are 0 where nothing is valid.
        """
        days = shared_days(days, valid)
        x = self.widen(self.before(x, valid, days))
        if self.between is not None:
            x = self.between(x, valid, days)
        # Each head has its own channels and its own encoding of the day: (N, T, heads, C').
        x = x.unflatten(-1, (self.heads, -1))
        x = x + encode_days(days, x.shape[-1]).unsqueeze(-2)
        weights = attention_weights(self.scores(x.flatten(-2)), valid)
        pooled = torch.einsum("nht,nthc->nhc", weights.to(x.dtype), x).flatten(1)
        return on_valid(self.out, valid.any(1), pooled), weights

    def scores(self, x: Tensor) -> Tensor:
        """Learnt queries times the keys of x (N, T, width): (N, heads, T).

        The queries go through the keys' weights instead of each date: the same sums in another
        order, at a fraction of the work.
        """
        weight = self.keys.weight.unflatten(0, self.query.shape)
        query = self.query / self.query.shape[1] ** 0.5
        turned = torch.einsum("hd,hdc->hc", query, weight)
        offset = (query * self.keys.bias.view_as(query)).sum(-1)
        return nn.functional.linear(x, turned, offset).transpose(1, 2)
