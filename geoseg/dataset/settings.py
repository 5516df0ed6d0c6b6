"""Settings of samples: how they lie in their file and which pixels are kept."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.errors import Faults

TINY = ("keep", "drop")


@dataclass
class SampleSettings:
    """Parcels, points or rows of a table: what their attributes mean."""

    id: str | None = None
    """Attribute with a unique name per sample; by default `id` if there is one, else
    the number of the feature in its file (FID)."""
    group: str | None = None
    """Attribute: samples of one value (a farm, a polygon) are never divided between splits."""
    x: str | None = None
    """Column with the x of points; by default x, lon or longitude."""
    y: str | None = None
    """Column with the y of points; by default y, lat or latitude."""
    crs: str = "EPSG:4326"
    """CRS of x and y."""
    start: str | None = None
    """Column with the first day of each sample's period; by default from, start or start_date."""
    end: str | None = None
    """Column with the day after each sample's period; by default to, end or end_date."""
    date: str | None = None
    """Column with the date of a table's row; by default date, timestamp or time."""
    buffer_m: float = 0.0
    """Metres along the parcels' edge, inside, that are left out: mixed pixels."""
    tiny: str = "keep"
    """keep or drop: what happens to parcels in which no pixel's centre lies; kept ones get every
    pixel that they touch."""
    max_pixels: int = 100
    """Pixels kept of a parcel, drawn at random; 0 = all."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.one_of(self, "samples.", tiny=TINY)
        faults.at_least(self, "samples.", buffer_m=0, max_pixels=0)
        faults.raise_if_any()
