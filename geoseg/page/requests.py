"""Read what the page asks for: numbers and names out of fixed lists, nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine

from geoseg.errors import InputError, shown
from geoseg.geo import extent
from geoseg.labels.correction_file import LAYER_OF
from geoseg.labels.correction_form import LAYERS
from geoseg.labels.corrections import Corrections
from geoseg.labels.shapes import project
from geoseg.page.layers import IMAGE, MAP, MOST_CUT, PREDICTED, Pictures

MOST_VERTICES = 10_000
WIDEST_M = 10_000.0
LEAST_VERTICES = {"Point": 1, "LineString": 2, "Polygon": 3}


class UnknownError(Exception):
    """What is asked for does not exist."""


@dataclass(frozen=True)
class Drawing:
    """A correction as the page sends it."""

    scene: int
    kind: str
    """Of LAYER_OF."""
    places: np.ndarray
    """(N, 2) columns and rows of the scene's pixels, fractions included."""
    code: int
    width_m: float | None

    @classmethod
    def parse(cls, body: Any, scenes: tuple[Pictures, ...]) -> Drawing:
        """Raises: InputError."""
        if not isinstance(body, dict):
            raise InputError("expected an object {scene, kind, places, code, width}")
        number: Any = body.get("scene")
        if not _is_whole(number) or not 0 <= number < len(scenes):
            raise InputError(f"scene={shown(number)}: expected 0..{len(scenes) - 1}")
        told: list[Any] = [body.get(name) for name in ("kind", "code", "width")]
        kind, code, width = told
        if not isinstance(kind, str) or kind not in LAYER_OF:
            raise InputError(f"kind={shown(kind)}: expected one of {', '.join(LAYER_OF)}")
        legend = scenes[number].legend
        if not _is_whole(code) or code not in legend.codes:
            raise InputError(f"code={shown(code)}: expected one of {legend.codes}")
        if width is not None and not (_is_number(width) and 0 < width <= WIDEST_M):
            raise InputError(f"width={shown(width)}: expected metres above 0, at most {WIDEST_M:g}")
        places = _places(body.get("places"), LEAST_VERTICES[kind])
        grid = scenes[number].grid
        low, high = places.min(axis=0), places.max(axis=0)
        if (high < 0).any() or (low > (grid.width, grid.height)).any():
            raise InputError("it lies beside the scene")
        reach = np.array((grid.width, grid.height))
        if (low < -reach).any() or (high > 2 * reach).any():
            raise InputError("it reaches too far beyond the scene; draw a smaller one")
        return cls(number, kind, places, code, None if width is None else float(width))

    def on(self, pictures: Pictures, crs: str) -> shapely.Geometry:
        """The geometry in a CRS. Raises: InputError where that is not defined, or none is left."""
        grid = pictures.grid
        xy = moved_by(grid.transform, self.places)
        make = {"Point": lambda c: shapely.Point(c[0]), "LineString": shapely.LineString}
        shape = make.get(self.kind, shapely.Polygon)(xy)
        if not shape.is_valid and self.kind == "Polygon":
            raise InputError("the outline crosses itself; draw it again")
        within = extent.widen(grid.bounds, 2.0)
        moved, _ = project(
            np.array([shape]), grid.crs, crs, pixel=_pixel_in(pictures, crs), within=within
        )
        if len(moved) != 1 or moved[0].geom_type != self.kind:
            raise InputError(f"it can't be placed in the CRS of the corrections ({crs[:60]})")
        return moved[0]


def _pixel_in(pictures: Pictures, crs: str) -> float:
    """Side of a pixel in units of a CRS."""
    box = pictures.grid.bounds_in(crs)
    return max(1e-12, (box[2] - box[0]) / pictures.grid.width)


def _places(value: Any, least: int) -> np.ndarray:
    fault = InputError(f"places: expected {least} to {MOST_VERTICES} pairs [column, row]")
    if not isinstance(value, list) or not least <= len(value) <= MOST_VERTICES:
        raise fault
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in value
    ):
        raise fault
    return np.array(value, float)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def chosen(body: Any) -> tuple[str, int]:
    """Layer and number of a correction that is to be taken back. Raises: InputError."""
    asked = body if isinstance(body, dict) else {}
    layer: Any = asked.get("layer")
    number: Any = asked.get("id")
    if not isinstance(layer, str) or layer not in LAYERS:
        raise InputError(f"layer={shown(layer)}: expected one of {', '.join(LAYERS)}")
    if not _is_whole(number) or not 0 < number < 2**62:
        raise InputError(f"id={shown(number)}: expected a number above 0")
    return layer, number


def scene_of(text: str, scenes: tuple[Pictures, ...]) -> Pictures:
    """Raises: UnknownError."""
    return scenes[_number(text, len(scenes) - 1)]


def layer_of(text: str, pictures: Pictures) -> str:
    """Raises: UnknownError."""
    if text not in (IMAGE, MAP, PREDICTED, *pictures.layers):
        raise UnknownError
    return text


def tile_of(level: str, column: str, row: str, *, most: int) -> tuple[int, int, int]:
    """Raises: UnknownError."""
    return _number(level, most), _number(column, 1 << 30), _number(row, 1 << 30)


def shading(
    query: Mapping[str, str], count: int, first: tuple[int, ...]
) -> tuple[list[int], float]:
    """Bands (from 0) for red, green and blue, and percent to cut. Raises: UnknownError."""
    names = query.get("bands", ",".join(map(str, first))).split(",")
    if len(names) != 3:
        raise UnknownError
    bands = [_number(name, count - 1) for name in names]
    try:
        cut = float(query.get("cut", "2"))
    except ValueError:
        raise UnknownError from None
    if not 0 <= cut <= MOST_CUT:
        raise UnknownError
    return bands, cut


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12) or int(text) > most:
        raise UnknownError
    return int(text)


def shown_on(corrections: Corrections | None, pictures: Pictures) -> dict[str, Any]:
    """Corrections of a scene as GeoJSON, in its pixels: x to the right, y (negative) down."""
    features: list[dict[str, Any]] = []
    grid = pictures.grid
    inverse = ~grid.transform
    for drawn in () if corrections is None else corrections.drawn:
        box = extent.bounds_in(grid.bounds, grid.crs, drawn.crs)
        if box is None:
            continue
        near = np.flatnonzero(_touching(drawn.geometries, extent.widen(box, 0.05)))
        pixel = min(grid.resolution)
        within = extent.widen(box, 0.5)
        shapes, origin = project(
            drawn.geometries[near], drawn.crs, grid.crs, pixel=pixel, within=within
        )
        for shape, place in zip(_in_pixels(shapes, inverse), near[origin], strict=True):
            width = drawn.widths[place]
            features.append(
                {
                    "type": "Feature",
                    "geometry": json.loads(shapely.to_geojson(shape)),
                    "properties": {
                        "layer": drawn.layer,
                        "id": int(drawn.ids[place]),
                        "code": int(drawn.codes[place]),
                        "width": None if np.isnan(width) else float(width),
                    },
                }
            )
    return {"type": "FeatureCollection", "features": features}


def _touching(geometries: np.ndarray, box: extent.Bounds) -> np.ndarray:
    left, bottom, right, top = shapely.bounds(geometries).T
    return (left <= box[2]) & (right >= box[0]) & (bottom <= box[3]) & (top >= box[1])


def _in_pixels(shapes: np.ndarray, inverse: Affine) -> np.ndarray:
    def moved(xy: np.ndarray) -> np.ndarray:
        return moved_by(inverse, xy) * (1, -1)

    return np.array([shapely.transform(shape, moved) for shape in shapes], object)


def moved_by(transform: Affine, xy: np.ndarray) -> np.ndarray:
    """Coordinates (N, 2) by a transform without rotation, as all grids have."""
    t = transform
    return np.asarray(xy * (t.a, t.e) + (t.c, t.f))
