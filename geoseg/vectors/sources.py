"""Open a map for polygons, with the confidence beside it or beside the maps it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.legend import NODATA, UNLABELLED
from geoseg.geo.raster import Raster
from geoseg.maps.folder import LANDCOVER
from geoseg.maps.joint_grid import place
from geoseg.maps.landcover import MAPS_TAG, ClassMap
from geoseg.maps.layers import CONFIDENCE
from geoseg.vectors.components import Strips

ROWS = 256
"""Rows that are read at once of a confidence."""


@dataclass(frozen=True)
class Source:
    """A map, and where its confidence comes from."""

    map: ClassMap
    pairs: tuple[tuple[str, str], ...]
    """Class map and confidence of each scene; that of the map itself if it is of one scene."""
    scene: str | None
    """The scene that the map is of; None of a mosaic."""

    @property
    def files(self) -> list[str]:
        return [self.map.path, *(path for pair in self.pairs for path in pair)]


def find_source(path: str, maps: str | None) -> Source:
    """A map with the confidences in predict's output folder `maps`, or in the one it comes from.

    Raises: InputError if the map can't be read, or a folder that is named has no confidences.
    """
    if Path(path).is_dir():
        raise InputError(
            f"map={path}: is a folder; give one of its maps, or what geoseg.mosaic makes of them"
        )
    found = ClassMap.read(path)
    own = Path(path)
    folder = _home(found) if maps is None else Path(maps).expanduser()
    if folder is None:
        return Source(found, (), None)
    pairs = _pairs(folder)
    if maps is not None and not pairs:
        raise InputError(
            f"maps={maps}: no {LANDCOVER}/<scene>.tif with {CONFIDENCE}/<scene>.tif in it; give the"
            " output folder of geoseg.predict, or leave maps out"
        )
    if own.parent.resolve() != (folder / LANDCOVER).resolve():
        return Source(found, tuple(pairs), None)
    return Source(found, tuple(p for p in pairs if Path(p[0]).name == own.name), own.stem)


def _home(found: ClassMap) -> Path | None:
    """The folder of the maps that a map is one of, or was joined from."""
    folder = Path(found.path).parent
    if folder.name == LANDCOVER:
        return folder.parent
    return folder / found.tags[MAPS_TAG] if MAPS_TAG in found.tags else None


def _pairs(folder: Path) -> list[tuple[str, str]]:
    """Class map and confidence of each scene of predict's output folder."""
    found = []
    for confidence in sorted((folder / CONFIDENCE).glob("*.tif")):
        codes = folder / LANDCOVER / confidence.name
        if codes.is_file() and not confidence.name.startswith("."):
            found.append((str(codes), str(confidence)))
    return found


@contextmanager
def opened(source: Source, height: int) -> Iterator[Strips]:
    """The map as strips of this height; codes that its legend does not know are refused as read."""
    known = np.zeros(256, bool)
    known[[NODATA, UNLABELLED, *source.map.legend.codes]] = True
    with ExitStack() as stack:
        file = stack.enter_context(Raster(source.map.path, nodata="none"))

        def codes(window: Window) -> np.ndarray:
            found = source.map.plain(file.read(window)[0][0])
            strangers = np.flatnonzero((np.bincount(found.ravel(), minlength=256) > 0) & ~known)
            if len(strangers):
                shown = ", ".join(map(str, strangers[:10].tolist()))
                raise InputError(
                    f"{source.map.path}: holds codes {shown}, which its legend does not know; its"
                    f" classes are {', '.join(map(str, sorted(source.map.legend.codes)))}: make"
                    " this map anew"
                )
            return found

        confidence = stack.enter_context(_Confidence(source)) if source.pairs else None
        yield Strips(source.map.grid, codes, confidence.read if confidence else None, height)


class _Confidence:
    """Confidence of a map's pixels: the highest of the scenes' that has the pixel's code there."""

    def __init__(self, source: Source) -> None:
        self._map, self._pairs = source.map, source.pairs
        self._stack = ExitStack()

    def __enter__(self) -> _Confidence:
        self._places = []
        for codes, confidence in self._pairs:
            facts = raster.info(confidence)
            grid = raster.info(codes).grid
            if grid is None or facts.grid is None or not facts.grid.coincides(grid):
                raise InputError(f"{confidence}: not on the grid of {codes}; predict anew")
            self._places.append(place(grid, self._map.grid).grow(1))
        self._own = self._stack.enter_context(Raster(self._map.path, nodata="none"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _on_map(self, path: str) -> Raster:
        return Raster(path, grid=self._map.grid, resampling="nearest", nodata=NODATA)

    def read(self, window: Window) -> np.ndarray:
        """Percent (height, width) uint8 of a window; 0 where no scene has the pixel's code."""
        best = np.zeros((window.height, window.width), np.uint8)
        own = self._own.read(window)[0][0]
        for (codes, confidence), at in zip(self._pairs, self._places, strict=True):
            inside = at.intersect(window)
            if inside is None:
                continue
            with self._on_map(codes) as a, self._on_map(confidence) as b:
                same = _by_rows(a, inside) == own[inside.within(window)]
                percent = _by_rows(b, inside) * same
            part = best[inside.within(window)]
            np.maximum(part, percent, out=part)
        best[own == NODATA] = 0
        return best


def _by_rows(file: Raster, window: Window) -> np.ndarray:
    """Pixels of a window, read in rows that do not depend on it: a warp may place pixels
    differently in windows of different height."""
    first, last = window.top // ROWS * ROWS, -(-window.bottom // ROWS) * ROWS
    parts = []
    for top in range(first, last, ROWS):
        whole = Window(top, window.left, ROWS, window.width)
        inside = whole.intersect(window)
        assert inside is not None
        parts.append(file.read(whole)[0][0][inside.within(whole)])
    return np.concatenate(parts)
