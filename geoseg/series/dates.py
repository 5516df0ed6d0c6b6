"""Read dates from file names, tags, lists and settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.outputs.counted import first

FORMS = "YYYYMMDD, YYYYDDD, YYYY-MM-DD, YYYY-MM-DDTHH:MM:SS or DD.MM.YYYY"
_TIME = r"(?:[T _-]?(?P<H>\d\d)[:_-]?(?P<M>\d\d)(?:[:_-]?(?P<S>\d\d)(?:\.\d+)?)?)"
_ZONE = r"(?:Z|[+-]00:?00)?"
_DAY = r"(?P<y>\d{4})(?P<gap>[-_.:/]?)(?P<m>\d\d)(?P=gap)(?P<d>\d\d)"
_EXACT = (
    re.compile(rf"{_DAY}{_TIME}?{_ZONE}"),
    re.compile(r"(?P<y>\d{4})[-_.]?(?P<j>\d{3})"),
    # With points the day comes first wherever people write so; with slashes nobody knows.
    re.compile(r"(?P<d>\d\d?)\.(?P<m>\d\d?)\.(?P<y>\d{4})"),
)
_YEAR = r"(?<!\d)(?=19[5-9]|20)"
_WITHIN = (
    # A number of six or four digits behind a day is a time only if it could be one: else the
    # second expression takes the day alone.
    re.compile(rf"{_YEAR}{_DAY}{_TIME}(?!\d)"),
    re.compile(rf"{_YEAR}{_DAY}(?!\d)"),
    re.compile(rf"{_YEAR}(?P<y>\d{{4}})(?P<j>\d{{3}})(?!\d)"),
)


def parse(text: str) -> datetime | None:
    """The time that a text names and nothing else, midnight where it names a day; None if none."""
    for expression in _EXACT:
        match = expression.fullmatch(text.strip())
        when = match and _time(match)
        if when:
            return when
    return None


def find(name: str) -> datetime | None:
    """The first date within a file name, with the time where one follows it; None if none."""
    first: tuple[int, datetime] | None = None
    for expression in _WITHIN[:2]:
        for match in expression.finditer(name):
            when = _time(match)
            if when and (first is None or match.start() < first[0]):
                first = match.start(), when
    if first is None:
        for match in _WITHIN[2].finditer(name):
            if when := _time(match):
                return when
    return first[1] if first else None


def of_names(names: Sequence[str | None]) -> list[datetime] | None:
    """The dates that the bands of a file are called by; None if not each has one of its own."""
    found = [parse(name) or find(name) for name in names if name]
    times = [when for when in found if when is not None]
    one_each = len(times) == len(names) > 1 and len({t.date() for t in times}) == len(times)
    return times if one_each else None


def _time(match: re.Match[str]) -> datetime | None:
    parts = match.groupdict()
    try:
        if parts.get("j"):
            number = int(parts["j"])
            when = datetime(int(parts["y"]), 1, 1) + timedelta(number - 1)
            return when if number and when.year == int(parts["y"]) else None
        hour, minute, second = (int(parts.get(key) or 0) for key in "HMS")
        year, month, day = (int(parts[key]) for key in "ymd")
        return datetime(year, month, day, hour, minute, second)
    except (ValueError, OverflowError):
        return None


def listed(spec: Any) -> list[datetime]:
    """Dates of a text file with one per line, or of a list of dates.

    Raises: InputError with every line that isn't one.
    """
    if isinstance(spec, str | os.PathLike):
        path = Path(spec).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or "not a text file"
            raise InputError(
                f"series.dates={spec}: can't be read ({cause}); give a text file with a date per"
                " line, or a list of dates"
            ) from None
        rows: Iterable[tuple[str, Any]] = (
            (f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()
        )
    elif isinstance(spec, Iterable):
        rows = ((f"series.dates, entry {number}", value) for number, value in enumerate(spec, 1))
    else:
        rows = [("series.dates", spec)]
    faults, found = Faults(), []
    for place, value in rows:
        when = parse(str(value).strip().strip("\"'"))
        if when is None:
            faults.add(f"{place}: {str(value).strip()!r} is not a date; expected {FORMS}")
        else:
            found.append(when)
    faults.raise_if_any()
    return found


def some(days: Iterable[date], count: int = 5) -> str:
    """The first dates, for a note."""
    return first(sorted(days), count)
