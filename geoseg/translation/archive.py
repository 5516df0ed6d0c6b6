"""Read windows of an archive of scenes, and what its bands are like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.dataset.unlabelled import SceneTile, cut, measure
from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.scenes.bands import BandStatistics, scale
from geoseg.scenes.measure_units import BRIGHTER, DARKER
from geoseg.scenes.neighbours import OpenScenes
from geoseg.scenes.scene import Scene

ALIKE = 1.2
"""Factor by which the pixels of two archives may differ in size."""
FULL = 0.9
"""Share of a window that must be valid to learn from it."""
FEWEST = 4
"""Windows that there is something to learn from, at least."""


@dataclass(frozen=True)
class Archive:
    """Scenes that look alike, with what their bands are like."""

    key: str
    """Of the setting that names them, for messages."""
    scenes: tuple[Scene, ...]
    """With the same bands in the same order."""
    statistics: BandStatistics

    @classmethod
    def of(cls, key: str, scenes: Sequence[Scene]) -> Archive:
        """Raises: InputError if nothing in them is valid."""
        statistics = measure(cut(scenes, 256))
        flat = [b for b, std in zip(scenes[0].bands, statistics.std, strict=True) if not std > 0]
        if flat:
            raise InputError(
                f"{key}: {', '.join(flat)} has one value everywhere; leave that band out"
                " (bands.order)"
            )
        filled = tuple(scene.filled(statistics.mean) for scene in scenes)
        return cls(key, filled, statistics)

    @property
    def dtype(self) -> str:
        return self.scenes[0].dtype

    @property
    def pixel_size_m(self) -> float:
        return float(np.median([scene.grid.pixel_size_m for scene in self.scenes]))

    def windows(self, side: int, most: int, rng: np.random.Generator) -> np.ndarray:
        """Windows (N, C, side, side) float32, scaled. Raises: InputError if few are whole."""
        places = [(scene, scene.grid.whole_window(w, side)) for scene, w in cut(self.scenes, side)]
        places = list(dict.fromkeys(places))
        found: list[np.ndarray] = []
        opened = OpenScenes()
        with raster.environment():
            for number in rng.permutation(len(places)):
                if len(found) == most:
                    break
                image, valid = _read(opened, places[number])
                if valid.mean() >= FULL:
                    found.append(scale(image, valid, self.statistics))
        if len(found) < FEWEST:
            raise InputError(
                f"{self.key}: {len(found)} windows of {side} px without gaps in them, {FEWEST} are"
                " the fewest to learn from; give more scenes, or a smaller translate.patch"
            )
        return np.stack(found)


def _read(opened: OpenScenes, place: SceneTile) -> tuple[np.ndarray, np.ndarray]:
    scene, window = place
    return opened.reader(scene).read(window)


def check_units(scenes: Sequence[Scene], expected: BandStatistics, whose: str) -> None:
    """Raises: InputError if the highest values are of other units than those expected."""
    found = measure(cut(scenes, 256))
    pairs = zip(found.high, expected.high, strict=True)
    ratios = [here / there for here, there in pairs if here > 0 and there > 0]
    if not ratios or 1 / DARKER < np.median(ratios) < BRIGHTER:
        return
    raise InputError(
        f"{scenes[0].paths[0]}: values up to {max(found.high):g}, {whose} has up to"
        f" {max(expected.high):g}: other units; bring them to those, or train with these scenes"
        " (like=)"
    )


def check_pixel_size(scenes: Sequence[Scene], expected: float, whose: str) -> None:
    """Raises: InputError with all scenes of other pixels: textures do not carry over."""
    faults = Faults()
    for scene in scenes:
        size = scene.grid.pixel_size_m
        if not 1 / ALIKE <= size / expected <= ALIKE:
            faults.add(
                f"{scene.paths[0]}: pixels of {size:.3g} m, {whose} has {expected:.3g} m (20 % more"
                " or less will do); warp it first: rio warp IN.tif OUT.tif --res …"
            )
    faults.raise_if_any()
