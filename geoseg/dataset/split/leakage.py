"""Measure how far splits lie from each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geoseg.geo.grid import Grid, Window, same_crs, transformer
from geoseg.geo.ground import ground


def leakage_m(regions: Mapping[str, list[tuple[Grid, Window]]], a: str, b: str) -> float | None:
    """Smallest distance in metres between windows of two splits; None if one has none.

    regions: split → its windows with their grids. 0 means that they touch or overlap.
    """
    if not regions.get(a) or not regions.get(b):
        return None
    import shapely

    grid = regions[a][0][0]
    # What is nearest is found on the map, its axes scaled alike; how far it is, on the ground.
    scale = np.array(grid.pixel_sides_m[::-1]) / grid.resolution[::-1]

    def outlines(split: str) -> np.ndarray:
        found = []
        for g, w in regions[split]:
            outline = shapely.box(*g.crop(w).bounds)
            if not same_crs(g.crs, grid.crs):  # where it is turned, its bounds reach too far
                sides = shapely.segmentize(outline, outline.length / 32)
                outline = shapely.transform(
                    sides, transformer(g.crs, grid.crs).transform, interleaved=False
                )
            found.append(outline)
        return np.asarray(shapely.transform(np.array(found), lambda places: places * scale))

    ones, others = outlines(a), outlines(b)
    mine, theirs = shapely.STRtree(ones).query_nearest(others)[::-1]
    lines = shapely.shortest_line(ones[mine], others[theirs])
    ends = shapely.get_coordinates(lines).reshape(-1, 2, 2) / scale
    distances = ground(grid.crs).distance(ends[:, 0], ends[:, 1])
    return float(np.where((ends[:, 0] == ends[:, 1]).all(axis=1), 0.0, distances).min())
