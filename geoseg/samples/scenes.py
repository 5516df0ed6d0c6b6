"""Read tiles as tensors with one class each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from geoseg.dataset import scene_classes
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.geo.legend import IGNORED
from geoseg.samples.draw import Draw
from geoseg.samples.tiles import Augmentation, Style, TrainTiles

Batch = tuple[Tensor, Tensor]
"""Images (B, C, side, side) float32, class indices (B,) int64, 255 = too few labels."""


class SceneSamples(TorchDataset[Batch]):
    """Tiles of a split, as they are or varied, with the class of most of their labelled pixels."""

    def __init__(
        self,
        dataset: Dataset,
        tiles: list[Tile],
        *,
        labelled: float | None,
        augment: Augmentation | None = None,
        style: Style | None = None,
        jitter: bool = False,
    ) -> None:
        """labelled: share of a tile's pixels that must be for it to have a class; None = each has
        the class of its counts, whatever it shows.

        jitter: whether tiles are moved at random; each then has the class of what it shows.
        """
        self._own = scene_classes.classes_of(tiles)
        self._tiles = TrainTiles(dataset, augment, style=style, jitter=jitter, tiles=tiles)
        self._classes, self._labelled = len(dataset.legend), labelled

    @property
    def side(self) -> int:
        """Of the tiles, in pixels."""
        return self._tiles.side

    def title(self, draw: Draw) -> str:
        """What a draw shows, for people."""
        return self._tiles.title(draw)

    def __getitem__(self, draw: Draw | int) -> Batch:
        images, classes = self.__getitems__([draw])
        return images[0], classes[0]

    def __getitems__(self, draws: list[Draw] | list[int] | list[Draw | int]) -> Batch:
        """A whole batch, which `tiles.gather` hands to a DataLoader as it is."""
        pairs = [(draw, 0) if isinstance(draw, int) else draw for draw in draws]
        images, targets = self._tiles.__getitems__(pairs)
        if self._labelled is None:
            return images, torch.from_numpy(self._own[[number for number, _ in pairs]])
        return images, classes_of(targets.numpy(), self._classes, self._labelled)

    def __len__(self) -> int:
        return len(self._tiles)


def classes_of(targets: np.ndarray, classes: int, labelled: float) -> Tensor:
    """Class (B,) of most labelled pixels of targets (B, h, w), 255 where too few are labelled."""
    found = torch.full((len(targets),), IGNORED, dtype=torch.int64)
    for place, target in enumerate(targets):
        counts = np.bincount(target.ravel(), minlength=classes)[:classes]
        if counts.sum() >= labelled * target.size:
            found[place] = int(counts.argmax())
    return found
