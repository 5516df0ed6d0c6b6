"""Read tiles without labels for pretraining and semi-supervised training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from geoseg.dataset.unlabelled import SceneTile, cut
from geoseg.geo.grid import Window
from geoseg.samples import augment as augment_room
from geoseg.samples.augment import Augment
from geoseg.samples.draw import Draw
from geoseg.samples.tiles import TrainTiles
from geoseg.scenes.bands import BandStatistics, scale
from geoseg.scenes.neighbours import OpenScenes
from geoseg.scenes.scene import Scene

TRIES = 8
"""Tiles that are drawn until one shows anything: scenes may be half nodata."""
STRONG = Augment(
    chance=0.8,
    brightness=0.4,
    contrast=0.3,
    band_brightness=0.2,
    band_contrast=0.2,
    curve=0.3,
    noise=0.15,
    blur=1.0,
    band_dropout=0.1,
    cutout=0.25,
)
"""How the student sees an unlabelled tile: in other light and with holes, nothing being moved."""


class SceneTiles:
    """Tiles of scenes as the network sees them, each moved at random within its scene."""

    def __init__(
        self,
        tiles: Sequence[SceneTile],
        side: int,
        statistics: BandStatistics,
        augment: Augment | None = None,
        *,
        aside: Sequence[SceneTile] = (),
        jitter: bool = True,
    ) -> None:
        """aside: tiles of the same cut that no moved tile may touch. jitter: move tiles at all."""
        self.tiles, self.side = tiles, side
        self._aside = {(scene.name, w.top // side, w.left // side) for scene, w in aside}
        self._statistics = statistics
        self._jitter = jitter
        self._augment = augment_room.build(augment or Augment())
        self._open = OpenScenes()

    def draw(self, number: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Image (C, side, side) float32, scaled, and valid (side, side) of a tile.

        Another tile, if nothing is valid in this one.
        """
        for _ in range(TRIES):
            image, valid = self._read(number, random)
            if valid.any():
                break
            number = int(random.integers(len(self.tiles)))
        # The augmentation ignores what is not valid; so the target tells what still is.
        seen = np.zeros(valid.shape, np.uint8)
        image, seen = self._augment(image, seen, valid, int(random.integers(2**31)))
        return image, seen == 0

    def still(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The same of a tile where it lies, not augmented."""
        scene, window = self.tiles[number]
        return self._scaled(scene, Window(window.top, window.left, self.side, self.side))

    def __len__(self) -> int:
        return len(self.tiles)

    def _read(self, number: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        scene, window = self.tiles[number]
        reach, grid = self.side // 2 if self._jitter else 0, scene.grid
        down, right = random.integers(-reach, reach + 1, 2)
        top = int(np.clip(window.top + down, 0, max(0, grid.height - self.side)))
        left = int(np.clip(window.left + right, 0, max(0, grid.width - self.side)))
        if self._touches(scene, top, left):
            return self.still(number)
        return self._scaled(scene, Window(top, left, self.side, self.side))

    def _touches(self, scene: Scene, top: int, left: int) -> bool:
        """Whether a window there shows something of a tile that is kept aside."""
        rows = {top // self.side, (top + self.side - 1) // self.side}
        columns = {left // self.side, (left + self.side - 1) // self.side}
        return any((scene.name, row, column) in self._aside for row in rows for column in columns)

    def _scaled(self, scene: Scene, window: Window) -> tuple[np.ndarray, np.ndarray]:
        image, valid = self._open.reader(scene).read(window)
        return scale(image, valid, self._statistics), valid


Pair = tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(labelled image, unlabelled image, the same as the student sees it (C, side, side) float32, where
that shows anything (side, side) bool), target (side, side) uint8."""


class PairedTiles(TorchDataset[Pair]):
    """Train tiles, each with a tile without labels that its seed draws."""

    def __init__(
        self, labelled: TrainTiles, scenes: Sequence[Scene], *, augment: Augment,
        statistics: BandStatistics,
    ) -> None:  # fmt: skip
        """augment: of the labelled tiles; the unlabelled ones are mirrored and turned likewise."""
        still = replace(Augment(), flips=augment.flips, quarter_turns=augment.quarter_turns)
        self._labelled = labelled
        self._others = SceneTiles(cut(scenes, labelled.side), labelled.side, statistics, still)
        self._strong = augment_room.build(STRONG)
        self.side = labelled.side

    def __getitem__(self, draw: Draw) -> Pair:
        image, target = self._labelled[draw]
        random = np.random.default_rng((draw[1], 1))
        weak, valid = self._others.draw(int(random.integers(len(self._others))), random)
        holes = np.zeros(valid.shape, np.uint8)
        strong, holes = self._strong(weak, holes, valid, int(random.integers(2**31)))
        seen = torch.from_numpy(holes == 0)
        return (image, torch.from_numpy(weak), torch.from_numpy(strong), seen), target

    def title(self, draw: Draw) -> str:
        """What a draw shows, for people: its labelled tile, and near where the other one lies."""
        number = int(np.random.default_rng((draw[1], 1)).integers(len(self._others)))
        scene, window = self._others.tiles[number]
        beside = f"{scene.name} without labels (near row {window.top}, column {window.left})"
        return f"{self._labelled.title(draw)} beside {beside}"

    def __len__(self) -> int:
        return len(self._labelled)
