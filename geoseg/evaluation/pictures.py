"""Draw maps, labels and scenes as PNGs for an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
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
    stretched between the 2nd and 98th percentile of each. The first scene that has data counts.
    Raises: InputError if a scene can't be read.
    """
    image: np.ndarray | None = None
    have = np.zeros((grid.height, grid.width), bool)
    for scene in scenes:
        if not scene.grid.overlaps(grid) or have.all():
            continue
        shown = replace(scene.select(shown_bands(scene.bands)), grid=grid)
        with shown.open() as reader:
            found, valid = reader.read(grid.window)
        if image is None:
            image = np.zeros(found.shape, np.float32)
        if len(found) == len(image):
            fill = valid & ~have
            image[:, fill] = found[:, fill]
            have |= fill
    if image is None or not have.any():
        return None
    return uri(np.where(have, _stretch(image, have), np.uint8(EMPTY[0])))


def _stretch(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image[:, valid], (2, 98), axis=1)
    span = np.maximum(high - low, 1e-9)
    scaled = (image - low[:, None, None]) / span[:, None, None]
    return (scaled.clip(0, 1) * 255).astype(np.uint8)


def uri(pixels: np.ndarray) -> str:
    """Pixels (1 or 3, H, W) uint8 as a PNG in a data URI."""
    return png_uri(png(pixels))
