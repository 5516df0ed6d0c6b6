"""SeriesCard: what a network for series expects, beside bands and scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.stack import anchor, anchor_of

MARGIN = 30
"""Days by which dates may lie outside those of the training: networks have seen their days moved
about."""


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
    masked: bool = False
    """Whether the training's images had masks of what is not clear."""

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Days of a filled series; None where the dates are taken as they are."""
        if self.fill != "linear":
            return None
        return tuple(range(self.first_day, self.last_day + self.step, self.step))

    def anchor(self, dates: Sequence[date] | np.ndarray, begin: date) -> date:
        """The day from which `dates` are counted, so that most get days that the training had.

        begin: first day of their period; of anchors that are as good, the usual one counts.
        """
        usual, given = anchor(begin, self.reference), np.asarray(dates, "datetime64[D]")
        if not len(given):
            return usual
        years = range(given.min().item().year - 1, given.max().item().year + 2)
        best, most = usual, self._count(given, usual)
        for year in years:
            other = anchor_of(year, self.reference)
            count = self._count(given, other)
            if count > most:
                best, most = other, count
        return best

    def _count(self, dates: np.ndarray, zero: date) -> int:
        days = (dates - np.datetime64(zero)).astype(int)
        return int(((self.first_day <= days) & (days <= self.last_day)).sum())

    def check_days(self, what: str, dates: np.ndarray, days: np.ndarray) -> None:
        """Raises: InputError if under half of the days are of the part of the year that was seen.

        what: whose they are. dates, days: (n,) datetime64[D], and the same counted from anchors.
        """
        near = (self.first_day - MARGIN <= days) & (days <= self.last_day + MARGIN)
        if not len(days) or near.mean() >= 0.5:
            return
        first = int(dates.argmin())
        zero: date = (dates[first] - np.timedelta64(int(days[first]), "D")).item()
        start, end = (zero + timedelta(day) for day in (self.first_day, self.last_day + 1))
        raise InputError(
            f"{what}: dates from {dates.min()} to {dates.max()} (days {days.min()} to {days.max()}"
            f" since {self.reference}), the model saw days {self.first_day} to {self.last_day}"
            f" (here {start} to {end - timedelta(1)}): {near.mean():.0%} of the dates lie there, at"
            f" least half must; give that part of the year: series.start={start} series.end={end},"
            " or train on such dates"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SeriesCard:
        shapes = {name: tuple(values[name]) for name in ("shape_mean", "shape_std")}
        return cls(**values | shapes)
