"""Settings of a calibration."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.errors import Faults
from geoseg.models.calibration import METHODS, TEMPERATURE


@dataclass
class CalibrationSettings:
    """How confidences are calibrated, and on what that is judged."""

    method: str = TEMPERATURE
    """temperature (one number, keeps every pixel's class), vector (a scale and an offset for each
    class, may change classes), or none: only measure."""
    block: int | None = None
    """Side in pixels, at most, of the blocks that are left out in turn; by default two windows."""
    pixels: int = 500_000
    """Labelled pixels that are looked at, at most; drawn alike from all blocks."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.one_of(self, "calibrate.", method=METHODS)
        if self.block is not None and self.block < 16:
            faults.add(f"calibrate.block={self.block}: must be at least 16 (pixels)")
        faults.at_least(self, "calibrate.", pixels=1000)
        faults.raise_if_any()
