"""Arrange the observations of a table's samples as one array of values and one of days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.errors import InputError
from geoseg.outputs.counted import counted, first
from geoseg.parcels.table import LongTable, Rows, read_rows
from geoseg.scenes.bands import Bands
from geoseg.scenes.calendar import anchors
from geoseg.scenes.fill_values import partial_note
from geoseg.scenes.stack import MISSING, observed
from geoseg.series import offset
from geoseg.series import units as unitmix

if TYPE_CHECKING:
    import pandas as pd

TILE = "table"
"""Name of the arrays that a table's observations become."""
SEASON = np.timedelta64(183, "D")
"""Samples whose seasons seem to begin further apart are of different years."""


@dataclass(frozen=True)
class Observations:
    """The observations of N samples, each with dates of its own."""

    ids: np.ndarray
    """(N,) text, in the order in which they come in the table."""
    values: np.ndarray
    """(N, T, C) uint16 or float32, MISSING where there is none; a sample's dates come first."""
    days: np.ndarray
    """(N, T) int16 since each sample's anchor."""
    bands: tuple[str, ...]
    attributes: dict[str, np.ndarray]
    """(N,) of each column that was asked for, from a sample's first row."""
    reference: str
    notes: tuple[str, ...]
    varying: dict[str, tuple[str, ...]]
    """Of each column that was asked for, the samples in which it changes."""


def read_table(
    table: LongTable, frame: pd.DataFrame | None = None, *, wanted: Sequence[str] = ()
) -> Observations:
    """Read the observations of a table.

    frame: its rows, where they were read before. wanted: further columns, for `attributes`.
    Raises: InputError with all faults: no such column, dates that are none, no band …
    """
    rows = read_rows(table, frame, wanted)
    try:
        return _observations(rows, table, wanted)
    except OverflowError as error:
        raise InputError(f"{table.path}: {error}") from None


def _observations(rows: Rows, table: LongTable, wanted: Sequence[str]) -> Observations:
    import pandas as pd

    series, notes = table.series, []
    numbers, ids = pd.factorize(rows.column("id"))
    dates = rows.column("date").to_numpy("datetime64[D]")
    order = np.lexsort((np.arange(len(dates)), dates, numbers))
    same = (np.diff(numbers[order]) == 0) & (dates[order][1:] == dates[order][:-1])
    given = rows.frame[list(rows.bands)].to_numpy(np.float64)[order]
    notes += _said_of_full(given, rows.bands, table)
    values = _coded(given, table.bands.nodata)
    if same.any():
        notes.append(
            f"{counted(int(same.sum()), 'row', 'repeat')} a sample's date: the first counts, its"
            " gaps are filled" + _said_of_pixels(values, same)
        )
        values = _merge(values, same)
        first_of_date = np.concatenate([[True], ~same])
        values, order = values[first_of_date], order[first_of_date]
    numbers, dates, frame = numbers[order], dates[order], rows.frame.iloc[order]
    counts = np.bincount(numbers, minlength=len(ids))
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.arange(len(numbers)) - firsts[numbers]
    _check_periods(rows, table.path, frame, firsts, numbers, ids)
    values, said = _whole(values, table.bands)
    if series.check:
        days_, parts = _by_date(values, dates)
        unitmix.check(*_brightness(days_, parts), values.dtype.name)
        unit = offset.unit_of(values)
        bands = _reflecting(values, offset.GAP * unit)
        offset.check_rows(str(table.path), days_, parts, bands, unit=unit)
    cube = np.full(
        (len(ids), counts.max(), values.shape[1]), MISSING[values.dtype.name], values.dtype
    )
    cube[numbers, place] = values
    if "start" in rows.columns:
        starts = frame[rows.columns["start"]].to_numpy("datetime64[D]")[firsts]
    elif series.start is not None:
        starts = np.full(len(ids), series.start, "datetime64[D]")
    else:
        starts = _starts(dates, firsts, counts)
    reference = series.reference or str(starts.min())[5:]
    days = np.zeros(cube.shape[:2], np.int16)
    days[numbers, place] = _since(dates, starts, numbers, reference)
    return Observations(
        np.asarray(ids, object),
        cube,
        days,
        rows.bands,
        {name: frame[name].to_numpy()[firsts] for name in wanted},
        reference,
        (*notes, *said, *rows.notes),
        {name: _varying(frame[name], firsts, numbers, ids) for name in wanted},
    )


def _check_periods(
    rows: Rows,
    path: str | Path,
    frame: pd.DataFrame,
    firsts: np.ndarray,
    numbers: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Raises: InputError for samples with several periods, as one place has that is known of
    several years: they would become one series of them all."""
    for what in ("start", "end"):
        if what not in rows.columns:
            continue
        name = rows.columns[what]
        if several := _varying(frame[name], firsts, numbers, ids):
            raise InputError(
                f"{path}: {counted(len(several), 'sample', 'have')} several periods ({name}):"
                f" {first(several)}; give each period an id of its own, say 7_2021, and keep the"
                " place together by samples.group=<column with the present ids>"
            )


def _since(
    dates: np.ndarray, starts: np.ndarray, numbers: np.ndarray, reference: str
) -> np.ndarray:
    """Days (n,) of dates since the reference day of the period of their sample.

    starts: of each sample's period. numbers: of each date's sample.
    Raises: OverflowError for a century.
    """
    zeros = anchors({start.item() for start in np.unique(starts)}, reference)
    zero = np.array([zeros[start.item()] for start in starts], "datetime64[D]")
    since: np.ndarray = (dates - zero[numbers]).astype(np.int64)
    if np.abs(since).max() > np.iinfo(np.int16).max:
        raise OverflowError(
            f"dates from {dates.min()} to {dates.max()}: a series may span 80 years at most"
        )
    return since


def _whole(values: np.ndarray, bands: Bands) -> tuple[np.ndarray, list[str]]:
    """Rows (n, C) that count: those with all bands, or with any, and what is to be said."""
    seen = observed(values)
    some = seen.any(axis=1) & ~seen.all(axis=1)
    if not some.any():
        return values, []
    if not bands.partial:
        values = values.copy()
        values[some] = MISSING[values.dtype.name]
    share = some.sum() / seen.any(axis=1).sum()
    return values, [partial_note("table", share, bool(bands.partial), what="rows")]


def _by_date(values: np.ndarray, dates: np.ndarray) -> tuple[list[date], list[np.ndarray]]:
    """The dates of rows (n, C), and the rows of each, real numbers, NaN where there is none."""
    days, place = np.unique(dates, return_inverse=True)
    order = np.argsort(place, kind="stable")
    parts = np.split(values[order], np.cumsum(np.bincount(place))[:-1])
    return days.tolist(), [np.where(observed(part), part, np.float32("nan")) for part in parts]


def _brightness(
    days: list[date], parts: list[np.ndarray]
) -> tuple[list[str], list[date], np.ndarray]:
    """Of each date: what it is called, its day and how bright its rows (n, C) are."""
    bright = [unitmix.levels(part.T[None], np.isnan(part).T[None])[0] for part in parts]
    return [TILE] * len(days), days, np.array(bright)


def _reflecting(values: np.ndarray, least: float) -> list[int]:
    """Bands of rows (n, C) that reach so high that they may be reflectances, as indices of -1 to 1
    are not among reflectances × 10,000."""
    seen = observed(values)
    return [
        c
        for c in range(values.shape[1])
        if seen[:, c].any() and np.percentile(values[seen[:, c], c], 98) >= least
    ]


def _starts(dates: np.ndarray, firsts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The day on which the season of each sample began, (N,) datetime64.

    Not a sample's first date: that may come late, after months of clouds. All seasons being as
    long as most are, the middle of a sample's dates says when its season began; those that seem
    to begin within half a year of each other began on the first date of them all.
    """
    lasts = firsts + counts - 1
    length = np.median((dates[lasts] - dates[firsts]).astype(np.int64))
    middle = dates[firsts] + (dates[lasts] - dates[firsts]) // 2
    guess = middle - np.timedelta64(int(length / 2), "D")
    order = np.argsort(guess)
    found = np.empty_like(guess)
    begin = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or guess[order[end]] - guess[order[begin]] > SEASON:
            season = order[begin:end]
            found[season] = dates[firsts[season]].min()
            begin = end
    return found


def _varying(
    column: pd.Series, firsts: np.ndarray, numbers: np.ndarray, ids: np.ndarray
) -> tuple[str, ...]:
    """The samples in which a column holds more than one value."""
    import pandas as pd

    codes, _ = pd.factorize(column)
    other = np.unique(numbers[codes != codes[firsts][numbers]])
    return tuple(str(ids[number]) for number in other)


def _coded(values: np.ndarray, nodata: Any) -> np.ndarray:
    """Values (n, C) as uint16 where they are whole and fit, else float32; MISSING for nodata."""
    exact = values.astype(np.float64)
    if nodata is None:
        # What 16-bit products write for nothing; among real numbers it is a number.
        exact[(exact == MISSING["uint16"]) & _whole_bands(exact)] = np.nan
    elif nodata != "none":
        exact[exact == nodata] = np.nan
    here = exact[np.isfinite(exact)]
    whole = not len(here) or (
        here.min() >= 0 and here.max() < MISSING["uint16"] and np.array_equal(here, np.rint(here))
    )
    dtype = "uint16" if whole else "float32"
    return np.where(np.isfinite(exact), exact, MISSING[dtype]).astype(dtype)


def _whole_bands(values: np.ndarray) -> np.ndarray:
    """Which bands (C,) of values (n, C) hold whole numbers only."""
    whole: np.ndarray = (np.isnan(values) | (values == np.rint(values))).all(axis=0)
    return whole


def _said_of_full(values: np.ndarray, bands: tuple[str, ...], table: LongTable) -> list[str]:
    """What is to be said of 65535 among numbers with decimals (n, C), as means of pixels have."""
    full = MISSING["uint16"]
    held = (values == full).any(axis=0) & ~_whole_bands(values)
    if table.bands.nodata is not None or not held.any():
        return []
    names = ", ".join(name for name, one in zip(bands, held, strict=True) if one)
    count = int((values[:, held] == full).any(axis=1).sum())
    return [
        f"{table.path}: {full:g} stands in {counted(count, 'row')} of {names} among numbers with"
        " decimals, where it counts as a value; if it means nodata, set"
        f" bands.nodata={full:g}"
    ]


def _said_of_pixels(values: np.ndarray, same: np.ndarray) -> str:
    """What is to be added of repeated rows (n, C) that say something else, as a parcel's pixels."""
    both = observed(values)[1:] & observed(values)[:-1]
    others = int((same & ((values[1:] != values[:-1]) & both).any(axis=1)).sum())
    if not others:
        return ""
    return (
        f"; {others} of them with other values: if they are pixels of one parcel, give each pixel"
        " an id of its own, and name the parcel's column in samples.group"
    )


def _merge(values: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Rows with the gaps filled from those that follow and repeat their sample and date."""
    for row in np.flatnonzero(same)[::-1]:
        gap = ~observed(values[row])
        values[row, gap] = values[row + 1, gap]
    return values
