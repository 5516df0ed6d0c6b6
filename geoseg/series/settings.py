"""Settings of a series of dated images."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.scenes.calendar import month_day
from geoseg.series import dates

DEMO_SERIES: dict[str, Any] = {
    "path": "data/demo/series/images",
    "pattern": r"S2_(?P<tile>[a-z]+)_(?P<date>\d{8})",
    "masks": "data/demo/series/masks",
}
"""What the demo's series is found with."""
DEMO_PARCELS = "data/demo/series/parcels.gpkg"
JANUARY = "01-01"
MIN_CLEAR = 3
"""Fewest clear dates for a decision, unless told otherwise."""
FILLS = ("none", "linear")
GROUPS = {"date", "band", "tile"}


@dataclass
class Series:
    """Where the dated images lie, how their dates are known, and which observations are clear."""

    path: Any = None
    """Folder (searched with all below it), glob or list of rasters or of Sentinel-2 products
    (.SAFE), or STAC (.json): a catalog, collection or saved search, or a Zarr or netCDF cube with a
    time dimension."""
    pattern: str | None = None
    """Regular expression over file names (over whole paths, if it holds a /) with the group
    `date`, and `band` where each band has its own file, and `tile` where there are several places;
    none = the date in the name, or the file's date tag."""
    masks: Any = None
    """Folder, glob or list of rasters that say, per date, which pixels are not clear."""
    mask_pattern: str | None = None
    """As `pattern`, for masks; none = `pattern` where it matches, else the date in the name."""
    mask_values: list[int] = field(default_factory=list)
    """Values of masks that mean not clear; empty = all but 0, and 0, 1, 3, 8, 9, 10, 11 for the
    scene classes of Sentinel-2."""
    dates: Any = None
    """Files that hold a date per band: text file with a date per line, or a list of dates; none =
    the dates that such bands are called by."""
    start: str | None = None
    """First day of the period, YYYY-MM-DD; none = the first date."""
    end: str | None = None
    """Day after the period, YYYY-MM-DD; none = all dates from `start`."""
    offset: float = 0.0
    """Added to all values: -1000 for Sentinel-2 of baseline 04.00 and later outside .SAFE."""
    offset_from: str | None = None
    """Day from which on `offset` is added, YYYY-MM-DD; none = to all dates."""
    reference: str | None = None
    """Month and day, MM-DD, from which days are counted; none = that of `start`, or else the
    first of January."""
    fill: str = "none"
    """none, or linear: gaps are interpolated, on a regular grid of days."""
    step: int = 10
    """Days between two dates of the regular grid of `fill`."""
    min_clear: int | None = None
    """Fewest clear dates for a decision; none = 3 (MIN_CLEAR), in prediction as in the training."""
    check: bool = True
    """Refuse dates in different units, and reflectance with and without Sentinel-2's offset of 1000
    mixed."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.one_of(self, "series.", fill=FILLS)
        if self.step < 1:
            faults.add(f"series.step={self.step}: must be at least 1 day")
        if self.min_clear is not None and self.min_clear < 1:
            faults.add(f"series.min_clear={self.min_clear}: must be at least 1 date")
        for key in ("pattern", "mask_pattern"):
            faults.attempt(_check_pattern, key, getattr(self, key))
        for key in ("start", "end", "offset_from"):
            with faults.collect():
                setattr(self, key, _iso(key, getattr(self, key)))
        if self.start and self.end and self.end <= self.start:
            faults.add(
                f"series.start={self.start}, series.end={self.end}: the period is empty; its end"
                " is the day after its last"
            )
        if self.offset_from and not self.offset:
            faults.add(f"series.offset_from={self.offset_from}: needs series.offset, say -1000")
        if self.reference is not None:
            faults.attempt(month_day, self.reference)
        faults.raise_if_any()

    def counted_from(self, begin: date | None = None) -> str:
        """Month and day, MM-DD, that days are counted from.

        begin: first day of the first sample's own period, where samples have such.
        """
        start = date.fromisoformat(self.start) if self.start else begin
        return self.reference or (f"{start:%m-%d}" if start else JANUARY)

    def fewest(self) -> int:
        """Fewest clear dates for a decision, if nobody says otherwise."""
        return MIN_CLEAR if self.min_clear is None else self.min_clear

    def settled(self) -> Series:
        """With what is none because it has a usual value."""
        return replace(self, min_clear=self.fewest())

    @property
    def period(self) -> tuple[date, date]:
        """First day and the day after the last, of all time where the settings name none."""
        start = date.fromisoformat(self.start) if self.start else date.min
        # Two days are left for sums with dates, which must not pass date.max.
        end = date.fromisoformat(self.end) if self.end else date.max - timedelta(2)
        return start, end


def _check_pattern(key: str, pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = set(re.compile(pattern).groupindex)
    except re.error as error:
        raise InputError(f"series.{key}={pattern}: not a regular expression ({error})") from None
    if unknown := groups - GROUPS:
        raise InputError(
            f"series.{key}={pattern}: group {', '.join(sorted(unknown))} unknown; groups are"
            " (?P<date>…), (?P<band>…) and (?P<tile>…)"
        )


def _iso(key: str, text: str | None) -> str | None:
    if text is None:
        return None
    when = dates.parse(str(text))
    if when is None:
        raise InputError(f"series.{key}={text}: not a date; give YYYY-MM-DD")
    return when.date().isoformat()
