"""Paint a place before and after: image, map, and where the labels say something else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.dataset.tiles import Tile
from geoseg.geo.legend import IGNORED, Legend
from geoseg.samples.corruptions import View
from geoseg.scenes.bands import shown_bands

EMPTY, PAPER = 238, 255
GAP = 6
"""Pixels between the panels of a strip."""
RIGHT, WRONG = (236, 240, 241), (179, 64, 44)


def telling(tiles: list[Tile]) -> int:
    """Number of the tile with the most even mixture of classes."""
    return max(range(len(tiles)), key=lambda number: tiles[number].mixture)


@dataclass(frozen=True)
class Painter:
    """Pixels to colours; every image of a place is stretched as the one before."""

    bands: tuple[str, ...]
    legend: Legend
    before: View

    def strip(self, after: View, maps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Panels side by side (3, H, W') uint8: image before and after, labels, map before and
        after, errors after.

        maps: indices (H, W) before and after.
        """
        panels = [
            self._image(self.before),
            self._image(after),
            self._classes(after.target),
            self._classes(np.where(self.before.valid, maps[0], IGNORED)),
            self._classes(np.where(after.valid, maps[1], IGNORED)),
            self._errors(after.target, maps[1]),
        ]
        gap = np.full((3, panels[0].shape[1], GAP), PAPER, np.uint8)
        parts = [part for panel in panels for part in (panel, gap)]
        return np.concatenate(parts[:-1], axis=2)

    def _image(self, view: View) -> np.ndarray:
        wanted = shown_bands(self.bands)
        places = [self.bands.index(name) for name in wanted]
        clean = self.before.image[places][:, self.before.valid]
        low, high = np.percentile(clean, (2, 98), axis=1) if clean.size else (0.0, 1.0)
        low, span = np.reshape(low, (-1, 1, 1)), np.reshape(high - low, (-1, 1, 1))
        scaled = (view.image[places] - low) / np.maximum(span, 1e-6)
        pixels = np.where(view.valid, (scaled.clip(0, 1) * 255), EMPTY).astype(np.uint8)
        return np.broadcast_to(pixels, (3, *view.valid.shape))

    def _classes(self, indices: np.ndarray) -> np.ndarray:
        table = np.full((256, 3), EMPTY, np.uint8)
        colors = self.legend.colors()
        for place, code in enumerate(self.legend.codes):
            table[place] = colors[code][:3]
        return np.moveaxis(table[indices], 2, 0)

    def _errors(self, target: np.ndarray, mapped: np.ndarray) -> np.ndarray:
        picture = np.full((*target.shape, 3), EMPTY, np.uint8)
        known = target != IGNORED
        picture[known & (target == mapped)] = RIGHT
        picture[known & (target != mapped)] = WRONG
        return np.moveaxis(picture, 2, 0)
