"""Prepared data sets as plain arrays in memory: what a script of one's own would load."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from benchmarks.series import each_pixel
from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.geo.grid import Window
from geoseg.samples.tiles import OpenScenes
from geoseg.scenes.stack import observed


@dataclass(frozen=True)
class Images:
    """Pieces of scenes that train, and the whole scenes that are to be mapped."""

    train: list[tuple[np.ndarray, np.ndarray]]
    """Images (C, H, W) float32, scaled, and targets (H, W) uint8, 255 = ignored."""
    scenes: dict[str, np.ndarray]
    """Images (C, H, W) that hold a part of the test split."""
    classes: int
    side: int
    """Of a training sample in pixels."""


def load_images(dataset: Dataset, *, with_val: bool) -> Images:
    """Regions that train and scenes that are tested, scaled by what the regions hold.

    with_val: the val part trains too, as nothing is chosen by it.
    """
    opened = OpenScenes(dataset)
    grids = {scene.name: scene.grid for scene in dataset.scenes}
    splits = ("train", "val") if with_val else ("train",)
    tiles = [tile for split in splits for tile in dataset.tiles(split)]
    homes = dict.fromkeys((tile.scene, tile.home) for tile in tiles)
    pieces = [opened.read(scene, home) for scene, home in homes]
    seen = np.concatenate([image[:, valid].astype(np.float64) for image, valid, _ in pieces], 1)
    mean, std = seen.mean(axis=1), np.maximum(seen.std(axis=1), 1e-6)

    def scaled(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        values = (image - mean[:, None, None]) / std[:, None, None]
        return np.where(valid, values, 0).astype(np.float32)

    tested = dict.fromkeys(tile.scene for tile in dataset.tiles("test"))
    return Images(
        [(scaled(image, valid), target) for image, valid, target in pieces],
        {name: scaled(*opened.read(name, grids[name].window)[:2]) for name in tested},
        len(dataset.legend),
        dataset.tiling.size,
    )


@dataclass(frozen=True)
class ImageTruth:
    """Where the test split lies, and its classes."""

    scenes: dict[str, np.ndarray]
    """Scene → targets (H, W) uint8 index, 255 where nothing is scored."""
    names: list[str]

    @classmethod
    def of(cls, dataset: Dataset) -> ImageTruth:
        opened = OpenScenes(dataset)
        grids = {scene.name: scene.grid for scene in dataset.scenes}
        tiles: dict[str, list[Tile]] = {}
        for tile in dataset.tiles("test"):
            tiles.setdefault(tile.scene, []).append(tile)
        scenes = {}
        for name, mine in tiles.items():
            whole = grids[name].window
            target = opened.read(name, whole)[2]
            inside = np.zeros(target.shape, bool)
            for tile in mine:
                inside[_slices(tile.window)] = True
            scenes[name] = np.where(inside, target, 255)
        return cls(scenes, dataset.legend.names)


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.top, window.bottom), slice(window.left, window.right)


@dataclass(frozen=True)
class Series:
    """All samples of a data set, each pixel of a polygon one."""

    values: np.ndarray
    """(N, T, C) float32, NaN where nothing clear was observed."""
    days: np.ndarray
    """(N, T) float32."""
    classes: int
    index: np.ndarray
    """(N,) index of the class."""
    split: np.ndarray
    """(N,) train, val or test."""
    names: list[str] = field(default_factory=list)

    def places(self, *splits: str) -> np.ndarray:
        """Numbers of the samples of some splits."""
        return np.flatnonzero(np.isin(self.split, splits))


def load_series(dataset: SeriesDataset) -> Series:
    """The samples in the order of the data set, the pixels of each in order.

    Where tiles have fewer dates than others, nothing is seen at the last ones.
    """
    samples = each_pixel(dataset.samples())
    count = len(samples)
    tiles = {tile: dataset.arrays(tile) for tile in sorted(set(samples.tile))}
    most = max(pixels.shape[1] for pixels, _ in tiles.values())
    values = np.full((count, most, len(dataset.bands)), np.nan, np.float32)
    days = np.zeros((count, most), np.float32)
    for tile, (pixels, when) in tiles.items():
        here = np.flatnonzero(samples.tile == tile)
        found = pixels[samples.first[here]]
        dates = found.shape[1]
        values[here, :dates] = np.where(observed(found), found, np.nan)
        days[here, :dates] = when if when.ndim == 1 else when[samples.first[here]]
    index = np.searchsorted(dataset.legend.codes, samples.code)
    return Series(
        values, days, len(dataset.legend), index, samples.split.astype(str), dataset.legend.names
    )
