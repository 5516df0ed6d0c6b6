"""Describe what a network for series has seen: its days, its parcels, its masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from geoseg.dataset.samples import UNITS
from geoseg.errors import Faults, InputError
from geoseg.received import fields
from geoseg.scenes.calendar import anchor, anchor_of

MARGIN = 30
"""Days by which dates may lie outside those of the training: networks have seen their days moved
about."""
FEW = 0.05
"""Share of the dates that may lie farther outside without a word."""
FARTHEST = 36_600
"""Days from the reference at most: a century is no series."""


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
    mask_values: tuple[int, ...] = ()
    """What meant not clear in masks that were given (series.masks); empty = all but 0, or none."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.one_of(self, "series.", unit=UNITS, fill=("none", "linear"))
        faults.attempt(anchor_of, 2001, self.reference)
        if not -FARTHEST <= self.first_day <= self.last_day <= FARTHEST:
            faults.add(f"series: days {self.first_day} to {self.last_day}, expected a period")
        if not 1 <= self.step <= FARTHEST:
            faults.add(f"series.step={self.step}: must be at least 1 day")
        for name in ("min_clear", "max_pixels", "buffer_m"):
            if not 0 <= getattr(self, name) < math.inf:
                faults.add(f"series.{name}={getattr(self, name)}: must not be negative")
        shapes = (*self.shape_mean, *self.shape_std)
        if len(self.shape_mean) != len(self.shape_std) or len(self.shape_std) not in (0, 4):
            faults.add("series: shape_mean and shape_std: expected 4 values each, or none")
        if not all(map(math.isfinite, shapes)) or any(std < 0 for std in self.shape_std):
            faults.add("series: shape_mean and shape_std: not finite, or a negative deviation")
        faults.raise_if_any()

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Days of a filled series; None where the dates are taken as they are."""
        return self.days if self.fill == "linear" else None

    @property
    def days(self) -> tuple[int, ...]:
        """Days of a regular grid over the period of the training."""
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
        near = self._is_near(days)
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

    def said_of_days(self, what: str, dates: np.ndarray, days: np.ndarray) -> list[str]:
        """What is to be said of dates of which the training had none, as those of a second year.

        what, dates, days: as of `check_days`.
        """
        far = ~self._is_near(days)
        if not len(days) or far.mean() <= FEW:
            return []
        zeros = np.unique(dates - days.astype("timedelta64[D]"))
        here, remedy = "", "leave them out"
        if len(zeros) == 1:
            first, last = (
                zeros[0] + np.timedelta64(d, "D") for d in (self.first_day, self.last_day)
            )
            here = f", here {first} to {last}"
            remedy += f": series.start={first} series.end={last + np.timedelta64(1, 'D')}"
        return [
            f"{what}: {far.mean():.0%} of the dates ({dates[far].min()} to {dates[far].max()}) lie"
            f" outside the part of the year that the model saw (days {self.first_day} to"
            f" {self.last_day} since {self.reference}{here}), and are seen as further dates of the"
            f" same season; {remedy}"
        ]

    def _is_near(self, days: np.ndarray) -> np.ndarray:
        return (self.first_day - MARGIN <= days) & (days <= self.last_day + MARGIN)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, values: Any) -> SeriesCard:
        """Raises: InputError with all that is wrong."""
        fields.check(cls, values, "series")
        shapes = {name: tuple(values[name]) for name in ("shape_mean", "shape_std")}
        return cls(**values | shapes | {"mask_values": tuple(values.get("mask_values", ()))})
