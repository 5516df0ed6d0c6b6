"""PSE-TAE (Garnot et al. 2020): pixel sets under temporal attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoseg.models import settings
from geoseg.models.networks.attention import attention_weights, encode_days, shared_days
from geoseg.models.networks.masked import BatchNorm, Dense, classifier
from geoseg.models.networks.pixel_set import PixelSet
from geoseg.models.networks.season import SeriesNetwork

WIDTH, HEADS, KEYS = 128, 4, 32
"""As published: features of a date, heads, size of a key."""


class PSETAE(SeriesNetwork):
    """Pixel sets (B, T, S, C) to logits (B, K); 0, that is no opinion, where nothing is valid."""

    def __init__(
        self, model: settings.Model, channels: int, classes: int, *, shape_features: int = 4
    ) -> None:
        super().__init__()
        width = model.width or WIDTH
        self.pixels = PixelSet(channels, width, shape_features=shape_features if model.shape else 0)
        self.time = TemporalAttention(
            width, heads=model.heads or HEADS, keys=model.keys or KEYS, dropout=model.dropped
        )
        self.classifier = classifier(width, classes)

    def logits(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logits of samples of which each has valid pixels."""
        features = self.pixels(values, valid, shape)
        return self.classifier(self.time(features, valid.any(2), days))


class Weigh(nn.Module):
    """`attention_weights`, where those who explain a network can look at them."""

    def forward(self, scores: Tensor, valid: Tensor) -> Tensor:
        return attention_weights(scores, valid)


class TemporalAttention(nn.Module):
    """TAE: dates (N, T, C) to one feature vector (N, C)."""

    def __init__(self, width: int, *, heads: int, keys: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.queries = nn.Linear(width, heads * keys)
        self.keys = nn.Linear(width, heads * keys)
        self.master = nn.Sequential(BatchNorm(heads * keys), nn.Linear(heads * keys, heads * keys))
        self.out = nn.Sequential(
            Dense(heads * width, width), Dense(width, width), nn.Dropout(dropout)
        )
        self.after = nn.LayerNorm(width)
        self.weigh = Weigh()
        for layer in (self.queries, self.keys):
            nn.init.normal_(layer.weight, std=(2 / keys) ** 0.5)

    def forward(self, x: Tensor, valid: Tensor, days: Tensor) -> Tensor:
        """Returns: (N, C) from x (N, T, C), valid (N, T), some True in each sample, days (N, T)."""
        x = self.before(x) + encode_days(shared_days(days, valid), x.shape[-1])
        # The mean of all dates' queries is the query of their mean.
        mean = (x * valid.unsqueeze(-1)).sum(1) / valid.sum(1, keepdim=True).clamp_min(1)
        query = self.master(self.queries(mean)).unflatten(-1, (self.heads, -1))
        scores = dot_products(query, self.keys, x)
        weights = self.weigh(scores / query.shape[-1] ** 0.5, valid)
        return self.after(self.out((weights.to(x.dtype) @ x).flatten(1)))


def dot_products(query: Tensor, keys: nn.Linear, x: Tensor) -> Tensor:
    """Query (N, heads, d) times the keys of x (N, T, C): (N, heads, T).

    The query goes through the keys' weights instead of each date: the same sums in another
    order, at a fraction of the work.
    """
    weight = keys.weight.unflatten(0, (query.shape[1], -1))
    turned = torch.einsum("nhd,hdc->nhc", query, weight.to(query.dtype))
    offset = (query * keys.bias.view(query.shape[1], -1)).sum(-1, keepdim=True)
    return turned @ x.transpose(1, 2) + offset
