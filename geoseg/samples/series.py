"""Make batches of parcels or pixels, on their own dates or on a regular grid.

Letters of shapes: B samples of a batch, S pixels, T dates, C bands, G days of a regular grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from geoseg.dataset.samples import Samples, load_pixels
from geoseg.models.view import Inputs, View
from geoseg.samples.draw import Draw
from geoseg.samples.settings import SeriesSamples
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.stack import MISSING, observed

MOST_PIXELS = 256
"""Pixels of a sample that are seen outside training, evenly spread where there are more."""


class SeriesBatches(TorchDataset[tuple[Inputs, Tensor]]):
    """Batches of series, asked for by lists of draws.

    A unit of drawing is a sample, or each of its pixels for a network that sees them one by one.
    """

    def __init__(
        self,
        folder: Path,
        samples: Samples,
        targets: np.ndarray,
        view: View,
        vary: SeriesSamples | None = None,
    ) -> None:
        """targets: (N,) class indices. vary: what is random; None = nothing, as in prediction."""
        self._folder = folder
        self._samples = samples
        self._targets = targets.astype(np.int64)
        self._view = view
        self._vary = vary
        self._arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        counts = samples.pixels
        if view.each_pixel:
            self.owner = np.repeat(np.arange(len(samples)), counts)
            starts = np.repeat(np.cumsum(counts) - counts, counts)
            self._first = samples.first[self.owner] + np.arange(len(self.owner)) - starts
            self._count = np.ones(len(self.owner), np.int64)
        else:
            self.owner = np.arange(len(samples))
            self._first, self._count = samples.first, counts

    def __len__(self) -> int:
        return len(self.owner)

    def title(self, draw: Draw) -> str:
        """Name of the sample that a draw shows, for people."""
        return f"sample {self._samples.id[self.owner[draw[0]]]}"

    def __getitem__(self, draws: Sequence[Draw]) -> tuple[Inputs, Tensor]:
        numbers = np.array([number for number, _ in draws])
        random = np.random.default_rng(draws[0][1])
        owner = self.owner[numbers]
        rows = self._rows(numbers, random)
        values, days = self._gather(owner, rows)
        if self._vary is not None:
            values, days = vary(values, days, self._vary, self._view.statistics, random)
        inputs = self._view.inputs(values, days, self._samples.shape[owner])
        return inputs, torch.from_numpy(self._targets[owner])

    def _rows(self, numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Rows (B, S) of the pixels to see in their tiles' arrays; -1 where a sample has fewer."""
        counts = self._count[numbers]
        most = int(counts.max())
        place = np.arange(most)
        inside = place < counts[:, None]
        seen = MOST_PIXELS if self._vary is None else self._vary.pixels
        if most > seen:
            if self._vary is None:
                step = np.maximum(counts, seen)[:, None] / seen
                chosen = (np.arange(seen) * step).astype(np.int64)
            else:
                keys = np.where(inside, random.random(inside.shape), 2.0)
                chosen = np.argsort(keys, axis=1)[:, :seen]
            inside = chosen < counts[:, None]
        else:
            chosen = np.broadcast_to(place, inside.shape)
        return np.where(inside, self._first[numbers][:, None] + chosen, -1)

    def _gather(self, owner: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (B, S, T, C) and days (B, T) of pixels, which may lie in several tiles."""
        tiles = self._samples.tile[owner]
        names = sorted(set(tiles))
        arrays = [self._open(name) for name in names]
        dates = max(values.shape[1] for values, _ in arrays)
        first = arrays[0][0]
        shape = (*rows.shape, dates, first.shape[2])
        values = np.full(shape, MISSING[first.dtype.name], first.dtype)
        days = np.zeros((len(rows), dates), np.int16)
        for name, (pixels, of) in zip(names, arrays, strict=True):
            here = np.flatnonzero(tiles == name)
            held = rows[here]
            known = held >= 0
            part = np.full((*held.shape, *pixels.shape[1:]), MISSING[first.dtype.name], first.dtype)
            part[known] = pixels[held[known]]
            values[here, :, : pixels.shape[1]] = part
            days[here, : pixels.shape[1]] = of if of.ndim == 1 else of[held[:, 0]]
        return values, days

    def _open(self, tile: str) -> tuple[np.ndarray, np.ndarray]:
        if tile not in self._arrays:
            self._arrays[tile] = load_pixels(self._folder, tile)
        return self._arrays[tile]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_arrays": {}}


def vary(
    values: np.ndarray,
    days: np.ndarray,
    how: SeriesSamples,
    statistics: BandStatistics,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Values (B, S, T, C) with dates dropped, series cut short, noise; and days (B, T), shifted.

    At least the first observed date of a sample stays.
    """
    missing = MISSING[values.dtype.name]
    gone = dropped(np.asarray(observed(values).any(axis=(1, 3))), days, how, random)
    values = np.where(gone[:, None, :, None], missing, values).astype(values.dtype)
    if how.noise:
        seen = observed(values)
        spread = how.noise * np.asarray(statistics.std, np.float32)
        noisy = values + random.standard_normal(values.shape, np.float32) * spread
        if values.dtype.kind != "f":
            limits = np.iinfo(values.dtype)
            noisy = np.clip(np.rint(noisy), limits.min + 1, limits.max - 1)
        values = np.where(seen, noisy, missing).astype(values.dtype)
    return values, shifted(days, how, random)


def dropped(
    alive: np.ndarray, days: np.ndarray, how: SeriesSamples, random: np.random.Generator
) -> np.ndarray:
    """Which dates (B, T) are left out, of those with an observation and of the others.

    alive: (B, T), where anything was observed. At least the first such date of a sample stays.
    """
    share = random.random(len(alive)) * how.drop_dates
    gone = random.random(alive.shape) < share[:, None]
    if how.truncate:
        last = np.where(alive, days, -(2**15)).max(axis=1)
        first = np.where(alive, days, 2**15 - 1).min(axis=1)
        cut = first + random.random(len(alive)) * (last - first)
        short = random.random(len(alive)) < how.truncate
        gone |= short[:, None] & (days > cut[:, None])
    # A sample without any date teaches nothing.
    gone[np.arange(len(gone)), alive.argmax(axis=1)] = False
    return gone


def shifted(days: np.ndarray, how: SeriesSamples, random: np.random.Generator) -> np.ndarray:
    """Days (B, T), those of each sample moved by the same random number."""
    if not how.shift_days:
        return days
    move = random.integers(-how.shift_days, how.shift_days + 1, len(days))
    return (days + move[:, None]).astype(days.dtype)


class InOrder(Sampler[list[Draw]]):
    """Each unit once, a batch at a time; of several processes each takes every so many-th unit."""

    def __init__(self, count: int, size: int, *, rank: int = 0, ranks: int = 1) -> None:
        self._numbers, self._size = range(rank, count, ranks), size

    def __iter__(self) -> Iterator[list[Draw]]:
        for start in range(0, len(self._numbers), self._size):
            yield [(number, 0) for number in self._numbers[start : start + self._size]]

    def __len__(self) -> int:
        return -(-len(self._numbers) // self._size)
