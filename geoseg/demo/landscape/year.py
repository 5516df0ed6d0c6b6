"""A year over a tile of farmland: the ground's reflectance on any day, without sky and sensor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from geoseg.demo.landscape.farmland import GSD_M, Farmland
from geoseg.demo.landscape.land import Waves
from geoseg.demo.landscape.season import PLANTS, Floats, Stands, canopy, grow
from geoseg.demo.landscape.spectra import BANDS, BARE, Colors, reflectance, tint
from geoseg.demo.landscape.texture import Image

COARSE = ("B05", "B11")
"""Bands of 20 m: two by two pixels are alike."""
BLUR = 0.45
"""Of optics and resampling, standard deviation in pixels."""


@dataclass(frozen=True)
class Climate:
    """What a tile's place and year do to all that grows there."""

    late: float
    """Days by which the seasons are behind."""
    bright: float
    """Of the soil, over that of loess."""
    red: float
    """Slope of the soil's spectrum, over that of loess."""
    drought: float
    """Of the summer: 0 none, 1 severe."""


@dataclass(frozen=True)
class Year:
    """What grows on a tile, drawn once for all dates."""

    farmland: Farmland
    climate: Climate
    stands: Stands
    colors: Colors
    bare: Floats
    """Reflectance of the surfaces that do not grow (N - n, bands)."""
    patches: Floats
    """How much stands differ within a field (n, 3): share of leaves, days, share of soil."""
    maps: list[Image]
    """Where the leaves, days and soil differ: three maps (h, w), in -1..1 for the days."""


def make(farmland: Farmland, climate: Climate, rng: np.random.Generator) -> Year:
    """Draw the year of each field: by crop, farm, place and luck."""
    kinds = [kind for kind in farmland.kinds if kind in PLANTS]
    bare = [BARE[kind] for kind in farmland.kinds if kind not in PLANTS]
    # Plants come first but for the garden, which leads the other surfaces.
    assert farmland.kinds[: len(kinds)] == kinds
    n = len(kinds)
    places, side = farmland.places[:n], farmland.size * GSD_M
    farms = np.zeros(n)
    habits = 3.0 * rng.standard_normal(farmland.farms.max() + 1)
    farms[: len(farmland.farms)] = habits[farmland.farms]
    hills = Waves(rng, (1500, 5000)).at(places)
    slope = 3.0 * (places[:, 0] - places[:, 1]) / side  # north and east are later
    late = climate.late + slope + 1.5 * hills + farms
    soil = np.column_stack(
        [
            climate.bright * np.exp(0.12 * Waves(rng, (700, 3000)).at(places)),
            climate.red + 0.04 * Waves(rng, (700, 3000)).at(places),
        ]
    )
    stands, colors = grow(kinds, late, rng), tint(kinds, soil, rng)
    patches = np.column_stack(
        [rng.uniform(0.03, 0.22, n), rng.uniform(0.5, 4.0, n), rng.uniform(0.02, 0.12, n)]
    )
    axis: Floats = (np.arange(farmland.size, dtype=float) + 0.5) * GSD_M
    maps = []
    for low, high in ((60, 350), (80, 500), (50, 300)):
        grain = rng.standard_normal((farmland.size, farmland.size), np.float32)
        waves = Waves(rng, (low, high), count=40).on(axis, axis)
        maps.append(np.clip(0.85 * waves + 0.5 * grain, -2.2, 2.2))
    maps[1] = np.clip(maps[1] / 2, -1, 1)
    return Year(farmland, climate, stands, colors, np.array(bare), patches, maps)


def ground(year: Year, day: float, *, wet: float) -> Image:
    """Reflectance (bands, h, w) on a day of the year; wet: the soil, 0 dry, 1 after rain.

    Within a field the reflectance follows its maps of patches: some of it is ahead, some behind,
    some thin or pale.
    """

    def seen(ahead: Floats | float = 0.0, lusher: float = 0.0, brighter: float = 0.0) -> Floats:
        now = canopy(year.stands, day + ahead, drought=year.climate.drought)
        now = replace(now, green=now.green * (1 + lusher), brown=now.brown * (1 + lusher))
        pale = 1 + brighter
        own = replace(year.colors, soil=year.colors.soil * pale, ripe=year.colors.ripe * pale)
        return reflectance(now, own, wet=wet)

    leaves, days, soil = year.patches.T[..., None]
    now, ahead, behind = seen(), seen(ahead=days[:, 0]), seen(ahead=-days[:, 0])
    rows = [
        (ahead + behind) / 2,
        leaves * (seen(lusher=0.2) - now) / 0.2,
        (ahead - behind) / 2,
        soil * (seen(brighter=0.1) - now) / 0.1,
    ]
    bare = [year.bare] + [np.zeros_like(year.bare)] * 3
    table = np.hstack([np.vstack(pair) for pair in zip(rows, bare, strict=True)])
    size = year.farmland.size
    pixels = year.farmland.shares @ table.astype(np.float32)
    mean, *steps = pixels.T.reshape(len(rows), len(BANDS), size, size)
    out = mean + sum(step * part for step, part in zip(steps, year.maps, strict=True))
    return _resolve(np.maximum(out, 0.004))


def _resolve(image: Image) -> Image:
    """What the instrument tells apart (bands, h, w)."""
    size = image.shape[1]
    for i, band in enumerate(BANDS):
        image[i] = ndimage.gaussian_filter(image[i], BLUR, truncate=3)
        if band in COARSE:
            blocks = image[i].reshape(size // 2, 2, size // 2, 2).mean(axis=(1, 3))
            image[i] = blocks.repeat(2, axis=0).repeat(2, axis=1)
    return image
