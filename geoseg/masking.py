"""Masking: how much of an image is hidden from a network that is to fill it in."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.errors import Faults


@dataclass
class Masking:
    """Random squares, the same number in each tile."""

    share: float = 0.6
    """Share of a tile's squares that are hidden (SimMIM: 0.6)."""
    size: int = 32
    """Side of a square in pixels: smaller ones are filled in from their edges, and teach little
    (SimMIM: 32)."""

    def __post_init__(self) -> None:
        faults = Faults()
        if not 0 < self.share < 1:
            faults.add(f"mask.share={self.share}: must be in (0, 1)")
        if self.size < 1:
            faults.add(f"mask.size={self.size}: must be at least 1 pixel")
        faults.raise_if_any()
