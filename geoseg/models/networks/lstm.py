"""Classify series by an LSTM or GRU over their valid dates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geoseg.models import settings
from geoseg.models.networks.attention import attention_weights
from geoseg.models.networks.masked import in_parts, pixel_mean
from geoseg.models.networks.season import SeriesNetwork

WIDTH, LAYERS = 128, 2
"""Size of the state in each direction, and layers."""
HARMONICS = 2
"""Waves of the year by which a date is told: once and twice a year."""
YEAR = 365.25


class LSTM(SeriesNetwork):
    """Series (B, T, S, C) to logits (B, K): a date is its mean pixel and its place in the year."""

    def __init__(self, model: settings.Model, channels: int, classes: int) -> None:
        super().__init__()
        width, layers = model.width or WIDTH, model.layers or LAYERS
        self.pooling = model.pooling
        self.embedding = nn.Linear(channels + 2 * HARMONICS, max(width // 2, 1))
        cell = {"lstm": nn.LSTM, "gru": nn.GRU}[model.cell]
        directions = 2 if model.bidirectional else 1
        features = directions * width
        # Directions apart: each reads the dates of every sample from its own first one, whatever
        # the padding, and without packing, which costs a CPU more than the padding itself.
        self.recurrent = nn.ModuleList(
            nn.ModuleList(
                cell(features if layer else max(width // 2, 1), width, batch_first=True)
                for _ in range(directions)
            )
            for layer in range(layers)
        )
        self.dropout = nn.Dropout(model.dropped)
        self.score = nn.Linear(features, 1)
        self.classifier = nn.Sequential(
            nn.LayerNorm(features), nn.Dropout(model.dropped), nn.Linear(features, classes)
        )

    def classify(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logits, 0 where nothing is valid; the shape features are left unread."""
        return in_parts(self, self.logits, pixel_mean(values, valid), valid.any(2), days)

    def logits(self, x: Tensor, seen: Tensor, days: Tensor) -> Tensor:
        """Logits of series (B, T, C) with data on the dates (B, T) that are seen."""
        x = torch.cat([x, place_in_year(days, seen)], -1)
        x, lengths = valid_first(x, seen, days)
        states = self.read(self.embedding(x).relu(), lengths)
        if self.pooling == "last":
            features = self.last(states, lengths)
        else:
            scores = self.score(states).transpose(1, 2)
            dates = torch.arange(states.shape[1], device=x.device)
            weights = attention_weights(scores, dates < lengths[:, None])
            features = (weights.to(states.dtype) @ states).squeeze(1)
        logits: Tensor = self.classifier(features)
        return logits * seen.any(1, keepdim=True)

    def read(self, x: Tensor, lengths: Tensor) -> Tensor:
        """States (B, T, F) at each date; beyond a sample's length they mean nothing."""
        dates = torch.arange(x.shape[1], device=x.device)
        # Place of each date if a sample's dates are read from its last one; padding stays behind.
        mirrored = torch.where(dates < lengths[:, None], lengths[:, None] - 1 - dates, dates)
        for number, layer in enumerate(self.recurrent):
            if number:
                x = self.dropout(x)
            assert isinstance(layer, nn.ModuleList)
            states = [layer[0](x)[0]]
            if len(layer) == 2:
                states.append(at(layer[1](at(x, mirrored))[0], mirrored))
            x = torch.cat(states, -1)
        return x

    def last(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The states (B, F) with which each direction ends."""
        end = at(states, (lengths.clamp_min(1) - 1)[:, None]).squeeze(1)
        if len(self.recurrent[0]) == 1:  # type: ignore[arg-type]
            return end
        width = end.shape[1] // 2
        return torch.cat([end[:, :width], states[:, 0, width:]], -1)


def at(x: Tensor, places: Tensor) -> Tensor:
    """The dates of x (B, T, F) at places (B, T')."""
    return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def place_in_year(days: Tensor, seen: Tensor) -> Tensor:
    """Sines and cosines of the day of year (B, T, 2 · HARMONICS), 0 on dates without data."""
    angles = days.float() * (2 * math.pi / YEAR)
    waves = [
        wave
        for harmonic in range(1, HARMONICS + 1)
        for wave in ((harmonic * angles).sin(), (harmonic * angles).cos())
    ]
    return torch.where(seen.unsqueeze(-1), torch.stack(waves, -1), 0)


def valid_first(x: Tensor, seen: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
    """The dates (B, T, C) with the valid ones in front, by day, and their numbers (B,)."""
    lengths = seen.sum(1)
    if not seen.all() or (days.diff(dim=1) < 0).any():
        order = torch.where(seen, days, torch.inf).argsort(dim=1, stable=True).unsqueeze(-1)
        x = x.gather(1, order.expand_as(x))
    return x[:, : max(int(lengths.max()), 1)], lengths
