"""Entry: an image file of a series, with its date, place and band."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Entry:
    """An image file, or a band of one, at a date."""

    path: str
    when: datetime
    """Midnight where only the day is known."""
    tile: str | None
    """None where the pattern names no places."""
    band: str | None
    """That the file holds; None: as the file says."""
    number: int | None = None
    """Of the band of this date, in a file of many dates."""
    add: float = 0.0
    mask: str | None = None
    """Of the same product."""


@dataclass(frozen=True)
class Entries:
    """All that was found."""

    images: list[Entry]
    notes: list[str]
    products: bool = False
    """Whether they are Sentinel-2 products, which say their bands, nodata and offset."""
    masks: tuple[str, ...] = ()
    """Files, not yet matched to dates."""
