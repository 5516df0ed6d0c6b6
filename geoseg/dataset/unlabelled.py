"""Cut scenes without labels into tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geoseg.dataset.arrays import common_dtype
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling
from geoseg.outputs.counted import counted
from geoseg.scenes.bands import BandStatistics, Measure
from geoseg.scenes.scene import Scene, harmonize

MEASURED = 4000
"""Tiles measured for the statistics at most, drawn evenly: more change no digit that counts."""
SceneTile = tuple[Scene, Window]


def cut(scenes: Sequence[Scene], side: int) -> list[SceneTile]:
    """Windows that partition the scenes; those at the far edges smaller."""
    tiling = Tiling(side, 0)
    return [(scene, window) for scene in scenes for window in tiling.tiles(scene.grid.window)]


@dataclass(frozen=True)
class Imagery:
    """What is learnt from images alone."""

    train: Sequence[SceneTile]
    val: Sequence[SceneTile]
    side: int
    bands: tuple[str, ...]
    statistics: BandStatistics
    """Of the train tiles."""
    dtype: str
    pixel_size_m: float

    @classmethod
    def of(cls, scenes: Sequence[Scene], side: int, *, val: float, seed: int) -> Imagery:
        """Cut scenes and measure their bands. val: share of the tiles that is kept aside.

        Raises: InputError for scenes of other bands, fewer than two tiles, or no valid pixel.
        """
        fitted = harmonize(scenes)
        tiles = cut(fitted, side)
        order = np.random.default_rng(seed).permutation(len(tiles))
        count = round(val * len(tiles))
        if len(tiles) - count < 1 or (val and not count):
            raise InputError(
                f"{counted(len(tiles), 'tile')} of {side} px in {counted(len(scenes), 'scene')}:"
                f" too few to keep val={val:g} of them aside; give more scenes, smaller tiles or"
                " val=0"
            )
        aside, rest = np.sort(order[:count]), np.sort(order[count:])
        statistics = measure([tiles[number] for number in rest])
        if fitted[0].partial:
            tiles = cut([replace(scene, fill=statistics.mean) for scene in fitted], side)
        return cls(
            [tiles[number] for number in rest],
            [tiles[number] for number in aside],
            side,
            fitted[0].bands,
            statistics,
            common_dtype({scene.dtype for scene in fitted}),
            float(np.median([scene.grid.pixel_size_m for scene in fitted])),
        )


def measure(tiles: Sequence[SceneTile]) -> BandStatistics:
    """Statistics of the bands over some of the tiles. Raises: InputError if nothing is valid."""
    step = max(1, -(-len(tiles) // MEASURED))
    chosen = tiles[::step]
    count = len(chosen[0][0].bands)
    partial = chosen[0][0].partial
    measures = [Measure(1) for _ in range(count)] if partial else [Measure(count)]
    with raster.environment():
        for scene in dict.fromkeys(scene for scene, _ in chosen):
            with scene.open() as reader:
                for of, window in chosen:
                    if of is not scene:
                        continue
                    if not partial:
                        measures[0].add(*reader.read(window))
                        continue
                    image, holds = reader.read_each(window)
                    each = np.broadcast_to(holds, image.shape)
                    for measure_, band, here in zip(measures, image, each, strict=True):
                        measure_.add(band[None], here)
    return BandStatistics.joined([one.result() for one in measures])
