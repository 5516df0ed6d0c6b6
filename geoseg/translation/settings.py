"""Settings of the translation of images."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.errors import Faults

STEP = 4
"""Sides of windows are multiples of this: the network halves them twice."""


@dataclass
class TranslateSettings:
    """How a pair of networks learns to show scenes of one archive as those of another."""

    steps: int = 1000
    """Steps of training; 0 = only mean and deviation of each band are brought to the other's, with
    no network at all: nothing is invented then."""
    patch: int = 64
    """Side in pixels of the patches that it learns from."""
    batch: int = 2
    """Patches of each archive in a step."""
    width: int = 16
    """Channels of the first layer; 64 in the paper, and ten times as slow."""
    cycle: float = 10.0
    """What a patch that does not come back from there and back again counts, beside its look."""
    identity: float = 2.0
    """What it counts if a patch of the other archive does not stay as it is."""
    learning_rate: float = 0.0005
    """In the first half of the steps; then it falls to nothing."""
    windows: int = 256
    """Windows of each archive of twice the patch that are read, at most, and kept in memory."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or mps."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.patch < 32 or self.patch % STEP:
            faults.add(
                f"translate.patch={self.patch}: must be a multiple of {STEP}, of 32 pixels at least"
            )
        for name, least in (("steps", 0), ("batch", 1), ("width", 4), ("windows", 4)):
            value = getattr(self, name)
            if value < least:
                faults.add(f"translate.{name}={value}: must be at least {least}")
        for name in ("cycle", "identity"):
            if getattr(self, name) < 0:
                faults.add(f"translate.{name}={getattr(self, name):g}: must not be negative")
        if not 0 < self.learning_rate <= 0.1:
            faults.add(
                f"translate.learning_rate={self.learning_rate:g}: must be above 0, and 0.1 at most"
            )
        faults.raise_if_any()
