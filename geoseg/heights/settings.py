"""Settings of rasters made of point clouds."""

from __future__ import annotations

from dataclasses import dataclass, field

from geoseg.errors import Faults

LAYERS = ("ndsm", "dsm", "dtm", "density", "intensity", "returns")
OF_GROUND = ("ndsm", "dtm")
"""Those that need points of the ground."""
SMALLEST, LARGEST = 0.05, 100.0
"""Metres of a pixel between which a raster of points makes sense."""
GAP_M = 5.0
"""Metres up to which pixels without a point are given the nearest one's values."""
FARTHEST = 200.0
"""Metres up to which ground is carried: as far around it each window is read."""


@dataclass
class HeightSettings:
    """Which rasters are made of the points, and how."""

    layers: list[str] = field(default_factory=lambda: ["ndsm"])
    """ndsm (height above the ground), dsm (of the highest point), dtm (of the ground), all in
    metres; density (points per m²), intensity (mean), returns (mean number of returns of the
    pulses: 1 on roofs and roads, more in trees)."""
    resolution_m: float = 0.5
    """Side of a pixel in metres, where no scenes say it."""
    ground: list[int] = field(default_factory=lambda: [2, 9])
    """Classes of the points that are ground; of ASPRS 2 is ground and 9 water."""
    outlier: list[int] = field(default_factory=lambda: [7, 18, 65])
    """Classes of points that are left out: low and high noise, and artefacts of IGN."""
    reach_m: float = 40.0
    """Metres to the nearest point of the ground up to which the ground is carried on, below houses
    and woods; beyond, there is no height. Half the width of the largest hall."""
    crs: str | None = None
    """CRS of clouds that do not say theirs, as EPSG:…"""

    def __post_init__(self) -> None:
        faults = Faults()
        for name in self.layers:
            if name not in LAYERS:
                faults.add(f"height.layers={name}: choose from {', '.join(LAYERS)}")
        if not self.layers:
            faults.add(f"height.layers=[]: choose from {', '.join(LAYERS)}")
        if len(set(self.layers)) < len(self.layers):
            faults.add(f"height.layers={self.layers}: a layer appears twice")
        if not SMALLEST <= self.resolution_m <= LARGEST:
            faults.add(
                f"height.resolution_m={self.resolution_m:g}: must be in {SMALLEST:g}..{LARGEST:g}"
            )
        if not 0 < self.reach_m <= FARTHEST:
            faults.add(
                f"height.reach_m={self.reach_m:g}: must be above 0, and {FARTHEST:g} at most"
            )
        for name in ("ground", "outlier"):
            codes = getattr(self, name)
            if not all(0 <= code <= 255 for code in codes):
                faults.add(f"height.{name}={codes}: classes of points are 0..255")
        if both := sorted(set(self.ground) & set(self.outlier)):
            faults.add(f"height.ground, height.outlier: {both} can't be both")
        if self.needs_ground and not self.ground:
            faults.add("height.ground=[]: ndsm and dtm need classes of the ground, as [2, 9]")
        faults.raise_if_any()

    @property
    def needs_ground(self) -> bool:
        return bool(set(self.layers) & set(OF_GROUND))

    @property
    def carried_m(self) -> float:
        """Metres that the ground is carried on; 0 where no height is wanted."""
        return self.reach_m if set(self.layers) & {*OF_GROUND, "dsm"} else 0.0
