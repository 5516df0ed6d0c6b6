"""Measure the bands over the clear observations of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoseg.dataset.samples import Samples, load_pixels
from geoseg.errors import InputError
from geoseg.scenes.bands import BandStatistics, Measure
from geoseg.scenes.stack import observed

ROWS = 4096
"""Pixels looked at at a time."""
LEAST_SPREAD = 0.02
"""Of the logarithms of a shape feature, 2 %: one that varies less tells no class."""
MEASURED = 200_000
"""Pixels measured at most, evenly spread: more change no digit that counts."""


def measure(folder: Path, samples: Samples, bands: tuple[str, ...]) -> BandStatistics:
    """Statistics per band over the observations of samples, whose pixels lie in a folder.

    Raises: InputError if a band was never observed.
    """
    step = max(1, -(-int(samples.pixels.sum()) // MEASURED))
    measures = [Measure(1) for _ in bands]
    for tile in sorted(set(samples.tile)):
        pixels, _ = load_pixels(folder, tile)
        here = samples.take(samples.tile == tile)
        starts = np.cumsum(here.pixels) - here.pixels
        offsets = np.arange(int(here.pixels.sum())) - np.repeat(starts, here.pixels)
        rows = np.sort(np.repeat(here.first, here.pixels) + offsets)[::step]
        for start in range(0, len(rows), ROWS):
            values = pixels[rows[start : start + ROWS]]
            seen = observed(values)
            for place, each in enumerate(measures):
                each.add(values[None, :, :, place], seen[:, :, place])
    empty = [band for band, each in zip(bands, measures, strict=True) if not each.count]
    if empty:
        raise InputError(
            f"band {', '.join(empty)}: not one clear observation in the train samples; leave it"
            " out with bands.order, or check the masks and bands.nodata"
        )
    return BandStatistics.joined([each.result() for each in measures])


def shape_statistics(samples: Samples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the logarithms of the shape features, over samples with an outline."""
    logs = np.log1p(samples.shape[samples.shape[:, 1] > 0])
    if not len(logs):
        return (0.0,) * samples.shape.shape[1], (0.0,) * samples.shape.shape[1]
    mean, std = logs.mean(axis=0), logs.std(axis=0)
    std[std < LEAST_SPREAD] = 0  # what all have alike would magnify the smallest difference
    return tuple(map(float, mean)), tuple(map(float, std))


def day_range(folder: Path, samples: Samples) -> tuple[int, int]:
    """First and last day of the observations of samples."""
    first, last = 2**15 - 1, -(2**15)
    for tile in sorted(set(samples.tile)):
        pixels, days = load_pixels(folder, tile)
        here = samples.take(samples.tile == tile)
        for start in range(0, len(here), ROWS):
            rows = here.first[start : start + ROWS]
            if days.ndim == 1:
                first, last = min(first, int(days.min())), max(last, int(days.max()))
                break
            seen = observed(pixels[rows]).any(axis=2)
            held = days[rows][seen]
            if len(held):
                first, last = min(first, int(held.min())), max(last, int(held.max()))
    return first, last
