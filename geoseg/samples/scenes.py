"""Read tiles as tensors with one class each, or with several."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from geoseg.dataset import scene_classes
from geoseg.dataset.scene_classes import SceneClasses
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.geo.legend import IGNORED
from geoseg.samples.draw import Draw
from geoseg.samples.tiles import Augmentation, Style, TrainTiles

Batch = tuple[Tensor, Tensor]
"""Images (B, C, side, side) float32, class indices (B,) int64, 255 = too few labels; of tiles with
several classes (B, K) uint8: 1 = the class is there, 0 = it is not, 255 = too few labels."""


class SceneSamples(TorchDataset[Batch]):
    """Tiles of a split, as they are or varied, with the class of most of their labelled pixels, or
    with several."""

    def __init__(
        self,
        dataset: Dataset,
        tiles: list[Tile],
        *,
        classes: SceneClasses,
        augment: Augmentation | None = None,
        style: Style | None = None,
        jitter: bool = False,
    ) -> None:
        """classes: what class a tile has.

        jitter: whether tiles are moved at random; each then has the class of what it shows, but not
        those of polygons, which have their polygon's.
        """
        own = np.zeros((0, len(dataset.legend)), np.uint8)
        if classes.several and tiles:
            own = classes.presence(tiles).astype(np.uint8)
        self._own = own if classes.several else scene_classes.classes_of(tiles)
        by_polygons = classes.polygons is not None
        moved = jitter and not by_polygons
        self._tiles = TrainTiles(dataset, augment, style=style, jitter=moved, tiles=tiles)
        self._count, self._classes, self._by_polygons = len(dataset.legend), classes, by_polygons

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
        if self._by_polygons:
            return images, torch.from_numpy(self._own[[number for number, _ in pairs]])
        if self._classes.several:
            return images, presence_of(targets.numpy(), self._count, self._classes)
        return images, classes_of(targets.numpy(), self._count, self._classes.labelled)

    def __len__(self) -> int:
        return len(self._tiles)


def presence_of(targets: np.ndarray, count: int, classes: SceneClasses) -> Tensor:
    """Which of `count` classes targets (B, h, w) have: (B, K) uint8, 255 where too few pixels are
    labelled."""
    counts = np.stack([np.bincount(t.ravel(), minlength=count)[:count] for t in targets])
    found = classes.is_there(counts).astype(np.uint8)
    found[counts.sum(1) < classes.labelled * targets[0].size] = IGNORED
    return torch.from_numpy(found)


def classes_of(targets: np.ndarray, classes: int, labelled: float) -> Tensor:
    """Class (B,) of most labelled pixels of targets (B, h, w), 255 where too few are labelled."""
    found = torch.full((len(targets),), IGNORED, dtype=torch.int64)
    for place, target in enumerate(targets):
        counts = np.bincount(target.ravel(), minlength=classes)[:classes]
        if counts.sum() >= labelled * target.size:
            found[place] = int(counts.argmax())
    return found
