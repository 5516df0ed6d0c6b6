"""Bring scenes to the pixel size that a trained network saw, window by window."""

from __future__ import annotations

from dataclasses import replace

from affine import Affine

from geoseg.geo.grid import Grid
from geoseg.models.card import ModelCard
from geoseg.models.suitability import suits_pixel_size
from geoseg.scenes.scene import Scene

AVERAGE, CUBIC = "average", "cubic"
"""How finer scenes are read, so that every pixel counts, and coarser ones, so that they are smooth
between pixels."""
DIGITS = 3
"""Of the pixel size in map units: a projection's scale changes the size on the ground a little
from place to place, and adjoining scenes shall have pixels of one size."""


def resampled(scene: Scene, card: ModelCard) -> Scene:
    """The scene, read at the pixel size of the training where its own does not suit.

    No pixel is read here: whoever reads a window gets it warped from the files.
    """
    if suits_pixel_size(scene, card):
        return scene
    finer = scene.grid.pixel_size_m < card.pixel_size_m
    grid = grid_of(scene.grid, card.pixel_size_m)
    return replace(scene, grid=grid, resampling=AVERAGE if finer else CUBIC)


def grid_of(grid: Grid, pixel_size_m: float) -> Grid:
    """The smallest grid with pixels of a size in metres that covers another one.

    Its corner is a whole number of pixels from the origin of the CRS, so that the grids of
    adjoining scenes are parts of one.
    """
    factor = pixel_size_m / grid.pixel_size_m
    height, width = (float(f"{side * factor:.{DIGITS}g}") for side in grid.resolution)
    lattice = Grid(grid.crs, Affine(width, 0, 0, 0, -height, 0), 1, 1)
    window = lattice.window_of(grid.bounds)
    # Multiplied once, not added up, the corner is the same number in all scenes.
    transform = Affine(width, 0, window.left * width, 0, -height, -window.top * height)
    return Grid(grid.crs, transform, window.height, window.width)
