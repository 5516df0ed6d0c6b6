"""Sun, air and sensor over a painted ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.demo.landscape.ground import PIXEL_M, Ground
from geoseg.demo.landscape.texture import Image


@dataclass(frozen=True)
class Flight:
    """What one scene has of its own: sun, air and camera."""

    azimuth: float
    """Of the sun, degrees clockwise from north."""
    elevation: float
    haze: float = 1.0
    """Light scattered in the air, 1 = a clear day."""
    gain: float = 1.0
    slant: float = 0.06
    """How much brighter one side of the scene is than the other: leaves away from the sun."""
    blur: float = 0.55
    """Of optics and detector, standard deviation in pixels."""


def photograph(ground: Ground, flight: Flight, rng: np.random.Generator) -> NDArray[np.uint16]:
    """What the camera delivers: reflectance at the sensor × 10000, (4, h, w), never 0 (nodata)."""
    azimuth, elevation = math.radians(flight.azimuth), math.radians(flight.elevation)
    toward = (math.sin(azimuth), -math.cos(azimuth))  # the sun, in columns and rows
    direct = _facing(ground.height, toward, elevation) * (
        1 - _shadow(ground.height, toward, elevation)
    )
    sky = np.array((0.17, 0.21, 0.28, 0.12), np.float32) * np.float32(0.75 + 0.25 * flight.haze)
    veil = np.array((0.012, 0.020, 0.036, 0.005), np.float32) * np.float32(flight.haze)
    (x, y), reach = ground.centre, math.hypot(*ground.centre)
    along = (ground.x - x)[None] * toward[0] + (ground.y - y)[:, None] * toward[1]
    trend = (flight.gain * (1 - flight.slant * along / reach)).astype(np.float32)
    out = np.empty(ground.albedo.shape, np.uint16)
    for i, band in enumerate(ground.albedo):
        light = band * (sky[i] + (1 - sky[i]) * direct)
        light = ndimage.gaussian_filter(light, flight.blur, truncate=3) * trend + veil[i]
        noise = rng.standard_normal(light.shape, np.float32)
        light += noise * np.sqrt(1.2e-6 + 2.5e-5 * light)  # read-out and photons
        out[i] = np.clip(np.round(light * 1e4), 1, 65535)
    return out


def _facing(height: Image, toward: tuple[float, float], elevation: float) -> Image:
    """Sunlight on sloping surfaces over that on flat ground."""
    slopes = []  # at the edge of a roof, the gentler of the slopes on either side
    for axis in (1, 0):
        step = np.diff(height, axis=axis, prepend=0) / np.float32(PIXEL_M)
        after = np.roll(step, -1, axis=axis)
        slopes.append(np.where(np.abs(step) < np.abs(after), step, after) * (step * after > 0))
    along = slopes[0] * np.float32(toward[0]) + slopes[1] * np.float32(toward[1])
    steep = np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    facing = (math.sin(elevation) - math.cos(elevation) * along) / steep / math.sin(elevation)
    return np.clip(facing, 0, 1.7).astype(np.float32)


def _shadow(height: Image, toward: tuple[float, float], elevation: float) -> Image:
    """Share of each pixel in shadow: look towards the sun, step by step, for something higher."""
    fall = math.tan(elevation) * PIXEL_M
    horizon = np.zeros_like(height)
    h, w = height.shape
    for step in range(1, int(height.max() / fall) + 2):
        right, down = round(toward[0] * step), round(toward[1] * step)
        here = (slice(max(0, -down), min(h, h - down)), slice(max(0, -right), min(w, w - right)))
        there = (slice(max(0, down), min(h, h + down)), slice(max(0, right), min(w, w + right)))
        np.maximum(horizon[here], height[there] - np.float32(step * fall), out=horizon[here])
    return np.clip((horizon - height) / np.float32(0.6), 0, 1)
