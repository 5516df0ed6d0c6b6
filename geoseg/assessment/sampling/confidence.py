"""Give the confidence of each pixel of a map or mosaic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.raster import Raster
from geoseg.maps.folder import LANDCOVER
from geoseg.maps.joint_grid import place
from geoseg.maps.landcover import MAPS_TAG, ClassMap
from geoseg.maps.layers import CONFIDENCE
from geoseg.scenes.scene import find_files

KEPT = 64
"""Rasters kept open for windows to come."""
LEVELS = 256
"""Values that a confidence may have."""


class Confidence:
    """The confidence rasters of predict, on a map's grid; the highest counts where they overlap,
    as in a mosaic."""

    def __init__(self, found: ClassMap, maps: str | None) -> None:
        """maps: output folder of predict; None = where the map's own tag or folder leads to.

        Raises: InputError if there is none, or none lies on the map.
        """
        self._grid = found.grid
        self.paths = _find(found, maps)
        self._places: list[Window] = []
        for path in self.paths:
            facts = raster.info(path)
            if facts.grid is None or facts.dtype != "uint8" or len(facts.bands) != 1:
                raise InputError(
                    f"{path}: expected a confidence as geoseg.predict writes it, one band of uint8"
                )
            exact = found.grid.offset(facts.grid) is not None
            self._places.append(place(facts.grid, found.grid).grow(0 if exact else 1))
        if not any(window.intersect(found.grid.window) for window in self._places):
            raise InputError(
                f"maps={maps}: none of its confidence rasters lies on {found.path}; give the maps"
                " that it was made of"
            )
        self._open: dict[int, Raster] = {}

    def read(self, window: Window) -> np.ndarray:
        """Percent (height, width) uint8, 0 where nobody says."""
        best = np.zeros((window.height, window.width), np.uint8)
        for number, own in enumerate(self._places):
            inside = own.intersect(window)
            if inside is None:
                continue
            found = self._file(number).read(inside)[0][0]
            at = inside.within(window)
            np.maximum(best[at], found, out=best[at])
        return best

    def _file(self, number: int) -> Raster:
        if number not in self._open:
            if len(self._open) >= KEPT:
                self._open.pop(next(iter(self._open))).close()
            path = self.paths[number]
            self._open[number] = Raster(path, grid=self._grid, resampling="nearest", nodata=0)
        return self._open[number]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _find(found: ClassMap, maps: str | None) -> list[str]:
    folder = Path(found.path).absolute().parent
    if maps is not None:
        home = Path(maps)
    elif MAPS_TAG in found.tags:
        home = folder / found.tags[MAPS_TAG]
    else:
        home = folder.parent if folder.name == LANDCOVER else folder
    where = home / CONFIDENCE if (home / CONFIDENCE).is_dir() else home
    if not where.is_dir() or (maps is None and where == home):
        raise InputError(
            f"{found.path}: no confidence beside it; set maps=<output folder of geoseg.predict>, or"
            " sample.strata=class"
        )
    own = where / Path(found.path).name
    if folder.name == LANDCOVER and own.is_file():
        return [str(own)]
    return find_files(str(where), raster.SUFFIXES, "confidence rasters")


def cuts(counts: Mapping[int, np.ndarray], unsure: float) -> dict[int, int]:
    """The highest confidence of the unsure part of each class, so that its share is nearest to
    what is wanted.

    counts: code → (LEVELS,) pixels by confidence. Classes of one confidence have no such part.
    """
    found = {}
    for code, pixels in counts.items():
        below = np.cumsum(pixels) / max(1, pixels.sum())
        levels = np.flatnonzero(pixels)[:-1]  # the most confident pixels are sure
        if len(levels):
            found[code] = int(levels[np.abs(below[levels] - unsure).argmin()])
    return found
