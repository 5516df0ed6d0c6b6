"""Picture the image, the maps and the layers of a scene, as they are while it is corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA, Legend
from geoseg.geo.raster import BLOCK, Raster
from geoseg.maps.layers import CONFIDENCE, ENTROPY, LAYERS, MARGIN, NOVELTY
from geoseg.page.pyramid import Pyramid, Read
from geoseg.refinement.old_maps import OldMap
from geoseg.refinement.patches import Followed
from geoseg.scenes.scene import Scene

TILE = 256
"""Pixels of a tile's side."""
IMAGE, MAP, PREDICTED = "image", "map", "predicted"
RAMPED = (CONFIDENCE, ENTROPY, MARGIN, NOVELTY)
"""Layers that the page can show, where they lie beside the maps."""
MOST_CUT = 20.0
"""Percent of the darkest and of the brightest pixels that may be cut at most."""


@dataclass
class Pictures:
    """All that the page can show of a scene."""

    old: OldMap
    changes: Followed = field(default_factory=Followed)
    """What corrections change in its maps."""

    def __post_init__(self) -> None:
        scene, old = self.old.scene, self.old
        self.grid: Grid = scene.grid
        self.legend: Legend = old.map.legend
        self.layers = tuple(name for name in RAMPED if name in old.layers)
        self._image = Pyramid(self.grid, _reader_of_scene(scene))
        paths = dict(zip((MAP, *old.layers), old.paths, strict=True))
        firsts = np.cumsum([0, *old.counts])
        self._band = dict(zip((MAP, *old.layers), firsts.tolist(), strict=False))
        self._rasters = {
            name: Pyramid(self.grid, _reader_of_file(str(paths[name])))
            for name in (MAP, *self.layers)
        }
        self._stretches: dict[tuple[int, float], tuple[float, float]] = {}
        self._tables = {MAP: _table_of_classes(self.legend)}
        self._tables |= {name: _table_of_ramp(name) for name in self.layers}

    @property
    def levels(self) -> int:
        """How often the scene is halved until a tile holds it."""
        level = 0
        while max(self.grid.height, self.grid.width) >> level > TILE:
            level += 1
        return level

    def window(self, level: int, column: int, row: int) -> Window | None:
        """The window of a tile in its level; None beside the scene."""
        return Window(row * TILE, column * TILE, TILE, TILE).intersect(self._image.window(level))

    def values(self, name: str, window: Window, level: int) -> np.ndarray:
        """Bytes (h, w) of a map or layer, corrections included but in that as predicted."""
        own = MAP if name == PREDICTED else name
        found = self._rasters[own].read(window, level)[0][0]
        if name == PREDICTED:
            return found
        return overlaid(found, self.changes, self._band[own], window, level)

    def picture(self, name: str, window: Window, level: int) -> np.ndarray:
        """A map or a layer in its colours, (h, w, 4) uint8."""
        return self._tables[MAP if name == PREDICTED else name][self.values(name, window, level)]

    def image(self, window: Window, level: int, *, bands: Sequence[int], cut: float) -> np.ndarray:
        """Three bands (places from 0) as red, green and blue, (h, w, 4) uint8.

        cut: percent of the darkest and of the brightest pixels that are black, and bright.
        """
        data, valid = self._image.read(window, level)
        made = np.zeros((window.height, window.width, 4), np.uint8)
        for place, band in enumerate(bands):
            low, high = self.stretch(band, cut)
            values = (data[band].astype(np.float32) - low) / (high - low)
            made[..., place] = np.clip(np.nan_to_num(values) * 255, 0, 255)
        made[..., 3] = np.where(valid, 255, 0)
        return made

    def stretch(self, band: int, cut: float) -> tuple[float, float]:
        """The values that are black and bright."""
        if (band, cut) not in self._stretches:
            data, valid = self._image.held()
            values = data[band][valid]
            values = values[np.isfinite(values)]
            low, high = np.percentile(values, [cut, 100 - cut]).tolist() if len(values) else (0, 1)
            self._stretches[band, cut] = (low, high) if high > low else (low, low + 1.0)
        return self._stretches[band, cut]


def overlaid(
    values: np.ndarray, changes: Followed, band: int, window: Window, level: int
) -> np.ndarray:
    """Bytes (h, w) of a window of a level with what changes in them. band: of all (P, h, w)."""
    side = BLOCK >> level
    if not side:
        return values
    made = values
    step = 2**level
    middle = slice(step // 2, None, step)
    for (row, column), (mask, after) in changes.blocks.items():
        if not Window(row * side, column * side, side, side).intersect(window):
            continue
        part = mask[middle, middle]
        place = Window(row * side, column * side, *part.shape)
        common = place.intersect(window)
        if common is None:
            continue
        if made is values:
            made = values.copy()
        here, there = common.within(window), common.within(place)
        new = after[band][middle, middle]
        made[here] = np.where(part[there], new[there], made[here])
    return made


def _reader_of_scene(scene: Scene) -> Read:
    def read(window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        # A file is opened anew each time: open ones belong to one thread.
        with raster.environment(), scene.open() as reader:
            return reader.read(window, shape=shape)

    return read


def _reader_of_file(path: str) -> Read:
    def read(window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        with raster.environment(), Raster(path) as file:
            return file.read(window, shape=shape)

    return read


def _table_of_classes(legend: Legend) -> np.ndarray:
    """Colours (256, 4) uint8 by code."""
    table = np.zeros((256, 4), np.uint8)
    for code, color in legend.colors().items():
        table[code] = color
    return table


def _table_of_ramp(name: str) -> np.ndarray:
    """Colours (256, 4) uint8 by value."""
    layer = LAYERS[name]
    colors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in layer.ramp])
    stops = layer.stops or np.linspace(0, 100, len(layer.ramp))
    table = np.full((256, 4), 255, np.uint8)
    for place in range(3):
        table[:, place] = np.rint(np.interp(np.arange(256), stops, colors[:, place]))
    table[layer.nodata] = 0
    return table


def bands_first_shown(names: Sequence[str]) -> tuple[int, int, int]:
    """Places of red, green and blue among a scene's bands; else its first three, or its only."""
    lower = [name.lower() for name in names]
    if {"red", "green", "blue"} <= set(lower):
        red, green, blue = (lower.index(name) for name in ("red", "green", "blue"))
        return red, green, blue
    last = len(names) - 1
    return (0, min(1, last), min(2, last)) if last >= 2 else (0, 0, 0)


def hectares(values: np.ndarray, grid: Grid, window: Window, legend: Legend) -> np.ndarray:
    """Hectares (K,) of each class in codes (h, w) of a window."""
    found = np.zeros(len(legend))
    for part, m2 in grid.alike(window):
        counts = np.bincount(values[part.within(window)].ravel(), minlength=256)
        found += counts[legend.codes] * m2 / 10_000
    return found


def block_hectares(old: OldMap, codes: np.ndarray, mask: np.ndarray, place: Window) -> np.ndarray:
    """How many hectares (K,) each class gains in a block. codes, mask: (h, w) of the change."""
    with raster.environment(), Raster(old.paths[0]) as file:
        before = file.read(place)[0][0]
    grid, legend = old.scene.grid, old.map.legend
    gone = hectares(np.where(mask, before, NODATA), grid, place, legend)
    return hectares(np.where(mask, codes, NODATA), grid, place, legend) - gone
