"""Make a tile around each polygon of a layer, with the class or classes of an attribute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import UNLABELLED
from geoseg.geo.vector import Features, Layer
from geoseg.labels.shapes import LINE, RING, mend, project
from geoseg.labels.values import Meaning
from geoseg.labels.zones import parse
from geoseg.outputs.counted import counted

KEY = "scene.polygons"
SHOWN = 10
"""Values named in a message."""


@dataclass(frozen=True)
class PolygonTiles:
    """Tiles around polygons, in the split of the ground on which each has its middle."""

    tiles: list[Tile]
    notes: tuple[str, ...]
    """What was left out."""

    @classmethod
    def of(cls, dataset: Dataset, given: str, separator: str | None = None) -> PolygonTiles:
        """given: <file>:<attribute>, whose values the legend knows.

        separator: what stands between several values of the attribute; None = it holds one.

        Raises: InputError if file or attribute are missing, values are unknown, or no polygon lies
        in a tile.
        """
        path, field = parse(given, KEY, holds="the classes", example="class")
        layer = Layer(path, columns=(field,), prefix=f"{KEY}.")
        found = Features.joined(list(layer.scan()))
        meaning = Meaning(dataset.legend.meanings())
        lists, unknown = _codes(meaning, found.columns[field], separator)
        strange = [f"{value} ({count} ×)" for value, count in unknown.most_common(SHOWN) if value]
        if strange:
            raise InputError(
                f"{KEY}={given}: values that the legend of {dataset.folder} does not know:"
                f" {', '.join(strange)}; it knows {', '.join(list(meaning.lookup)[:SHOWN])}: name"
                " another attribute, or prepare with a legend that has them in `values` of a class"
            )
        kept = np.array([number for number, codes in enumerate(lists) if codes], int)
        middles = _middles(found.geometries, kept, layer.crs, dataset)
        tiles = [
            _tile(home, place, dataset, codes=lists[number])
            for number, (home, place) in sorted(middles.items())
        ]
        if not tiles:
            raise InputError(
                f"{KEY}={given}: no polygon with a value of {field} has its middle in a tile of"
                f" {dataset.folder}; give polygons on the ground of its scenes"
            )
        said = []
        for count, why in (
            (len(lists) - len(kept), f"have no {field}"),
            (len(kept) - len(tiles), "have no middle in a tile, or no area"),
        ):
            if count:
                said.append(f"{path}: {count} of {counted(len(lists), 'feature')} {why}; left out")
        return cls(tiles, tuple(said))


def _codes(
    meaning: Meaning, values: np.ndarray, separator: str | None
) -> tuple[list[frozenset[int]], Counter[str | None]]:
    """Codes of each value, empty without any, and how often each unknown value occurs."""
    if separator is None:
        codes, unknown = meaning.codes(values)
        return [frozenset({code} - {UNLABELLED}) for code in codes.tolist()], unknown
    parts, owner = [], []
    for number, value in enumerate(values):
        listed = [] if value is None else str(value).split(separator)
        said = [part.strip() for part in listed if part.strip()]
        parts += said
        owner += [number] * len(said)
    codes, unknown = meaning.codes(np.array(parts, object))
    found: list[set[int]] = [set() for _ in values]
    for number, code in zip(owner, codes.tolist(), strict=True):
        found[number].add(code)
    return [frozenset(each - {UNLABELLED}) for each in found], unknown


def _middles(
    geometries: np.ndarray, kept: np.ndarray, crs: str, dataset: Dataset
) -> dict[int, tuple[Tile, tuple[int, int]]]:
    """By number of the geometry: the first tile that its middle is in, and its row and column."""
    found: dict[int, tuple[Tile, tuple[int, int]]] = {}
    tiles = [tile for split in SPLITS for tile in dataset.tiles(split)]
    for scene in dataset.scenes:
        own = [tile for tile in tiles if tile.scene == scene.name]
        left = np.array([number for number in kept if number not in found], int)
        if not own or not len(left):
            continue
        points, owner = _points(geometries[left], crs, scene.grid)
        rows, columns = _pixels(points, scene.grid)
        for number, row, column in zip(left[owner], rows, columns, strict=True):
            tile = _around(own, int(row), int(column))
            if tile is not None:
                found.setdefault(int(number), (tile, (int(row), int(column))))
    return found


def _points(geometries: np.ndarray, crs: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) inside polygons, in the grid's CRS, and which geometry each is of (N,)."""
    nothing = np.empty((0, 2)), np.empty(0, int)
    within = extent.bounds_in(grid.bounds_of(grid.window.grow(16)), grid.crs, crs)
    if within is None:
        return nothing
    parts, index = mend(geometries)
    areal = ~np.isin(shapely.get_type_id(parts), (LINE, RING))
    parts, index = parts[areal], index[areal]
    # Of several parts the largest; equally large ones by their order.
    order = np.lexsort((-shapely.area(parts), index))
    parts, index = parts[order], index[order]
    first = np.unique(index, return_index=True)[1]
    inside = shapely.point_on_surface(parts[first])
    near = shapely.intersects(inside, shapely.box(*within))
    inside, index = inside[near], index[first][near]
    moved, origin = project(
        inside, crs, grid.crs, pixel=min(grid.resolution), within=extent.widen(within, 0.1)
    )
    return shapely.get_coordinates(moved), index[origin]


def _pixels(points: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    height, width = grid.resolution
    left, _, _, top = grid.bounds
    return (
        np.floor((top - points[:, 1]) / height).astype(int),
        np.floor((points[:, 0] - left) / width).astype(int),
    )


def _around(tiles: Sequence[Tile], row: int, column: int) -> Tile | None:
    """The tile that a pixel lies in."""
    for tile in tiles:
        w = tile.window
        if w.top <= row < w.bottom and w.left <= column < w.right:
            return tile
    return None


def _tile(home: Tile, middle: tuple[int, int], dataset: Dataset, *, codes: Collection[int]) -> Tile:
    """A tile of the usual size around a pixel, moved into its home; each of its classes counts as
    if it covered it."""
    size, room = dataset.tiling.size, home.home
    height, width = min(size, room.height), min(size, room.width)
    top = min(max(middle[0] - size // 2, room.top), room.bottom - height)
    left = min(max(middle[1] - size // 2, room.left), room.right - width)
    counts = tuple(height * width * (own in codes) for own in dataset.legend.codes)
    return replace(home, window=Window(top, left, height, width), counts=counts)
