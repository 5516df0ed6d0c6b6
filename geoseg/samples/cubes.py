"""Read windows of stacks through time as tensors.

Letters of shapes: B samples of a batch, T dates, C bands, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset as TorchDataset

from geoseg.dataset.tiles import Dataset, Tile
from geoseg.samples.draw import Draw
from geoseg.samples.series import dropped, shifted
from geoseg.samples.settings import SeriesSamples
from geoseg.samples.tiles import Look, TrainTiles, ValTiles
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.dated import DatedScene

STEP = 8
"""Sides in validation are multiples of this: U-TAE halves an image three times."""
Cube = tuple[Tensor, Tensor, Tensor]
"""Values (T, C, H, W) float32, 0 where missing, valid (T, H, W) bool and days (T,) float32."""
Sample = tuple[Cube, Tensor]
"""A cube and its target indices (H, W) uint8."""
Batch = tuple[Cube, Tensor]
"""The same with B in front; dates without a valid pixel are padding."""


class TrainCubes(TorchDataset[Sample]):
    """Train tiles through time, moved, turned and mirrored at random, and some dates left out."""

    def __init__(
        self,
        dataset: Dataset,
        how: SeriesSamples,
        *,
        jitter: bool = True,
        tiles: list[Tile] | None = None,
        crop: int | None = None,
    ) -> None:
        """how: what is random about dates and values; nothing is, if all of it is 0.

        tiles: some of the data set's; by default all of its train split. crop: as of TrainTiles.
        """
        self._tiles = TrainTiles(dataset, jitter=jitter, tiles=tiles, crop=crop)
        self.tiles, self.side = self._tiles.tiles, self._tiles.side
        self._statistics = dataset.statistics
        self._how = how

    def __getitem__(self, draw: Draw) -> Sample:
        number, seed = draw
        random = np.random.default_rng(seed)
        look = self._tiles.look(number, random)
        values, seen, days = see(look, self._statistics)
        seen &= look.counted
        kept = self._keep(seen, days, random)
        values, seen, days = values[kept], seen[kept], days[kept]
        if self._how.noise:
            spread = np.float32(self._how.noise)
            values = values + spread * random.standard_normal(values.shape, np.float32)
        values[~seen] = 0
        days = shifted(days[None], self._how, random)[0]
        turn = int(random.integers(8))
        return tensors(turned(values, turn), turned(seen, turn), days, turned(look.target, turn))

    def title(self, draw: Draw) -> str:
        """What a draw shows, for people."""
        return self._tiles.title(draw)

    def _keep(self, seen: np.ndarray, days: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Places of the dates that stay: those that show something, less some; at least one."""
        alive = np.asarray(seen.any(axis=(1, 2, 3)))
        gone = dropped(alive[None], days[None], self._how, random)[0]
        kept = np.flatnonzero(alive & ~gone)
        return kept if len(kept) else np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self.tiles)


class ValCubes(TorchDataset[Sample]):
    """Tiles of a split as prediction sees them: all dates, and context around."""

    def __init__(self, dataset: Dataset, split: str = "val") -> None:
        self._tiles = ValTiles(dataset, split, step=STEP)
        self.tiles, self.side = self._tiles.tiles, self._tiles.side
        self._statistics = dataset.statistics

    def __getitem__(self, number: int) -> Sample:
        look = self._tiles.look(number)
        values, seen, days = see(look, self._statistics)
        values[~seen] = 0
        return tensors(values, seen, days, look.target)

    def __len__(self) -> int:
        return len(self.tiles)


def see(look: Look, statistics: BandStatistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled values, NaN where missing, and seen (T, C, H, W), and days (T,), as in prediction."""
    assert isinstance(look.scene, DatedScene)
    laid = look.scene.see(look.image, statistics)
    dates = len(look.scene.days)
    values = laid[dates:].reshape(dates, -1, *laid.shape[1:])
    return values, ~np.isnan(values), np.array(look.scene.days, np.int16)


def turned(array: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight ways to lay a square, of the last two axes: turn 0 to 7, 0 as it is."""
    array = np.rot90(array, turn % 4, axes=(-2, -1))
    return array[..., ::-1] if turn >= 4 else array


def tensors(values: np.ndarray, seen: np.ndarray, days: np.ndarray, target: np.ndarray) -> Sample:
    """A sample of values and seen (T, C, H, W), days (T,) and target (H, W)."""
    cube = (
        torch.from_numpy(np.ascontiguousarray(values)),
        torch.from_numpy(seen.any(axis=1)),
        torch.from_numpy(days.astype(np.float32)),
    )
    return cube, torch.from_numpy(np.ascontiguousarray(target))


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch; shorter series are padded at their end with dates that are nowhere valid."""
    cubes = zip(*(cube for cube, _ in samples), strict=True)
    values, valid, days = (pad_sequence(list(parts), batch_first=True) for parts in cubes)
    return (values, valid, days), torch.stack([target for _, target in samples])
