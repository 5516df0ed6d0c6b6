"""Show training samples in the looks of other scenes: their season, their sensor.

Nothing is trained. Two ways: the histogram of each band is matched, or the amplitudes of the lowest
frequencies are swapped (Yang & Soatto 2020, FDA, equations 1 to 3).

Letters in shapes: C bands, H rows, W columns, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.dataset.tiles import Dataset, Tile
from geoseg.dataset.unlabelled import SceneTile, cut
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.samples.augment import HISTOGRAM, Augment
from geoseg.scenes.bands import BandStatistics, scale
from geoseg.scenes.neighbours import OpenScenes
from geoseg.scenes.scene import Scene

QUANTILES = np.linspace(0, 1, 129)
WINDOWS = 64
"""Of each scene that are looked at, at most."""
SPECTRA = 256
"""Windows of all styles whose frequencies are kept, at most."""
PIXELS = 4096
"""Of each window that are kept for the quantiles, at most."""
WHOLE = 0.9
"""Share of a window that must be valid for its frequencies to say anything."""


@dataclass(frozen=True)
class Styles:
    """Looks of scenes, read once; the same sample and generator give the same look everywhere."""

    augment: Augment
    own: dict[str, np.ndarray]
    """Scene of the training → quantiles (C, Q) of its train tiles, scaled."""
    looks: tuple[np.ndarray, ...]
    """Of each other scene the same."""
    spectra: tuple[np.ndarray, ...]
    """Amplitudes (C, 2 b + 1, 2 b + 1) of the lowest frequencies of windows of other scenes."""
    lift: np.ndarray
    """(C, 1, 1): what brings scaled values back above 0, where an amplitude means brightness."""

    def __call__(
        self, image: np.ndarray, valid: np.ndarray, scene: str, random: np.random.Generator
    ) -> np.ndarray:
        """A sample (C, H, W) float32, scaled, in another look by chance; else as it is.

        valid: (H, W); elsewhere the image is 0. scene: that it is a part of.
        """
        if random.random() >= self.augment.style_chance:
            return image
        if self.augment.style_how == HISTOGRAM:
            look = self.looks[int(random.integers(len(self.looks)))]
            made = matched(image, self.own[scene], look)
        else:
            amplitude = self.spectra[int(random.integers(len(self.spectra)))]
            made = swapped(image + self.lift, amplitude) - self.lift
        made = made.astype(np.float32, copy=False)
        return made if valid.all() else made * valid


def matched(image: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """An image (C, H, W) whose values at quantiles of `own` (C, Q) become those of `other`.

    Beyond the outermost quantiles values keep their distance from these.
    """
    made = np.empty_like(image)
    for result, band, source, goal in zip(made, image, own, other, strict=True):
        # Where many pixels share a value, several quantiles do: it goes to their mean.
        known, place = np.unique(source, return_inverse=True)
        wanted = np.bincount(place, goal) / np.bincount(place)
        inside = np.clip(band, known[0], known[-1])
        result[...] = np.interp(inside, known, wanted) + (band - inside)
    return made


def swapped(image: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """An image (C, H, W) with these amplitudes (C, 2 b + 1, 2 b + 1) of the lowest frequencies."""
    spectrum = np.fft.fft2(image)
    lowest = _lowest(amplitude.shape[-1] // 2)
    phase = np.exp(1j * np.angle(spectrum[lowest]))
    spectrum[lowest] = amplitude * phase
    return np.asarray(np.fft.ifft2(spectrum).real, np.float32)


def amplitude_of(image: np.ndarray, reach: int) -> np.ndarray:
    """Amplitudes (C, 2 b + 1, 2 b + 1) of frequencies up to b = `reach` of an image (C, H, W)."""
    return np.abs(np.fft.fft2(image)[_lowest(reach)])


def _lowest(reach: int) -> tuple[slice, np.ndarray, np.ndarray]:
    steps = np.arange(-reach, reach + 1)
    return slice(None), steps[:, None], steps[None, :]


def read_styles(
    dataset: Dataset, scenes: Sequence[Scene], augment: Augment, *, tiles: Sequence[Tile], side: int
) -> Styles:
    """Look at scenes whose looks train tiles are to have.

    scenes: with the data set's bands in its order. tiles: of the training. side: of a sample.
    Raises: InputError if they show nothing, or a file is damaged.
    """
    statistics = dataset.statistics
    lift = (np.array(statistics.mean) * statistics.scaling()[1])[:, None, None].astype(np.float32)
    fourier = augment.style_how != HISTOGRAM
    own: dict[str, np.ndarray] = {}
    looks, spectra = [], []
    reach = max(1, int(augment.style_beta * side))
    each = max(1, SPECTRA // len(scenes))
    with raster.environment():
        for scene in dataset.scenes if not fourier else ():
            assert isinstance(scene, Scene)
            mine = [(scene, tile.window) for tile in tiles if tile.scene == scene.name]
            if mine:
                own[scene.name] = _quantiles(_windows(mine), statistics, scene.name)
        for scene in scenes:
            windows = _windows(
                [(scene, scene.grid.whole_window(w, side)) for _, w in cut([scene], side)]
            )
            if fourier:
                found = _spectra(windows, statistics, lift, reach)
                spectra += found[:: -(-len(found) // each) or 1]
            else:
                looks.append(_quantiles(windows, statistics, scene.name))
    if fourier and not spectra:
        raise InputError(
            f"augment.style={augment.style}: no window of {side} px without gaps in them, whose"
            " frequencies could be taken; give larger scenes, or augment.style_how=histogram"
        )
    return Styles(augment, own, tuple(looks), tuple(spectra), lift)


def _windows(tiles: Sequence[SceneTile]) -> list[SceneTile]:
    """Some of them, drawn evenly."""
    chosen = np.linspace(0, len(tiles) - 1, min(len(tiles), WINDOWS)).round().astype(int)
    return [tiles[number] for number in chosen]


def _quantiles(windows: Sequence[SceneTile], statistics: BandStatistics, name: str) -> np.ndarray:
    """Quantiles (C, Q) of the bands. Raises: InputError if nothing is valid."""
    opened, parts = OpenScenes(), []
    for scene, window in windows:
        image, valid = opened.reader(scene).read(window)
        values = scale(image, valid, statistics)[:, valid]
        parts.append(values[:, :: max(1, values.shape[1] // PIXELS)])
    values = np.concatenate(parts, axis=1)
    if not values.shape[1]:
        raise InputError(
            f"augment.style: {name} shows nothing where it was looked at; leave it out"
        )
    return np.quantile(values, QUANTILES, axis=1).T


def _spectra(
    windows: Sequence[SceneTile], statistics: BandStatistics, lift: np.ndarray, reach: int
) -> list[np.ndarray]:
    opened, found = OpenScenes(), []
    for scene, window in windows:
        image, valid = opened.reader(scene).read(window)
        if valid.mean() >= WHOLE:
            scaled = scale(image, valid, statistics) + lift
            found.append(amplitude_of(scaled, reach).astype(np.float32))
    return found
