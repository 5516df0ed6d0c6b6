"""LSTM or GRU over the valid dates of a series, in their order."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from geoseg import settings
from geoseg.models.attention import attention_weights
from geoseg.models.entries import in_parts, pixel_mean

WIDTH, LAYERS = 64, 2
"""Size of the state in each direction, and layers: what series of tens of dates ask for."""
YEAR = 365.25


class LSTM(nn.Module):
    """Series (B, T, S, C) to logits (B, K): a date is its mean pixel and its place in the year."""

    def __init__(self, model: settings.Model, channels: int, classes: int) -> None:
        super().__init__()
        width, layers = model.width or WIDTH, model.layers or LAYERS
        self.pooling = model.pooling
        self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[model.cell](
            channels + 2,
            width,
            num_layers=layers,
            batch_first=True,
            dropout=model.dropout if layers > 1 else 0.0,
            bidirectional=model.bidirectional,
        )
        features = 2 * width if model.bidirectional else width
        self.score = nn.Linear(features, 1)
        self.classifier = nn.Sequential(
            nn.LayerNorm(features), nn.Dropout(model.dropout), nn.Linear(features, classes)
        )

    def forward(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logits, 0 where nothing is valid; the shape features are left unread."""
        return in_parts(self, self.logits, pixel_mean(values, valid), valid.any(2), days)

    def logits(self, x: Tensor, seen: Tensor, days: Tensor) -> Tensor:
        """Logits of series (B, T, C) with data on the dates (B, T) that are seen."""
        x = torch.cat([x, place_in_year(days, seen)], -1)
        states, last = self.read(*valid_first(x, seen, days))
        if self.pooling == "last":
            features = last
        else:
            scores = self.score(states).transpose(1, 2)
            dates = torch.arange(states.shape[1], device=x.device)
            weights = attention_weights(scores, dates < seen.sum(1, keepdim=True))
            features = (weights.to(states.dtype) @ states).squeeze(1)
        logits: Tensor = self.classifier(features)
        return logits * seen.any(1, keepdim=True)

    def read(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, T', F) at each of the first dates, and the last ones (B, F)."""
        if (lengths == x.shape[1]).all():
            states, last = self.recurrent(x)
        else:
            # Samples without any date read one of zeros, since nothing cannot be packed.
            packed = pack_padded_sequence(
                x, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
            )
            states, last = self.recurrent(packed)
            states, _ = pad_packed_sequence(states, batch_first=True)
        if isinstance(last, tuple):  # An LSTM also gives its cells.
            last = last[0]
        directions = 2 if self.recurrent.bidirectional else 1
        return states, torch.cat(last[-directions:].unbind(), -1)


def place_in_year(days: Tensor, seen: Tensor) -> Tensor:
    """Sine and cosine of the day of year (B, T, 2), 0 on dates without data."""
    angles = days.float() * (2 * math.pi / YEAR)
    return torch.where(seen.unsqueeze(-1), torch.stack([angles.sin(), angles.cos()], -1), 0)


def valid_first(x: Tensor, seen: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
    """The dates (B, T, C) with the valid ones in front, by day, and their numbers (B,)."""
    lengths = seen.sum(1)
    if not seen.all() or (days.diff(dim=1) < 0).any():
        order = torch.where(seen, days, torch.inf).argsort(dim=1, stable=True).unsqueeze(-1)
        x = x.gather(1, order.expand_as(x))
    return x, lengths
