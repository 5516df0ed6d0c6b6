"""TempCNN (Pelletier et al. 2019): convolutions along the dates of a regular series."""

from __future__ import annotations

from torch import Tensor, nn

from geoseg.models import settings
from geoseg.models.networks.masked import BatchNorm, Dense, on_valid, pixel_mean
from geoseg.models.networks.season import SeriesNetwork

WIDTH, LAYERS, KERNEL = 64, 3, 5
"""As published: filters of each convolution, convolutions, dates that each of them spans."""
DENSE = 4
"""The dense layer is so many times as wide as a convolution: 256, as published."""


class TempCNN(SeriesNetwork):
    """Series (B, T, S, C) of `dates` dates to logits (B, K); 0 where nothing is valid.

    Its weights belong to places in the series, so the series must be regular and its gaps filled.
    """

    def __init__(self, model: settings.Model, channels: int, classes: int, *, dates: int) -> None:
        super().__init__()
        self.dates = dates
        width = model.width or WIDTH
        layers: list[nn.Module] = []
        for _ in range(model.layers or LAYERS):
            layers += [
                nn.Conv1d(channels, width, KERNEL, padding="same"),
                BatchNorm(width),
                nn.ReLU(inplace=True),
                nn.Dropout(model.dropped),
            ]
            channels = width
        self.time = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            Dense(dates * width, DENSE * width),
            nn.Dropout(model.dropped),
            nn.Linear(DENSE * width, classes),
        )

    def classify(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """The shape features are left unread.

        Raises: ValueError for another number of dates than the network was built for.
        """
        if values.shape[1] != self.dates:
            raise ValueError(f"{values.shape[1]} dates, the network was built for {self.dates}")
        series = pixel_mean(values, valid)
        return on_valid(self.parts, valid.flatten(1).any(1), series, days)

    def logits(self, series: Tensor, days: Tensor) -> Tensor:
        """Logits of series (N, T, C) with days (N, T)."""
        if (days.diff(dim=1) < 0).any():
            order = days.argsort(dim=1, stable=True).unsqueeze(-1)
            series = series.gather(1, order.expand_as(series))
        return self.classifier(self.time(series.transpose(1, 2)).flatten(1))
