"""Clouds and their shadows over a tile on one day, and the mask that a program makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from geoseg.demo.landscape.texture import Image

CLEAR, CLOUD, SHADOW = 0, 1, 2
"""Codes of a cloud mask."""
WHITE = np.array((0.62, 0.62, 0.63, 0.64, 0.66, 0.42), np.float32)
"""Reflectance of a thick cloud in the bands of `spectra`."""
SHADE = np.array((0.52, 0.58, 0.63, 0.65, 0.70, 0.74), np.float32)
"""Share of the light that a thick cloud's shadow takes away."""
AIR = np.array((1.0, 0.7, 0.5, 0.4, 0.15, 0.08))
"""How much a haze left over by the atmospheric correction weighs in each band."""
MISSED = 0.22
"""Opacity below which the mask overlooks a cloud."""
SMALL = 14
"""Pixels of a cloud so small that the mask overlooks half of them."""


@dataclass(frozen=True)
class Sky:
    cloud: Image
    """Opacity (h, w), 0..1."""
    shadow: Image
    """Depth (h, w), 0..1."""
    mask: NDArray[np.uint8]
    """What a program found (h, w): CLEAR, CLOUD, SHADOW; good, not perfect."""


def draw(size: int, cover: float, day: float, rng: np.random.Generator) -> Sky:
    """The sky over size × size pixels of 10 m, of which clouds cover a share, on a day of year."""
    canvas = max(64, 1 << math.ceil(math.log2(size)))  # periodic: shadows come from its other side
    billows = _noise(canvas, rng.uniform(1.5, 2.1), rng, stretch=rng.uniform(1.0, 1.8))
    soft = rng.uniform(0.25, 0.6)
    whole = np.clip((billows - np.quantile(billows, 1 - min(cover, 0.999))) / soft, 0, 1)
    right, down = _fall(day, rng.uniform(600, 2400))
    veil = _noise(canvas, 2.6, rng)
    thin = rng.uniform(0.0, 0.16) * (rng.random() < 0.4) * np.clip(0.5 + 0.5 * veil, 0, 1)
    shadow = np.roll(whole, (down, right), axis=(0, 1))
    part = (slice(0, size), slice(0, size))
    cloud = np.maximum(whole, thin * min(1.0, 4 * cover + 0.1))
    wobble = _noise(canvas, 1.8, rng)[part]
    mask = _mask(whole[part], shadow[part], wobble, rng)
    return Sky(cloud[part].astype(np.float32), shadow[part].astype(np.float32), mask)


def look(ground: Image, sky: Sky, rng: np.random.Generator) -> NDArray[np.uint16]:
    """What the satellite delivers of the ground (bands, h, w): reflectance × 10000, never 0."""
    size = ground.shape[1]
    gain = 1 + 0.022 * rng.standard_normal(len(ground))
    haze = 0.007 * rng.standard_normal() * AIR + 0.0015 * rng.standard_normal(len(ground))
    slope = rng.normal(0, 0.002) * np.linspace(-1, 1, size)
    billow = 0.88 + 0.12 * ndimage.gaussian_filter(sky.cloud, 2.0)
    out = np.empty(ground.shape, np.uint16)
    for i, band in enumerate(ground):
        light = band * np.float32(gain[i]) * (1 - SHADE[i] * sky.shadow)
        light += (haze[i] + AIR[i] * slope).astype(np.float32)
        light += (WHITE[i] * billow - light) * sky.cloud
        noise = rng.standard_normal(light.shape, np.float32)
        light += noise * (np.float32(0.0012) + np.float32(0.012) * np.abs(light))
        out[i] = np.clip(np.round(light * 1e4), 1, 65535)
    return out


def _fall(day: float, height_m: float) -> tuple[int, int]:
    """Columns and rows by which a cloud's shadow lies off: at half past ten, to the north-west."""
    elevation = math.radians(38 + 23 * math.cos(2 * math.pi * (day - 172) / 365))
    reach = height_m / math.tan(elevation) / 10
    azimuth = math.radians(160)
    return round(-math.sin(azimuth) * reach), round(math.cos(azimuth) * reach)


def _noise(side: int, steepness: float, rng: np.random.Generator, *, stretch: float = 1.0) -> Image:
    """Periodic fractal noise (side, side) of unit variance; the steeper, the smoother."""
    angle = rng.uniform(0, math.pi)
    sine, cosine = math.sin(angle), math.cos(angle)
    fx, fy = fft.rfftfreq(side), fft.fftfreq(side)[:, None]
    f = np.hypot((fx * cosine + fy * sine) * stretch, (fy * cosine - fx * sine) / stretch)
    f = np.maximum(f, 1.2 / max(side, 256)).astype(np.float32)
    spectrum = fft.rfft2(rng.standard_normal((side, side), np.float32)) / f ** np.float32(steepness)
    spectrum[0, 0] = 0
    noise: Image = fft.irfft2(spectrum, (side, side))
    return noise / noise.std()


def _mask(
    cloud: Image,
    shadow: Image,
    wobble: Image,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """A cloud mask as programs make them: rims a bit off, thin and small clouds overlooked."""
    found = ndimage.gaussian_filter(cloud, 1.2) > MISSED + 0.10 * wobble
    number, count = ndimage.label(found)
    sizes = np.bincount(number.ravel(), minlength=count + 1)
    lost = (sizes < SMALL) & (rng.random(count + 1) < 0.5)
    lost[0] = True
    found = ~lost[number]
    dark = ndimage.gaussian_filter(shadow, 1.2) > 0.30 + 0.12 * wobble
    shift = rng.integers(-1, 2, 2)
    dark = np.roll(dark, tuple(shift), axis=(0, 1))
    return np.where(found, CLOUD, np.where(dark, SHADOW, CLEAR)).astype(np.uint8)
