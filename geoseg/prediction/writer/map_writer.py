"""Write the rasters of a grid side by side, whole blocks at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np

from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA, Legend
from geoseg.geo.raster import BLOCK, Writer
from geoseg.maps.layers import CONFIDENCE, LAYERS
from geoseg.outputs.threads import BackgroundFile


class MapWriter:
    """The rasters of a grid, side by side; rows come from top to bottom in any heights."""

    def __init__(
        self,
        paths: Sequence[Path],
        grid: Grid,
        legend: Legend,
        tags: dict[str, str],
        layers: Sequence[str] = (CONFIDENCE,),
    ) -> None:
        """paths: of the class map and of each layer. Raises: InputError if one can't be written."""
        self._grid = grid
        self._counts = (1, *(LAYERS[name].count(len(legend)) for name in layers))
        self._codes = raster.create(
            paths[0], grid, dtype="uint8", nodata=NODATA, colors=legend.colors(), tags=tags
        )
        self._file = self._codes.__enter__()
        self._beside: list[BackgroundFile[Writer]] = []
        try:
            for path, name in zip(paths[1:], layers, strict=True):
                file = BackgroundFile(_open_layer(path, grid, name, legend, tags))
                file.enter()
                self._beside.append(file)
        except BaseException:
            self._give_up()
            raise
        self._waiting: list[np.ndarray] = []
        self._top = 0
        self._bottom = 0
        self._left = False

    def write(self, codes: np.ndarray, *layers: np.ndarray) -> None:
        """Add rows (n, W) uint8, or (bands, n, W). Raises: InputError if the disk is full."""
        rows = [part if part.ndim == 3 else part[None] for part in (codes, *layers)]
        self._waiting.append(np.concatenate(rows))
        self._bottom += len(codes)
        # A block that is written twice is compressed twice, and leaves a hole in the file.
        last = self._bottom == self._grid.height
        end = self._bottom if last else self._bottom // BLOCK * BLOCK
        if end == self._top:
            return
        bands = np.concatenate(self._waiting, axis=1)
        window = Window(self._top, 0, end - self._top, self._grid.width)
        self.put(bands[:, : window.height], window)
        self._waiting = [bands[:, window.height :]]
        self._top = end

    def put(self, bands: np.ndarray, window: Window) -> None:
        """Write a window of all bands (P, h, w); they come row of blocks by row, from the left.

        Raises: InputError if the disk is full.
        """
        codes, *layers = np.split(bands, np.cumsum(self._counts)[:-1])
        beside = [
            file.do(partial(_write, layer, window))
            for file, layer in zip(self._beside, layers, strict=True)
        ]
        self._file.write(codes[0], window)
        for written in beside:
            written.result()

    @property
    def is_full(self) -> bool:
        return self._top == self._grid.height

    def close(self) -> None:
        """Give the files their names. Raises: InputError if they are not whole."""
        self._left = True
        beside = [file.leave() for file in self._beside]
        try:
            self._codes.__exit__(None, None, None)
        finally:
            for left in beside:
                left.result()

    def abort(self) -> None:
        """Remove what there is; nothing, if it was closed, well or not."""
        if not self._left:
            self._left = True
            self._give_up()

    def _give_up(self) -> None:
        beside = [file.leave(*_GIVEN_UP) for file in self._beside]
        self._codes.__exit__(*_GIVEN_UP)
        for left in beside:
            left.result()


def _open_layer(
    path: Path, grid: Grid, name: str, legend: Legend, tags: dict[str, str]
) -> AbstractContextManager[Writer]:
    layer = LAYERS[name]
    return raster.create(
        path,
        grid,
        dtype="uint8",
        count=layer.count(len(legend)),
        nodata=layer.nodata,
        colors=None if layer.ramp else legend.colors(),
        tags=tags,
        names=layer.bands(legend),
    )


def _write(layer: np.ndarray, window: Window, file: Writer) -> None:
    file.write(layer if len(layer) > 1 else layer[0], window)


class _GiveUpError(Exception):
    """Makes `raster.create` remove its file."""


_GIVEN_UP = (_GiveUpError, _GiveUpError(), None)
