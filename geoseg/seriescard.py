"""SeriesCard: what a network for series expects, beside bands and scaling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SeriesCard:
    """The part of a model card that only networks for series have."""

    unit: str
    """parcel, pixel or map: what the network gives a class to."""
    reference: str
    """Month and day that days are counted from."""
    first_day: int
    """First day of the training's observations; with `fill`, where the regular grid begins."""
    last_day: int
    fill: str
    """none, or linear: gaps filled on a regular grid of days."""
    step: int
    """Days between the dates of a filled series."""
    shape_mean: tuple[float, ...]
    """Of the logarithms of the shape features."""
    shape_std: tuple[float, ...]
    min_clear: int
    """Fewest clear dates for a decision."""
    buffer_m: float = 0.0
    """Metres left out along the inner edge of the parcels."""
    max_pixels: int = 100
    """Pixels kept of a parcel."""

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Days of a filled series; None where the dates are taken as they are."""
        if self.fill != "linear":
            return None
        return tuple(range(self.first_day, self.last_day + self.step, self.step))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SeriesCard:
        shapes = {name: tuple(values[name]) for name in ("shape_mean", "shape_std")}
        return cls(**values | shapes)
