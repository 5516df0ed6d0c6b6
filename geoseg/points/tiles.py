"""Cut clouds into square tiles, and draw the points of each that a network sees at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoseg.points.gather import Gathered

BLOCK = 4
"""Tiles along a side of a block that is drawn as a whole to judge by: neighbours are alike."""


class Tiles:
    """The tiles of one cloud that hold points."""

    def __init__(self, points: Gathered, side_m: float, *, shift: float = 0.0) -> None:
        """shift: shares of a side by which the tiles are moved.

        They begin at multiples of their side, wherever the cloud begins.
        """
        self.points, self.side_m, self._shift = points, side_m, shift
        column = np.floor(points.x / side_m + shift).astype(np.int64)
        row = np.floor(points.y / side_m + shift).astype(np.int64)
        order = np.lexsort((column, row))
        keys = np.stack([row, column], axis=1)[order]
        begins = np.flatnonzero(np.any(np.diff(keys, axis=0, prepend=keys[:1] - 1), axis=1))
        self.keys = keys[begins]
        """(T, 2) row and column of each tile."""
        self._members = np.split(order, begins[1:])

    def __len__(self) -> int:
        return len(self.keys)

    def members(self, tile: int) -> np.ndarray:
        """Numbers of the points in a tile."""
        return self._members[tile]

    def seen(self, tile: int, chosen: np.ndarray) -> np.ndarray:
        """What a network is told of points of a tile: place (east, north; -1..1) and features.

        Returns: (n, 2 + F) float32.
        """
        row, column = self.keys[tile]
        east = (self.points.x[chosen] / self.side_m + self._shift - column) * 2 - 1
        north = (self.points.y[chosen] / self.side_m + self._shift - row) * 2 - 1
        place = np.stack([east, north], axis=1, dtype=np.float32)
        return np.concatenate([place, self.points.features[chosen]], axis=1)

    def draws(self, tile: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Draws of `size` points of a tile, in which each point occurs at least once.

        Each draw is spread over the whole tile; a tile with fewer points gives some twice.
        """
        mixed = rng.permutation(self._members[tile])
        count = -(-len(mixed) // size)
        for number in range(count):
            yield np.resize(mixed[number::count], size)


def judging(keys: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Which tiles (T, 2) only judge (T,) bool: whole blocks of them, at least one."""
    blocks = keys // BLOCK
    if len(np.unique(blocks, axis=0)) < 1 / share:
        blocks = keys  # too small a place for blocks
    names, block = np.unique(blocks, axis=0, return_inverse=True)
    count = min(max(1, round(share * len(names))), max(1, len(names) - 1))
    return np.isin(block.reshape(-1), rng.permutation(len(names))[:count])
