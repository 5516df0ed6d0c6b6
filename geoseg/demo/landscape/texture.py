"""Noise that is laid over the ground, and the shapes of tree crowns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TILE = 1024
"""Side of the tiles of noise in pixels; no wave in them is long enough to show the repetition."""
HAIR = 1e-6
Image = NDArray[np.float32]


class Textures:
    """Periodic noise of unit variance, laid over the ground."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, *b"textures"])
        self.fine = _tile(rng, (2, 9))
        self.middle = _tile(rng, (10, 70))
        self.streaks = ndimage.gaussian_filter1d(rng.standard_normal(1 << 14), 3, mode="wrap")
        self.streaks = (self.streaks / self.streaks.std()).astype(np.float32)
        self.stamps = {kind: _stamps(rng, kind == "conifer") for kind in ("broadleaf", "conifer")}


def _tile(rng: np.random.Generator, lengths: tuple[float, float]) -> Image:
    """Noise with waves of these lengths in pixels, longer ones stronger."""
    fx, fy = np.fft.rfftfreq(TILE), np.fft.fftfreq(TILE)[:, None]
    f = np.hypot(fx, fy)
    band = (f > 1 / lengths[1]) & (f < 1 / lengths[0])
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) * band / np.maximum(f, HAIR)
    noise = np.fft.irfft2(spectrum, (TILE, TILE))
    return np.asarray(noise / noise.std(), np.float32)


def _stamps(rng: np.random.Generator, conifer: bool) -> list[list[Image]]:
    """Crowns of radius 1, 2, … pixels, eight of each: canopy height over tree height."""
    return [[_stamp(rng, radius, conifer) for _ in range(8)] for radius in range(1, 12)]


def _stamp(rng: np.random.Generator, radius: int, conifer: bool) -> Image:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    angle, r = np.arctan2(y, x), np.hypot(x, y) / (radius + 0.4)
    lobes = sum(
        rng.normal(0, 0.10) * np.sin(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    r = r * (1 + lobes * (0.6 if conifer else 1))
    shape = 1 - 0.75 * r if conifer else 0.45 + 0.55 * np.sqrt(np.clip(1 - r * r, 0, 1))
    bumps = 0.05 if conifer else 0.09
    shape = shape + ndimage.gaussian_filter(rng.normal(0, bumps * 2.4, r.shape), 0.9) * (radius > 2)
    return np.where(r < 1, np.clip(shape, 0.15, 1), 0).astype(np.float32)
