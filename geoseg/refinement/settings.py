"""Settings of a refinement."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.errors import Faults
from geoseg.models.settings import PRECISIONS

CHANNELS, LEARN, BOTH = "channels", "learn", "both"
WAYS = (LEARN, CHANNELS, BOTH)


@dataclass
class Refining:
    """How a network takes corrections in."""

    by: str = LEARN
    """learn (a few steps of training), channels (the network is shown the corrections, which needs
    one that was trained with fit.clicks=true), or both, one after the other."""
    steps: int = 12
    """Steps of training at most for each window; it ends before when all corrections there are
    right."""
    learning_rate: float = 0.01
    """Of these steps."""
    pull: float = 5.0
    """Weight of the old map, which holds what nobody corrected: higher, and less changes."""
    fade: int = 24
    """Pixels around a correction over which what learning changes fades, as a Gaussian (sigma):
    more for large objects; 0 = not, and a click can change what only looks alike."""
    others: bool = False
    """Let objects of a window change that no correction touches, too: where a map is bad, a click
    mends more so, and where it is good, it spoils more."""
    reach: int | None = None
    """Pixels around a correction beyond which nothing changes; by default half a window."""
    radius: int = 3
    """Pixels around a correction that count as corrected too, where the map had the same class."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:<n> or mps."""
    precision: str = "auto"
    """auto (bfloat16 where the hardware has it), 32, bf16 or 16."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.one_of(self, "refine.", by=WAYS)
        faults.at_least(self, "refine.", steps=0)
        faults.above_zero(self, "refine.", "learning_rate")
        faults.at_least(self, "refine.", pull=0)
        if self.reach is not None and self.reach < 1:
            faults.add(f"refine.reach={self.reach}: must be at least 1 pixel")
        faults.at_least(self, "refine.", fade=0, radius=0)
        faults.one_of(self, "refine.", precision=PRECISIONS)
        faults.raise_if_any()
