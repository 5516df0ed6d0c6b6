"""Count days of the year from a reference day."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import pairwise

from geoseg.errors import InputError

YEAR = 365
LATE = 60
"""Days by which a period may begin before the anchor that its days are counted from."""


def anchor(start: date, reference: str) -> date:
    """The day from which the days of a series are counted.

    start: first day of its period. reference: month and day, MM-DD; the anchor is the last such
    day on or before `start` + 60 days, so that a period that begins a little before it is not a
    year away. Raises: InputError if there is no such day.
    """
    month, day = month_day(reference)
    latest = start + timedelta(LATE)
    found = _of_year(latest.year, month, day)
    return found if found <= latest else _of_year(latest.year - 1, month, day)


def anchor_of(year: int, reference: str) -> date:
    """The day `reference`, MM-DD, of a year. Raises: InputError if there is no such day."""
    return _of_year(year, *month_day(reference))


def anchors(begins: Iterable[date], reference: str) -> dict[date, date]:
    """The anchor of each period by its first day; see `anchor`.

    Periods that begin at about the same time of the year, some a little before the 60 days and
    some after, are counted alike: not one from day 305 on and the other from day -60.
    """
    found = {begin: anchor(begin, reference) for begin in begins}
    days = sorted({(begin - zero).days for begin, zero in found.items()})
    if not days or days[-1] - days[0] <= YEAR - 2 * LATE:
        return found
    gaps = [after - before for before, after in pairwise(days)]
    cut = days[gaps.index(max(gaps))]
    if max(gaps) <= YEAR - (days[-1] - days[0]):
        return found
    return {
        begin: anchor_of(zero.year + 1, reference) if (begin - zero).days > cut else zero
        for begin, zero in found.items()
    }


def month_day(reference: str) -> tuple[int, int]:
    """Month and day of MM-DD. Raises: InputError if there is no such day."""
    if match := re.fullmatch(r"(\d{1,2})-(\d{1,2})", reference):
        month, day = int(match[1]), int(match[2])
        try:
            date(2000, month, day)
            return month, day
        except ValueError:
            pass
    raise InputError(f"series.reference={reference}: not a day of the year; give MM-DD, say 01-01")


def _of_year(year: int, month: int, day: int) -> date:
    """That day; 28 February for the 29th where there is none."""
    try:
        return date(year, month, day)
    except ValueError:
        return date(year, month, day - 1)
