"""Settings of the network for points."""

from __future__ import annotations

from dataclasses import dataclass, field

from geoseg.errors import Faults

SMALLEST_M, LARGEST_M = 2.0, 200.0
"""Metres of a tile between which its points make a picture."""
FEWEST = 32
"""Points that a tile is drawn from, at least."""


@dataclass
class PointNetSettings:
    """What the network for points sees, and how it learns."""

    tile_m: float = 16.0
    """Side in metres of the square tiles whose points the network sees at once."""
    points: int = 1024
    """Points of a tile that it sees at once; of more, several draws, until each was seen."""
    width: int = 256
    """Numbers that sum up a tile; 1024 in the paper, and four times as slow."""
    epochs: int = 20
    """Times that each tile is seen in training."""
    batch: int = 16
    """Tiles of a step."""
    learning_rate: float = 0.002
    """At its highest; it falls to nothing along half a cosine."""
    val: float = 0.2
    """Share of the labelled tiles, in blocks of 4 × 4, that only judge."""
    reach_m: float = 20.0
    """Metres from any place to ground without roof, for heights above the ground: half the width of
    the largest hall."""
    resolution_m: float = 0.5
    """Side in metres of the pixels in which labels are read and maps are written."""
    outlier: list[int] = field(default_factory=lambda: [7, 18, 65])
    """Classes of points that are left out: low and high noise, and artefacts of IGN."""
    classification: bool = False
    """Also write the legend's codes over the standard's classes of the points, for programs that
    know no other; 2 is then no longer the ground, nor 6 a building, unless the legend says so."""
    crs: str | None = None
    """CRS of clouds that do not say theirs, as EPSG:…"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or mps."""

    def __post_init__(self) -> None:
        faults = Faults()
        for name in ("tile_m", "reach_m"):
            value = getattr(self, name)
            if not SMALLEST_M <= value <= LARGEST_M:
                faults.add(
                    f"pointnet.{name}={value:g}: must be in {SMALLEST_M:g}..{LARGEST_M:g} metres"
                )
        if not 0.05 <= self.resolution_m <= self.tile_m:
            faults.add(
                f"pointnet.resolution_m={self.resolution_m:g}: must be 0.05 at least, and no more"
                f" than pointnet.tile_m={self.tile_m:g}"
            )
        faults.at_least(self, "pointnet.", points=FEWEST, width=8, epochs=1, batch=2)
        if not 0 < self.learning_rate <= 1:
            faults.add(f"pointnet.learning_rate={self.learning_rate:g}: must be in 0..1, not 0")
        if not 0 < self.val < 1:
            faults.add(f"pointnet.val={self.val:g}: must lie between 0 and 1")
        if not all(0 <= code <= 255 for code in self.outlier):
            faults.add(f"pointnet.outlier={self.outlier}: classes of points are 0..255")
        faults.raise_if_any()
