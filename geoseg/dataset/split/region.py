"""Name a part of a scene that is all of one split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoseg.geo.grid import Grid, Window

SPLITS = ("train", "val", "test")
Count = Callable[[str, Window], np.ndarray]
"""Scene name and window → labelled pixels per class (K,)."""


@dataclass(frozen=True)
class Region:
    """A rectangle of a scene, all of one split."""

    scene: str
    window: Window
    split: str


def buffer_px(buffer_m: float | None, grid: Grid, tile: int) -> int:
    """Width in pixels of what is left out between two splits, by default an eighth of a tile."""
    if buffer_m is None:
        return tile // 8
    # Of pixels that are no squares on the ground, the narrower side must do; rounding is no pixel.
    return math.ceil(buffer_m / min(grid.pixel_sides_m) - 1e-6)
