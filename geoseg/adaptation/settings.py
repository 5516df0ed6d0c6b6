"""Settings of an adaptation."""

from __future__ import annotations

from dataclasses import dataclass, field

from geoseg.errors import Faults

INPUT, NORM = PARTS = ("input", "norm")
LEAST = 4
"""Windows by which statistics mean anything."""


@dataclass
class AdaptSettings:
    """What is measured anew in the other place."""

    parts: list[str] = field(default_factory=lambda: [INPUT, NORM])
    """input: mean and deviation by which each band is scaled; norm: mean and variance of the batch
    normalisation in all layers (AdaBN)."""
    share: float = 1.0
    """Share of the other place's statistics in what is written, 0..1; the rest is the training's.
    Less than 1 where it shows far fewer classes, or is small."""
    windows: int = 256
    """Windows that are looked at, at most, drawn evenly from all scenes."""

    def __post_init__(self) -> None:
        faults = Faults()
        for part in self.parts:
            if part not in PARTS:
                faults.add(f"adapt.parts={part}: choose from {', '.join(PARTS)}")
        if not self.parts:
            faults.add(f"adapt.parts=[]: choose from {', '.join(PARTS)}")
        if len(set(self.parts)) < len(self.parts):
            faults.add(f"adapt.parts={self.parts}: a part appears twice")
        if not 0 < self.share <= 1:
            faults.add(f"adapt.share={self.share:g}: must be above 0, and 1 at most")
        faults.at_least(self, "adapt.", windows=LEAST)
        faults.raise_if_any()
