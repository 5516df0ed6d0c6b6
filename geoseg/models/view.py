"""Turn dated observations into what a network for series sees.

Letters of shapes: B samples of a batch, S pixels, T dates, C bands, G days of a regular grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoseg.models.card import ModelCard, SeriesCard
from geoseg.models.networks.season import fill
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.stack import MISSING, observed

FAR = 3.0
"""Deviations from the mean up to which the shape of a parcel counts."""
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""Values (B, T, S, C) float32, valid (B, T, S) bool, days (B, T) and shape (B, 4) float32."""


@dataclass(frozen=True)
class View:
    """How observations become what the network sees."""

    statistics: BandStatistics
    card: SeriesCard
    until: float | None = None
    """Only dates up to this day are there; None = all."""

    @property
    def each_pixel(self) -> bool:
        """Whether the network sees each pixel by itself."""
        return self.card.unit == "pixel"

    def inputs(self, values: np.ndarray, days: np.ndarray, shape: np.ndarray) -> Inputs:
        """Tensors of values (B, S, T, C) with MISSING, days (B, T) and shape features (B, 4)."""
        if self.until is not None:
            late = (days > self.until)[:, None, :, None]
            values = np.where(late, MISSING[values.dtype.name], values).astype(values.dtype)
        seen = observed(values)
        values, seen, days = _front(values, seen, days)
        return self.regular(
            torch.from_numpy(self.scale(values, seen)),
            torch.from_numpy(seen),
            torch.from_numpy(days.astype(np.float32)),
            torch.from_numpy(self._scale_shape(shape)),
        )

    def regular(self, values: Tensor, seen: Tensor, days: Tensor, shape: Tensor) -> Inputs:
        """What the network takes, of scaled values and seen (B, S, T, C), days and shape."""
        valid = seen.any(dim=3)
        if self.card.grid is not None:
            grid = torch.tensor(self.card.grid, dtype=torch.float32, device=values.device)
            values, valid = fill(values, seen, days, grid)
            days = grid.expand(len(days), -1)
        return values.transpose(1, 2).contiguous(), valid.transpose(1, 2), days, shape

    def scale(self, values: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Zero mean and unit deviation per band, the last axis; 0 where nothing was observed."""
        mean, factor = self.statistics.scaling()
        scaled = np.subtract(values, mean, dtype=np.float32)
        scaled *= factor
        if not seen.all():
            scaled[~seen] = 0
        return scaled

    def _scale_shape(self, shape: np.ndarray) -> np.ndarray:
        """0, which says nothing, without an outline and for single pixels, as a map has them."""
        mean, std = np.array(self.card.shape_mean), np.array(self.card.shape_std)
        scaled = (np.log1p(shape) - mean) / np.where(std > 0, std, 1)
        scaled = np.clip(scaled, -FAR, FAR)  # a parcel unlike all others must not drown its series
        known = (shape[:, 1:2] > 0) & (std > 0) & (self.card.unit == "parcel")
        return np.where(known, scaled, 0).astype(np.float32)


def _front(
    values: np.ndarray, seen: np.ndarray, days: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dates with an observation first, in their order; as few dates as the fullest sample has."""
    alive = seen.any(axis=(1, 3))
    most = max(1, int(alive.sum(axis=1).max(initial=1)))
    if alive.all():
        return values, seen, days
    order = np.argsort(~alive, axis=1, kind="stable")[:, :most]
    days = np.take_along_axis(days, order, axis=1)
    if np.array_equal(order, np.broadcast_to(order[:1], order.shape)):
        return values[:, :, order[0]], seen[:, :, order[0]], days
    place = order[:, None, :, None]
    return (
        np.take_along_axis(values, place, axis=2),
        np.take_along_axis(seen, place, axis=2),
        days,
    )


def view_of(card: ModelCard) -> View:
    """How the network of a card sees series."""
    assert card.series is not None
    return View(card.statistics, card.series)
