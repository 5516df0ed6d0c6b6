"""Take some pixels of a scene, to see what its values are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.scenes.dated import AnyScene, DatedScene
from geoseg.scenes.probe import THINNED, probes
from geoseg.scenes.stack import observed

LOOKS = 8
"""Windows of a scene that are looked at; it has one date."""
SMALL_STACK = 256
"""Side in pixels of a stack that is looked at as a whole."""
Sample = tuple[np.ndarray, np.ndarray, Window]
"""Pixels (C, h, w), where each band holds data (C, h, w), and the window that they show."""


class UnreadableError(InputError):
    """A file of the scene is damaged."""


def samples_of(scene: AnyScene, *, everywhere: bool = False) -> list[Sample]:
    """Pixels of some windows of a scene, of all dates of a series.

    everywhere: thin out the whole scene instead.
    Raises: UnreadableError if a file is damaged there.
    """
    try:
        if isinstance(scene, DatedScene):
            return _dated_samples(scene)
        return _samples(scene, everywhere=everywhere)
    except InputError as error:
        raise UnreadableError(*error.faults) from None


def _samples(scene: AnyScene, *, everywhere: bool = False) -> list[Sample]:
    """Pixels of some windows of a scene, or all of a small one.

    everywhere: thin out the whole scene instead, as is done if all windows hit nodata.
    Raises: InputError if a file is damaged there.
    """
    grid = scene.grid
    whole = grid.window
    small = whole.area <= THINNED**2
    with scene.open() as reader:
        windows = [whole] if small else probes(grid, LOOKS)
        found = [] if everywhere and not small else [
            (*_each(*reader.read_each(window)), window) for window in windows
        ]  # fmt: skip
        if not small and not any(holds.any() for _, holds, _ in found):
            shape = min(whole.height, THINNED), min(whole.width, THINNED)
            found = [(*_each(*reader.read_each(whole, shape=shape)), whole)]
    return found


def _dated_samples(scene: DatedScene) -> list[Sample]:
    """Observations of some windows, those of all dates side by side (C, T · h, w)."""
    grid, found = scene.grid, []
    small = grid.window.area <= SMALL_STACK**2
    with replace(scene.stack, partial=True).open() as reader:
        for window in [grid.window] if small else probes(grid):
            values = np.concatenate(list(reader.read(window)), axis=1)
            found.append((values, observed(values), window))
    return found


def _each(image: np.ndarray, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, np.broadcast_to(holds, image.shape)
