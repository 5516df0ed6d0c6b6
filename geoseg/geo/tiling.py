"""Cover a grid with overlapping windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.errors import Faults
from geoseg.geo.grid import Window
from geoseg.received.keys import NUMERIC


@dataclass
class Tiling:
    """Size of the windows that the network sees, and how much neighbours share."""

    size: int = 256
    """Height and width of a window in pixels."""
    overlap: Any = field(default=None, metadata=NUMERIC)
    """Pixels shared by neighbouring windows in prediction: the border sees too little context.
    By default a quarter of the size."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.overlap is None:
            self.overlap = self.size // 4
        if self.size < 8:
            faults.add(f"tiling.size={self.size}: must be at least 8 pixels")
        whole = isinstance(self.overlap, int) and not isinstance(self.overlap, bool)
        if not whole or not 0 <= self.overlap <= self.size // 2:
            faults.add(
                f"tiling.overlap={self.overlap}: must be a whole number from 0 to half of"
                f" tiling.size={self.size}"
            )
        faults.raise_if_any()

    def tiles(self, region: Window) -> list[Window]:
        """Windows that partition a region, row by row: `size` or, at the far edges, smaller."""
        return [
            Window(region.top + top, region.left + left, height, width)
            for top, height in _cuts(region.height, self.size)
            for left, width in _cuts(region.width, self.size)
        ]

    def starts(self, length: int) -> list[int]:
        """Where windows begin along an axis so that they cover it, each `overlap` into the next.

        The last one is moved back to end with the axis, and so overlaps more; an axis shorter
        than a window gets one window, which reaches over its end.
        """
        step = self.size - self.overlap
        starts = list(range(0, max(1, length - self.overlap), step))
        starts[-1] = max(0, length - self.size)
        return starts


def _cuts(length: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(size, length - start)) for start in range(0, length, size)]
