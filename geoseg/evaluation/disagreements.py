"""Find the largest places where a map and labels disagree, as polygons to walk through in QGIS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from geoseg.evaluation.error_map import PairRaster
from geoseg.evaluation.pairs import PairCodes
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import HECTARE
from geoseg.geo.layer_styles import categories, write_styled
from geoseg.geo.legend import Legend
from geoseg.maps.patches import Patches, Runs


@dataclass(frozen=True)
class Disagreement:
    """A connected area of one error."""

    label: int
    """Place of the label's class in the legend."""
    mapped: int
    """Of the map's class."""
    hectares: float
    polygon: shapely.Geometry
    """In the map's CRS, along its pixels."""


def largest(pairs: PairRaster, count: int) -> list[Disagreement]:
    """The `count` largest areas, the largest first; of equal ones the upper left first.

    The pixels are read twice; memory grows with the number of areas, not with the map.
    """
    size = pairs.pairs.size
    kinds = np.arange(1, size * size + 1, dtype=pairs.pairs.dtype).reshape(size, size)
    np.fill_diagonal(kinds, 0)
    table = pairs.pairs.table(kinds)
    patches = Patches(pairs.grid.width)
    for window, numbers in pairs.strips():
        runs = Runs.of(table[numbers], window.top)
        patches.add(runs, runs.lengths * square_metres(pairs.grid, window, runs))
    patches.finish()
    chosen = np.argsort(-patches.areas, kind="stable")[:count]
    if not len(chosen):
        return []
    wanted = np.zeros(len(patches.areas), bool)
    wanted[chosen] = True
    boxes, owners = [], []
    for window, numbers in pairs.strips():
        runs = Runs.of(table[numbers], window.top)
        owner = patches.patches_of(runs)
        kept = wanted[owner]
        runs, owner = runs.take(kept), owner[kept]
        boxes.append(shapely.box(runs.starts, runs.rows, runs.ends, runs.rows + 1))
        owners.append(owner)
    rectangles, owner = np.concatenate(boxes), np.concatenate(owners)
    found = []
    for patch in chosen.tolist():
        outline = shapely.union_all(rectangles[owner == patch])
        i, j = divmod(int(patches.values[patch]) - 1, size)
        area = float(patches.areas[patch]) / HECTARE
        found.append(Disagreement(i, j, area, _placed(outline, pairs.grid)))
    return found


def _placed(outline: shapely.Geometry, grid: Grid) -> shapely.Geometry:
    """From columns and rows to map coordinates."""
    t = grid.transform
    return shapely.transform(outline, lambda xy: xy * (t.a, t.e) + (t.c, t.f))


def square_metres(grid: Grid, window: Window, runs: Runs) -> np.ndarray:
    """Of a pixel of each run (N,), where it begins."""
    found = np.zeros(len(runs.rows))
    for part, m2 in grid.alike(window):
        inside = (runs.rows >= part.top) & (runs.rows < part.bottom)
        inside &= (runs.starts >= part.left) & (runs.starts < part.right)
        found[inside] = m2
    return found


def write_disagreements(
    path: Path, found: list[Disagreement], legend: Legend, codes: PairCodes, crs: str
) -> None:
    """Write them with rank, classes, hectares and the code in the map of errors; styled.

    Raises: InputError if it can't be written.
    """
    names = legend.names
    by_code = {c.code: c for c in codes.legend.classes}
    own = [int(codes.table[one.label, one.mapped]) for one in found]
    kinds = [f"{names[one.label]} taken for {names[one.mapped]}" for one in found]
    colors = dict(zip(kinds, (by_code[code].color for code in own), strict=True))
    write_styled(
        path,
        {
            "rank": list(range(1, len(found) + 1)),
            "label": [names[one.label] for one in found],
            "map": [names[one.mapped] for one in found],
            "error": kinds,
            "hectares": [one.hectares for one in found],
            "code": own,
        },
        geometries=np.array([one.polygon for one in found], object),
        crs=crs,
        style=categories("error", colors),
    )
