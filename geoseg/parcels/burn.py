"""Burn the classes of parcels onto a tile's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import UNDECIDED, Legend
from geoseg.geo.raster import BLOCK
from geoseg.geo.rasterize import burn
from geoseg.maps import landcover
from geoseg.maps.folder import map_paths, write_side_files
from geoseg.maps.layers import CONFIDENCE
from geoseg.parcels.outlines import Outlines, footprint, outlines
from geoseg.prediction.writer.map_writer import MapWriter

BY = "threshold or series.min_clear"
"""By what parcels are left without decision."""


@dataclass(frozen=True)
class Drawing:
    """N parcels in the order in which they are drawn: a later one covers an earlier one."""

    geometry: np.ndarray
    """shapely polygons and points."""
    crs: str
    code: np.ndarray
    """uint8; UNDECIDED = no decision."""
    percent: np.ndarray
    """Confidence 1..100, uint8."""

    def near(self, grid: Grid) -> Drawing:
        """Those that may touch a grid."""
        outline = footprint(grid, self.crs)
        index = np.zeros(0, np.int64)
        if outline is not None:
            index = np.flatnonzero(shapely.intersects(outline, self.geometry))
        return Drawing(self.geometry[index], self.crs, self.code[index], self.percent[index])


def write_maps(
    out: Path, name: str, grid: Grid, drawing: Drawing, *, legend: Legend, model: str
) -> None:
    """Write the two maps of a tile, and what belongs beside them.

    Their tags tell of parcels without decision where there are some.

    A pixel gets the parcel that covers its centre; points get the pixel that they lie in.
    Raises: InputError if the disk is full.
    """
    drawing = drawing.near(grid)
    shapes = outlines(drawing.geometry, drawing.crs, grid)
    tree = shapely.STRtree(shapes.parts)
    # Number 0 is no parcel.
    code, percent = (np.concatenate([[0], of]).astype(np.uint8) for of in
                     (drawing.code, drawing.percent))  # fmt: skip
    paths = map_paths(out, name)
    undecided = bool((drawing.code == UNDECIDED).any())
    tags = landcover.tags(legend, model, undecided=BY if undecided else "")
    writer = MapWriter(paths, grid, legend, tags)
    try:
        for window in grid.window.blocks(BLOCK):
            found = np.sort(tree.query(shapely.box(*grid.bounds_of(window))))
            number = (shapes.owner[found] + 1).astype(np.int32)
            drawn = burn(shapes.parts[found], number, grid, window=window)
            _dot(shapes, grid, window, drawn)
            writer.write(code[drawn], percent[drawn])
    except BaseException:
        writer.abort()
        raise
    writer.close()
    write_side_files(out, name, legend, layers=(CONFIDENCE,), undecided=undecided)


def _dot(shapes: Outlines, grid: Grid, window: Window, drawn: np.ndarray) -> None:
    """Set the pixels of points, unless a later polygon covers them."""
    owner, row, column = shapes.pixels_of_points(grid, window)
    np.maximum.at(drawn, (row - window.top, column), (owner + 1).astype(drawn.dtype))
