"""Draw maps, labels and scenes as PNGs for an HTML page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from geoseg.geo.grid import Grid
from geoseg.geo.legend import NODATA, UNDECIDED, UNLABELLED, Legend
from geoseg.geo.raster import png
from geoseg.outputs.page import png_uri
from geoseg.scenes.bands import shown_bands
from geoseg.scenes.scene import Scene

EMPTY = (238, 238, 238)
"""Colour of pixels without class."""
DATES = 9
"""Dates of a series, evenly spread, of which a picture is made."""
DARK = 0.25
"""Of these the quartile is shown: clouds are brighter, their shadows and winters are fewer."""
DATED = re.compile(r"\d{6,}|\d{4}([-_])\d\d\1\d\d")
"""Digits of names that tell times, as in 20180506T105031 and 2018-05-06; not those of B04, nor the
years of orthophotos."""
HATCH = 4
"""Pixels from line to line where there is no decision."""


def of_codes(codes: np.ndarray, legend: Legend, *, undecided: bool = False) -> str:
    """Picture of codes (H, W) in the legend's colours, as a data URI.

    undecided: whether pixels may be without decision; these are hatched.
    """
    colors = dict.fromkeys(range(256), (*EMPTY, 255))
    for code, color in legend.colors().items():
        if code not in (NODATA, UNLABELLED):
            colors[code] = (*color[:3], 255)
    if undecided:
        height, width = codes.shape
        hatch = (np.arange(height)[:, None] + np.arange(width)) % HATCH == 0
        codes = np.where((codes == UNDECIDED) & ~hatch, np.uint8(NODATA), codes)
        colors[UNDECIDED] = (*legend.colors()[UNDECIDED][:3], 255)
    return png_uri(png(codes[None], colors))


def of_scenes(scenes: Sequence[Scene], grid: Grid) -> str | None:
    """What scenes show on a grid, as a data URI; None if none lies there.

    Natural colours where the bands are named so, else the first three bands, else the first one;
    stretched between the 2nd and 98th percentile of each. The first scene that has data counts; of
    the dates of a series, which are scenes on one grid, the darker quartile: clouds are bright.
    Raises: InputError if a scene can't be read.
    """
    image: np.ndarray | None = None
    have = np.zeros((grid.height, grid.width), bool)
    for dates in _by_grid(scene for scene in scenes if scene.grid.overlaps(grid)):
        if have.all():
            break
        found, valid = _clear(dates, grid)
        if image is None:
            image = np.zeros(found.shape, np.float32)
        if len(found) == len(image):
            fill = valid & ~have
            image[:, fill] = found[:, fill]
            have |= fill
    if image is None or not have.any():
        return None
    return uri(np.where(have, _stretch(image, have), np.uint8(EMPTY[0])))


def _by_grid(scenes: Iterable[Scene]) -> list[list[Scene]]:
    """Scenes of the same bands on one grid, in the order of the first of each.

    Where each band has a file of its own, its name tells the bands apart.
    """
    groups: dict[tuple[Grid, int, str], list[Scene]] = {}
    for scene in scenes:
        shown, undated = len(shown_bands(scene.bands)), DATED.sub("", scene.name)
        groups.setdefault((scene.grid, shown, undated), []).append(scene)
    return list(groups.values())


def _clear(scenes: Sequence[Scene], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Bands (C, H, W) to show of scenes on their one grid, on another, and where there is data.

    Of one or two scenes the first that has data.
    """
    step = max(1, len(scenes) / DATES)
    read = []
    for scene in (scenes[int(i * step)] for i in range(min(len(scenes), DATES))):
        shown = replace(scene.select(shown_bands(scene.bands)), grid=grid)
        with shown.open() as reader:
            values, valid = reader.read(grid.window)
        read.append(np.where(valid, values, np.nan).astype(np.float32))
    have = np.logical_or.reduce([np.isfinite(values).all(0) for values in read])
    if len(read) < 3:
        first, *others = read
        for values in others:
            first = np.where(np.isnan(first), values, first)
        return np.nan_to_num(first), have
    with warnings.catch_warnings():
        # Pixels without data on all dates have no quartile.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanquantile(np.stack(read), DARK, axis=0)), have


def _stretch(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image[:, valid], (2, 98), axis=1)
    span = np.maximum(high - low, 1e-9)
    scaled = (image - low[:, None, None]) / span[:, None, None]
    return (scaled.clip(0, 1) * 255).astype(np.uint8)


def uri(pixels: np.ndarray) -> str:
    """Pixels (1 or 3, H, W) uint8 as a PNG in a data URI."""
    return png_uri(png(pixels))
