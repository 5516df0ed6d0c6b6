"""Which columns of a table are bands, and their values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.outputs.counted import first
from geoseg.scenes.bands import Bands, tells_clouds
from geoseg.series.masks import CLEAR_BANDS

if TYPE_CHECKING:
    import pandas as pd

NAMELESS = re.compile(r"Unnamed: \d+(\.\d+)?")
"""What pandas calls a column without a name: most often the row numbers that it wrote itself."""
FIRST = 1000
"""Rows that are looked at before all are."""
COUNTED = 16
"""Rows from which on whole numbers that go up by one from row to row are no accident."""


def said_of_names(
    frame: pd.DataFrame, path: str | Path, chosen: Sequence[str], others: Sequence[str]
) -> list[str]:
    """What is to be said of columns taken as bands though they are called as what tells clouds, and
    of those that are left out though some of their cells are numbers.

    others: columns that are known for something else.
    """
    notes = []
    if told := [name for name in chosen if tells_clouds(name)]:
        rest = ",".join(name for name in chosen if name not in told)
        notes.append(
            f"{path}: {', '.join(told)} taken as {'a band' if len(told) == 1 else 'bands'}, though"
            " called as what tells clouds, which is heeded in no table: leave out the rows that are"
            " not clear" + (f", and name the bands: bands.order=[{rest}]" if rest else "")
        )
    for name in map(str, frame.columns):
        if name in chosen or name in others or NAMELESS.fullmatch(name):
            continue
        cells = frame[name].dropna()
        numbers = 0.0 if cells.dtype.kind in "bmM" else _share_of_numbers(cells)
        if tells_clouds(name) or name.lower() in CLEAR_BANDS:
            notes.append(
                f"{path}: {name} left out, though called as what tells clouds, which is heeded in"
                " no table: leave out the rows that are not clear"
            )
        elif numbers > 0:
            strange = cells[_as_numbers(cells).isna()].iloc[0]
            notes.append(
                f"{path}: {name} left out: {numbers:.0%} of its cells are numbers, others text,"
                f" such as {strange}; if it is a band, write nothing where there is no value"
            )
    return notes


def bands_of(
    frame: pd.DataFrame, path: str | Path, bands: Bands, others: Sequence[str]
) -> tuple[tuple[str, ...], list[pd.Series]]:
    """Names and values of the columns that are bands, as numbers."""
    import pandas as pd

    names = _band_names(frame, path, bands, others)
    faults, values = Faults(), []
    for name in names:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        wrong = np.flatnonzero(numbers.isna() & frame[name].notna())
        if len(wrong):
            row = int(wrong[0])
            faults.add(f"{path}: row {row + 1}: {name}={frame[name].iloc[row]} is not a number")
        # Columns of pandas' own types hold NA, which numpy does not know.
        plain = numbers.to_numpy(np.float64, na_value=np.nan)
        values.append(pd.Series(plain, index=frame.index))
    faults.raise_if_any()
    return names, values


def _band_names(
    frame: pd.DataFrame, path: str | Path, bands: Bands, others: Sequence[str]
) -> tuple[str, ...]:
    if bands.order:
        missing = [name for name in bands.order if name not in frame.columns]
        if missing:
            raise InputError(
                f"{path}: no column {', '.join(missing)}; it has"
                f" {first(list(frame.columns), 20)}; bands.order names those that are bands"
            )
        return tuple(bands.order)
    rest = [str(n) for n in frame.columns if n not in others and not NAMELESS.fullmatch(str(n))]
    chosen = [name for name in rest if is_numeric(frame[name])]
    faults = Faults()
    for name in rest:
        if name not in chosen and _has_commas(frame[name]):
            faults.add(
                f"{path}: {name}={frame[name].dropna().iloc[0]}: a comma in a number; write decimal"
                " points and no thousands separators, or name the columns that are bands with"
                " bands.order"
            )
    faults.raise_if_any()
    if not chosen:
        raise InputError(f"{path}: no column of numbers that could be a band; set bands.order")
    return tuple(chosen)


def _has_commas(column: pd.Series) -> bool:
    """Whether a column of text would hold numbers if commas were decimal points."""
    return column.dtype.kind == "O" and is_numeric(
        column.dropna().astype(str).str.replace(",", ".", n=1, regex=False)
    )


def is_numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers, a few wrong cells not counted: they are to be named."""
    if column.dtype.kind in "iuf":
        return True
    if column.dtype.kind in "bmM":
        return False
    return _share_of_numbers(column.dropna()) > 0.5


def _share_of_numbers(cells: pd.Series) -> float:
    return float(_as_numbers(cells).notna().mean()) if len(cells) else 0.0


def _as_numbers(cells: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.to_numeric(cells, errors="coerce")


def check_bands(
    frame: pd.DataFrame, path: str | Path, columns: dict[str, str], chosen: Sequence[str]
) -> list[str]:
    """Refuse columns that say something of a sample, or only which date it is.

    Returns: what is to be said of those that may be meant so. Raises: InputError.
    """
    groups = frame.groupby(columns["id"], sort=False)
    if groups.size().max() < 2:
        return []
    counts = groups[list(chosen)].nunique()
    fixed = [column for column in chosen if counts[column].max() < 2]
    counters = [column for column in chosen if _counts_rows(frame[column])]
    days = frame[columns["date"]].dt
    parts = (days.day_of_year, days.month, days.year, days.day)
    calendar = [column for column in chosen if _tells_date(frame[column], parts)]
    odd = {"constant within each sample": fixed, "row numbers": counters}
    if len(calendar) < len(chosen):
        odd["only a part of the date"] = [c for c in calendar if c not in fixed + counters]
    rest = ",".join(column for column in chosen if not any(column in some for some in odd.values()))
    faults = Faults()
    for what, some in odd.items():
        if some:
            so, are = ("it is no band", "is") if len(some) == 1 else ("they are no bands", "are")
            faults.add(
                f"{path}: {', '.join(some)} {are} {what}, so {so}; name the bands:"
                f" bands.order=[{rest}]"
            )
    faults.raise_if_any()
    passed = [column for column in chosen if _counts_days(frame, column, columns)]
    if not passed or len(passed) == len(chosen):
        return []
    rest = ",".join(column for column in chosen if column not in passed)
    return [
        f"{path}: {', '.join(passed)} taken as a band, though its values are days from a start; if"
        f" it is none, name the bands: bands.order=[{rest}]"
    ]


def _counts_rows(column: pd.Series) -> bool:
    """Whether each value is one more than that of the row before."""
    return len(column) >= COUNTED and bool((np.diff(column.to_numpy()) == 1).all())


def _tells_date(column: pd.Series, parts: Sequence[pd.Series]) -> bool:
    """Whether a column is one of these parts of each row's date: day of the year, month …"""
    return len(column) >= COUNTED and any((column == part).all() for part in parts)


def _counts_days(frame: pd.DataFrame, name: str, columns: dict[str, str]) -> bool:
    """Whether a column counts days from a start, that of all or each sample's own."""

    def counts(rows: pd.DataFrame) -> bool:
        date, column = rows[columns["date"]], rows[name]
        first = date.groupby(rows[columns["id"]].to_numpy()).transform("min")
        own = column - (date - first).dt.days
        since = column - (date - date.min()).dt.days
        return bool(since.nunique() == 1 or own.isin((0, 1)).all())

    # Bands are told from days by the first rows.
    return len(frame) >= COUNTED and counts(frame.head(FIRST)) and counts(frame)
