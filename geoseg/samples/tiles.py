"""Read tiles as tensors for training and validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import default_collate, get_worker_info

from geoseg.dataset.tiles import Dataset, Tile
from geoseg.geo.grid import Window
from geoseg.geo.legend import IGNORED
from geoseg.geo.open_files import OpenFiles
from geoseg.geo.raster import Raster
from geoseg.samples.draw import Draw, part_of
from geoseg.scenes import neighbours
from geoseg.scenes.bands import scale
from geoseg.scenes.dated import AnyScene

STEP = 32
"""Sides of samples are multiples of this, what most encoders need."""
Sample = tuple[torch.Tensor, torch.Tensor]
"""Image (C, side, side) float32, target indices (side, side) uint8."""
Batch = tuple[torch.Tensor, torch.Tensor]
"""The same with the number of samples in front."""


class Augmentation(Protocol):
    def __call__(
        self, image: np.ndarray, target: np.ndarray, valid: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]: ...


class Style(Protocol):
    def __call__(
        self, image: np.ndarray, valid: np.ndarray, scene: str, random: np.random.Generator
    ) -> np.ndarray: ...


@dataclass
class _Labelled:
    """A scene and its target, both open."""

    scene: Any
    target: Raster

    def close(self) -> None:
        self.scene.close()
        self.target.close()


class OpenScenes:
    """Scenes and their targets, opened when first read, and kept open, as many as may."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._scenes = {scene.name: scene for scene in dataset.scenes}
        self._files = {s.name: len(set(s.inputs)) + 1 for s in dataset.scenes}
        self._open = OpenFiles(neighbours.OPEN_SCENES, neighbours.OPEN_FILES)

    def __getitem__(self, scene: str) -> AnyScene:
        return self._scenes[scene]

    def read(self, scene: str, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (C, h, w), valid (h, w) and target indices (h, w) of a window."""
        opened = self._open.get(scene, partial(self._opened, scene), self._files[scene])
        image, valid = opened.scene.read(window)
        codes, _ = opened.target.read(window)
        return image, valid, self._dataset.legend.encode(codes[0])

    def _opened(self, scene: str) -> _Labelled:
        # Codes say by themselves where nothing is: no need to look for what is valid.
        target = Raster(self._dataset.target(scene), nodata="none")
        return _Labelled(self._scenes[scene].open(), target)


@dataclass
class Look:
    """A tile as it was read for one sample."""

    scene: AnyScene
    image: np.ndarray
    """(C, side, side) in the scene's dtype."""
    valid: np.ndarray
    """(side, side)."""
    counted: np.ndarray
    """(side, side), the part that may be seen in training, or counts in validation."""
    known: np.ndarray
    """(side, side), valid and counted."""
    target: np.ndarray
    """(side, side) indices, ignored where not valid or not counted."""


class TrainTiles(TorchDataset[Sample]):
    """Train tiles, moved at random within their part of the split, and augmented."""

    def __init__(
        self,
        dataset: Dataset,
        augment: Augmentation | None = None,
        *,
        style: Style | None = None,
        jitter: bool = True,
        tiles: list[Tile] | None = None,
        crop: int | None = None,
    ) -> None:
        """style: looks that samples get before they are augmented.

        tiles: some of the data set's, whose labels alone are seen; by default all of its train
        split. crop: side of a sample in pixels, cut out of a tile at random; by default the tile's.
        """
        whole = dataset.tiles("train")
        self.tiles = whole if tiles is None else tiles
        self._labelled = _by_scene(self.tiles) if len(self.tiles) < len(whole) else None
        size = dataset.tiling.size
        self.side = sample_side(self.tiles, min(size, crop or size))
        self._channels = len(dataset.bands)
        self._statistics = dataset.statistics
        self._scenes = OpenScenes(dataset)
        self._augment, self._style = augment, style
        self._jitter = jitter

    def __getitem__(self, draw: Draw) -> Sample:
        image, target = self._sample(draw)
        return torch.from_numpy(image), torch.from_numpy(target)

    def __getitems__(self, draws: list[Draw]) -> Batch:
        """A whole batch, made in place; `gather` hands it to a DataLoader, which asks for it so."""
        images, targets = _room(len(draws), self._channels, self.side)
        for draw, image, target in zip(draws, images.numpy(), targets.numpy(), strict=True):
            made, target[...] = self._sample(draw, out=image)
            if made is not image:
                image[...] = made
        return images, targets

    def _sample(self, draw: Draw, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """out: an array for the image; what is augmented may come in another one."""
        number, seed = draw
        random = np.random.default_rng(seed)
        look = self.look(number, random)
        scaled = scale(look.image, look.known, self._statistics, out=out)
        if self._style is not None:
            scaled = self._style(scaled, look.known, look.scene.name, random)
        if self._augment is None:
            return scaled, look.target
        return self._augment(scaled, look.target, look.known, int(random.integers(2**31)))

    def look(self, number: int, random: np.random.Generator) -> Look:
        """A tile, moved at random.

        Beyond its home other splits begin: neither their labels nor their pixels may be seen.
        """
        tile, window = self.tiles[number], self._window(number, random)
        image, valid, target = self._scenes.read(tile.scene, window)
        if self._labelled is not None:
            _hide_beyond(self._labelled[tile.scene], target, window)
        return _look(self._scenes[tile.scene], image, valid, target, _part(tile.home, window))

    def title(self, draw: Draw) -> str:
        """What a draw shows, for people."""
        w = self.window(*draw)
        scene = self.tiles[draw[0]].scene
        return f"{scene} (rows {w.top} to {w.bottom}, columns {w.left} to {w.right})"

    def window(self, number: int, seed: int) -> Window:
        """Where a draw looks."""
        return self._window(number, np.random.default_rng(seed))

    def _window(self, number: int, random: np.random.Generator) -> Window:
        tile = self.tiles[number]
        w, home = tile.window, tile.home
        reach = self.side // 2 if self._jitter else 0
        # A square of a tile may lie anywhere in it, and beyond its edges as far as the tile may.
        down, right = (
            random.integers(-reach, max(0, length - self.side) + reach + 1)
            for length in (w.height, w.width)
        )
        top = _within(w.top + int(down), home.top, home.bottom - self.side)
        left = _within(w.left + int(right), home.left, home.right - self.side)
        return Window(top, left, self.side, self.side)

    def __len__(self) -> int:
        return len(self.tiles)


class ValTiles(TorchDataset[Sample]):
    """Tiles of a split as prediction sees them: with context around, each pixel counted once."""

    def __init__(
        self,
        dataset: Dataset,
        split: str = "val",
        *,
        step: int = STEP,
        tiles: list[Tile] | None = None,
    ) -> None:
        """step: that the sides are multiples of. tiles: instead of a split's, some of them."""
        self.tiles = dataset.tiles(split) if tiles is None else tiles
        self._halo = dataset.tiling.overlap // 2
        longest = max((max(t.window.height, t.window.width) for t in self.tiles), default=STEP)
        self.side = _round_up(longest + 2 * self._halo, step)
        self._statistics = dataset.statistics
        self._scenes = OpenScenes(dataset)

    def __getitem__(self, number: int) -> Sample:
        look = self.look(number)
        scaled = scale(look.image, look.valid, self._statistics)
        return torch.from_numpy(scaled), torch.from_numpy(look.target)

    def look(self, number: int) -> Look:
        """A tile with context around, which has no target."""
        tile = self.tiles[number]
        w = tile.window
        window = Window(w.top - self._halo, w.left - self._halo, self.side, self.side)
        image, valid, target = self._scenes.read(tile.scene, window)
        return _look(self._scenes[tile.scene], image, valid, target, _part(w, window))

    def __len__(self) -> int:
        return len(self.tiles)


def gather(batch: Batch | list[Sample]) -> Batch:
    """Collates what a DataLoader got: a batch as it is, samples one upon the other."""
    if isinstance(batch, list):
        images, targets = default_collate(batch)
        return images, targets
    return batch


def _room(count: int, channels: int, side: int) -> Batch:
    """Images and targets that are still to be filled.

    Those of a worker lie in shared memory, where its DataLoader would else copy them.
    """
    room = []
    for shape, dtype in (((count, channels), torch.float32), ((count,), torch.uint8)):
        whole = (*shape, side, side)
        if get_worker_info() is None:
            room.append(torch.empty(whole, dtype=dtype))
        else:
            size = math.prod(whole) * dtype.itemsize
            shared = torch.UntypedStorage._new_shared(size, device="cpu")
            room.append(torch.empty(0, dtype=dtype).set_(shared).view(whole))
    return room[0], room[1]


def train_tiles(dataset: Dataset, share: float, seed: int) -> list[Tile]:
    """The train tiles that a training uses: a share of them, drawn by the seed."""
    tiles = dataset.tiles("train")
    return [tiles[number] for number in part_of(len(tiles), share, seed)]


def _by_scene(tiles: list[Tile]) -> dict[str, np.ndarray]:
    """Top, left, bottom and right (N, 4) of the tiles of each scene."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for tile in tiles:
        w = tile.window
        found.setdefault(tile.scene, []).append((w.top, w.left, w.bottom, w.right))
    return {scene: np.array(edges) for scene, edges in found.items()}


def _hide_beyond(edges: np.ndarray, target: np.ndarray, window: Window) -> None:
    """Leave a window's labels (h, w) within some tiles alone.

    edges: of the tiles, as `_by_scene` gives them.
    """
    top, left, bottom, right = edges.T
    near = (top < window.bottom) & (bottom > window.top)
    near &= (left < window.right) & (right > window.left)
    hidden = np.ones(target.shape, bool)
    for first, west, end, east in edges[near].tolist():
        rows = slice(max(first - window.top, 0), end - window.top)
        hidden[rows, max(west - window.left, 0) : east - window.left] = False
    target[hidden] = IGNORED


def sample_side(tiles: list[Tile], size: int) -> int:
    """Side of training samples: the tiles' size, or less where no region is as large."""
    longest = max((max(t.home.height, t.home.width) for t in tiles), default=size)
    return min(_round_up(size), _round_up(longest))


def _round_up(length: int, step: int = STEP) -> int:
    return -(-length // step) * step


def _within(start: int, first: int, last: int) -> int:
    """The start or, if it lies outside, the limit; where there is no room, the first one."""
    return min(max(start, first), max(first, last))


def _look(
    scene: AnyScene,
    image: np.ndarray,
    valid: np.ndarray,
    target: np.ndarray,
    part: tuple[slice, slice],
) -> Look:
    """What was read, of which only a part counts."""
    counted = np.zeros(target.shape, bool)
    counted[part] = True
    known = valid & counted
    if not known.all():
        target[~known] = IGNORED
    return Look(scene, image, valid, counted, known, target)


def _part(inner: Window, outer: Window) -> tuple[slice, slice]:
    """Slices of the common part of two windows in an array that holds `outer`."""
    common = inner.intersect(outer)
    return common.within(outer) if common else (slice(0, 0), slice(0, 0))
