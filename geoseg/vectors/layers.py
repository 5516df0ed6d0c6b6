"""Make the features of each layer: polygons, regular outlines and centre lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from geoseg.geo.grid import Grid
from geoseg.geo.ground import ground
from geoseg.geo.legend import NO_DECISION as NO_DECISION_NAME
from geoseg.geo.legend import Legend
from geoseg.vectors.center_lines import SQUARE, Sides, center_lines, skeleton
from geoseg.vectors.components import Components, Measures, Strips, label_rows
from geoseg.vectors.feature_stream import Features, LayerKind
from geoseg.vectors.measures import lengths, measured, placed
from geoseg.vectors.outlines import Pieces
from geoseg.vectors.polygons import BLOCK
from geoseg.vectors.regular import squared
from geoseg.vectors.settings import VectorSettings
from geoseg.vectors.sources import Source

LAYER, BUILDINGS, ROADS = "landcover", "buildings_regular", "roads"
"""Layers of the output; beside a file that holds one layer only, files of these names' ends."""
ALIKE = 0.02
"""Share by which height and width of a pixel may differ that counts as square."""
_CLASS = {"code": "int32", "name": "string"}
_POLYGON = {**_CLASS, "area_m2": "float64", "perimeter_m": "float64"}
_CONFIDENCE = {"confidence": "float64", "confidence_min": "float64", "share_unsure": "float64"}
_LINE = {**_CLASS, "width_m": "float64", "length_m": "float64"}


@dataclass(frozen=True)
class Layers:
    """What becomes of the regions of a map."""

    source: Source
    settings: VectorSettings

    @property
    def legend(self) -> Legend:
        return self.source.map.legend

    @property
    def names(self) -> list[str]:
        regular, lines = bool(self.settings.regular), bool(self.settings.lines)
        return [LAYER, *([BUILDINGS] * regular), *([ROADS] * lines)]

    def kind(self, layer: str) -> LayerKind:
        """What a layer holds."""
        columns: Mapping[str, str] = _LINE
        if layer == BUILDINGS:
            columns = {**_POLYGON, "regular": "bool"}
        elif layer == LAYER:
            columns = dict(_POLYGON)
            if self.source.pairs:
                columns |= _CONFIDENCE
            if self.source.scene is not None:
                columns["scene"] = "string"
        geometry = "LineString" if layer == ROADS else "Polygon"
        return LayerKind(layer, geometry, columns, self.source.map.grid.crs)

    def class_names(self, codes: np.ndarray) -> np.ndarray:
        """Names (N,) of classes."""
        names = np.full(256, NO_DECISION_NAME, object)
        for known in self.legend.classes:
            names[known.code] = known.name
        return np.asarray(names[codes])

    def polygons(self, pieces: Pieces, regions: Components) -> Iterator[tuple[str, Features]]:
        """Features of whole polygons in pixels, and of the regular outlines of those asked for."""
        grid = self.source.map.grid
        index = pieces.region - 1
        codes = regions.code[index]
        on_map = placed(pieces.polygons, grid)
        area, perimeter = measured(on_map, grid)
        columns = {
            "code": codes,
            "name": self.class_names(codes),
            "area_m2": area,
            "perimeter_m": perimeter,
        }
        if self.source.pairs:
            columns |= _confidences(regions.measures, index)
        if self.source.scene is not None:
            columns["scene"] = [self.source.scene] * len(codes)
        yield LAYER, Features.of(self.kind(LAYER), on_map, columns)
        chosen = self.settings.codes("regular", self.legend)[codes]
        if chosen.any():
            yield BUILDINGS, self._regular(on_map[chosen], codes[chosen])

    def _regular(self, buildings: np.ndarray, codes: np.ndarray) -> Features:
        """Regular outlines of buildings (N,); those that have none as they are."""
        grid = self.source.map.grid
        pixel = grid.pixel_size_m
        own = ground(grid.crs)
        centers = shapely.get_coordinates(shapely.centroid(buildings))
        planes = own.plane(centers)
        made, regular = [], []
        for polygon, center, plane in zip(buildings, centers, planes, strict=True):
            square = None
            if np.isfinite(plane).all():
                local = shapely.transform(polygon, lambda c, o=center, p=plane: (c - o) @ p.T)
                square = squared(local, pixel)
            regular.append(square is not None)
            if square is None:
                made.append(polygon)
                continue
            back = np.linalg.inv(plane)
            made.append(shapely.transform(square, lambda c, o=center, p=back: c @ p.T + o))
        outlines = np.array(made, object)
        area, perimeter = measured(outlines, grid)
        columns = {"code": codes, "name": self.class_names(codes), "area_m2": area}
        columns |= {"perimeter_m": perimeter, "regular": np.array(regular, bool)}
        return Features.of(self.kind(BUILDINGS), outlines, columns)

    def center_lines(self, strips: Strips, regions: Components, code: int) -> Features | None:
        """Centre lines of a class; None if it has none."""
        grid = strips.grid
        side = grid.pixel_size_m
        is_road = np.r_[False, regions.code == code]
        blocks = ((top, is_road[labels]) for top, labels in label_rows(strips, regions, BLOCK))
        sides = _sides(grid)
        lines, widths = center_lines(skeleton(blocks, sides), grid.width, sides)
        if not len(lines):
            return None
        on_map = placed(shapely.simplify(lines, max(self.settings.simplify_m / side, 0.0)), grid)
        codes = np.full(len(on_map), code)
        columns = {
            "code": codes,
            "name": self.class_names(codes),
            "width_m": widths * side,
            "length_m": lengths(on_map, grid.crs),
        }
        return Features.of(self.kind(ROADS), on_map, columns)


def _sides(grid: Grid) -> Sides:
    """Height and width of a pixel on the ground, by the side of a square of its area."""
    height, width = (side / grid.pixel_size_m for side in grid.pixel_sides_m)
    return SQUARE if abs(height / width - 1) < ALIKE else (height, width)


def _confidences(measures: Measures, index: np.ndarray) -> dict[str, Any]:
    """Columns of regions; NaN, which is written as NULL, of those without any confidence."""
    sure = measures.sure[index]
    known = sure > 0
    safe = np.maximum(sure, 1)
    return {
        "confidence": np.where(known, measures.confidence[index] / safe / 100, np.nan),
        "confidence_min": np.where(known, measures.least[index] / 100, np.nan),
        "share_unsure": np.where(known, measures.unsure[index] / safe, np.nan),
    }
