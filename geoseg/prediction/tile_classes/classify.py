"""Have a network give each tile of a scene its class, or its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.device import Device, choose, enough_memory
from geoseg.prediction.writer.scene_writer import no_number
from geoseg.scenes.bands import scale
from geoseg.scenes.dated import AnyScene

COVERED = 0.5
"""Share of a tile that must have an image for it to get a class."""
BATCH = 32
"""Tiles at a time where the settings leave it open."""


@dataclass(frozen=True)
class TileClasses:
    """The classes of a scene's tiles."""

    grid: Grid
    """With one pixel for each tile."""
    codes: np.ndarray
    """(rows, columns) uint8 of the legend, 0 where too little of a tile has an image."""
    confidence: np.ndarray
    """(rows, columns) float32: probability of the class."""

    @property
    def seen(self) -> np.ndarray:
        """(rows, columns) bool: tiles that have an image."""
        return np.asarray(self.codes != NODATA)

    def counts(self, codes: Sequence[int]) -> list[int]:
        """Tiles of each class."""
        return [int((self.codes == code).sum()) for code in codes]


@dataclass(frozen=True)
class TilePresence:
    """Which classes a scene's tiles have."""

    grid: Grid
    """With one pixel for each tile."""
    probabilities: np.ndarray
    """(K, rows, columns) float32, each of its own; NaN where too little of a tile has an image."""
    thresholds: tuple[float, ...]
    """(K,) from which on a class is there."""

    @property
    def seen(self) -> np.ndarray:
        """(rows, columns) bool: tiles that have an image."""
        seen: np.ndarray = ~np.isnan(self.probabilities[0])
        return seen

    @property
    def there(self) -> np.ndarray:
        """(K, rows, columns) bool."""
        with np.errstate(invalid="ignore"):
            there: np.ndarray = self.probabilities >= np.array(self.thresholds)[:, None, None]
        return there

    def counts(self, codes: Sequence[int]) -> list[int]:
        """Tiles of each class."""
        return [int(each) for each in self.there.sum((1, 2))]


def grid_of(grid: Grid, side: int) -> Grid:
    """The grid with one pixel for each tile of so many pixels; the last ones may reach beyond."""
    rows, columns = -(-grid.height // side), -(-grid.width // side)
    transform = grid.transform @ type(grid.transform).scale(side)
    return Grid(grid.crs, transform, rows, columns)


@dataclass
class TileClassifier:
    """A trained network for whole tiles."""

    path: Path
    card: ModelCard
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = BATCH

    @cached_property
    def _network(self) -> nn.Module:
        network, _ = checkpoint.load(self.path)
        return self._device.place(network)

    @cached_property
    def _device(self) -> Device:
        return choose(self.device, self.precision)

    def classify(self, scene: AnyScene) -> TileClasses | TilePresence:
        """Classes of a scene with the model's bands, row by row of tiles.

        Raises: InputError if it can't be read.
        """
        grid, p = self._whole(scene)
        if self.card.thresholds is not None:
            return TilePresence(grid, p, self.card.thresholds)
        seen = ~np.isnan(p[0])
        known = np.where(seen, p, 0)
        codes = np.array(self.card.legend.codes, np.uint8)[known.argmax(0)]
        return TileClasses(grid, np.where(seen, codes, np.uint8(NODATA)), known.max(0))

    def _whole(self, scene: AnyScene) -> tuple[Grid, np.ndarray]:
        """Probabilities (K, rows, columns) float32 of all tiles, NaN without image."""
        side = self.card.tiling.size
        grid = grid_of(scene.grid, side)
        shape = (len(self.card.legend), grid.height, grid.width)
        found = np.full(shape, np.nan, np.float32)
        opened: Any = scene.open()
        try:
            for row in range(grid.height):
                image, valid = opened.read(Window(row * side, 0, side, grid.width * side))
                image = scale(image, valid, self.card.statistics)
                tiles = image.reshape(len(image), side, grid.width, side).transpose(2, 0, 1, 3)
                shown = valid.reshape(side, grid.width, side).mean(axis=(0, 2)) >= COVERED
                if shown.any():
                    p = self._probabilities(tiles[shown])
                    if not np.isfinite(p).all():
                        raise InputError(no_number(f"{scene.name}, row {row} of its tiles"))
                    found[:, row, shown] = p.T
        finally:
            opened.close()
        return grid, found

    @torch.inference_mode()
    def _probabilities(self, tiles: np.ndarray) -> np.ndarray:
        """(N, K) float32 of tiles (N, C, side, side)."""
        found = []
        with self._device.autocast(), enough_memory("predict.batch_size", self.batch_size):
            for start in range(0, len(tiles), self.batch_size):
                part = np.ascontiguousarray(tiles[start : start + self.batch_size])
                logits = self._network(torch.from_numpy(part).to(self._device.torch))
                logits = logits.float()
                shares = logits.softmax(1) if self.card.thresholds is None else logits.sigmoid()
                found.append(shares.cpu().numpy())
        return np.concatenate(found)
