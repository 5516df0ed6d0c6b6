"""Choose small windows by which the values of a scene are judged."""

from __future__ import annotations

import numpy as np

from geoseg.geo.grid import Grid, Window

PROBES = 4
"""Windows that are read along each axis to see a stack's values."""
PROBE = 64
"""Height and width of such a window in pixels."""
SPACING = 256
"""Pixels between two of them at least."""
THINNED = 1024
"""Height and width to which a scene is thinned out when all of them hold nodata; one that is no
larger is looked at as a whole."""


def probes(grid: Grid, most: int = PROBES) -> list[Window]:
    """Windows spread evenly over a grid, each inside one block of the usual files if it can be.

    most: along each axis. Of small scenes, which come by the thousand, two in opposite corners.
    """
    height, width = min(PROBE, grid.height), min(PROBE, grid.width)
    tops, lefts = _spread(grid.height, height, most), _spread(grid.width, width, most)
    places = [(top, left) for top in tops for left in lefts]
    if len(places) == 4:
        places = [places[0], places[-1]]
    return [Window(top, left, height, width) for top, left in places]


def _spread(length: int, side: int, most: int) -> list[int]:
    """Starts of probes along an axis."""
    count = min(most, max(2, length // SPACING))
    starts = np.linspace(0, length - side, count) // side * side
    return sorted({int(start) for start in starts})
