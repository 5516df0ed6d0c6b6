"""Have a network give each tile of a scene its class."""

from __future__ import annotations

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
from geoseg.prediction.writer import no_number
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

    def classify(self, scene: AnyScene) -> TileClasses:
        """Classes of a scene with the model's bands, row by row of tiles.

        Raises: InputError if it can't be read.
        """
        side = self.card.tiling.size
        grid = grid_of(scene.grid, side)
        codes = np.full((grid.height, grid.width), NODATA, np.uint8)
        confidence = np.zeros((grid.height, grid.width), np.float32)
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
                    codes[row, shown] = np.array(self.card.legend.codes)[p.argmax(1)]
                    confidence[row, shown] = p.max(1)
        finally:
            opened.close()
        return TileClasses(grid, codes, confidence)

    @torch.inference_mode()
    def _probabilities(self, tiles: np.ndarray) -> np.ndarray:
        """(N, K) float32 of tiles (N, C, side, side)."""
        found = []
        with self._device.autocast(), enough_memory("predict.batch_size", self.batch_size):
            for start in range(0, len(tiles), self.batch_size):
                part = np.ascontiguousarray(tiles[start : start + self.batch_size])
                logits = self._network(torch.from_numpy(part).to(self._device.torch))
                found.append(logits.float().softmax(1).cpu().numpy())
        return np.concatenate(found)
