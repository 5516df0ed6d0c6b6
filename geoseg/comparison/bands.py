"""Give codes that come strip by strip to whoever asks for windows."""

from __future__ import annotations

from collections.abc import Generator
from threading import Lock

import numpy as np

from geoseg.geo.grid import Grid, Window
from geoseg.maps.cog.write import SIDE


class Bands:
    """Collects strips until the windows of a row, SIDE pixels high, are whole.

    Windows are asked for once each, in rows, by several threads; only the rows that somebody still
    waits for are kept.
    """

    def __init__(
        self, strips: Generator[tuple[Window, np.ndarray], None, None], grid: Grid
    ) -> None:
        """strips: of full width, whole numbers of them to a band, codes (h, W) uint8."""
        self._strips, self._grid = strips, grid
        self._lock = Lock()
        self._bands: dict[int, np.ndarray] = {}
        self._due: dict[int, int] = {}
        """Windows of each band that nobody has asked for yet."""
        self._next = 0
        self._error: BaseException | None = None

    def read(self, window: Window) -> np.ndarray:
        """Codes (h, w) of one of the windows. Raises: what the strips raise."""
        number = window.top // SIDE
        with self._lock:
            while self._next <= number:
                self._fill()
            band = self._bands[number]
            self._due[number] -= 1
            if not self._due[number]:
                del self._bands[number], self._due[number]
        return band[: window.height, window.left : window.right]

    def close(self) -> None:
        """End the strips, when no thread is in the middle of one."""
        with self._lock:
            self._error = self._error or RuntimeError("no more codes: the bands were closed")
            self._strips.close()

    def _fill(self) -> None:
        if self._error is not None:
            raise self._error
        top = self._next * SIDE
        height = min(SIDE, self._grid.height - top)
        band = np.empty((height, self._grid.width), np.uint8)
        filled = 0
        try:
            while filled < height:
                window, codes = next(self._strips)
                band[filled : filled + window.height] = codes
                filled += window.height
            if top + height == self._grid.height:
                next(self._strips, None)  # lets whoever makes them come to an end
        except BaseException as error:
            self._error = error
            raise
        self._bands[self._next] = band
        self._due[self._next] = -(-self._grid.width // SIDE)
        self._next += 1
