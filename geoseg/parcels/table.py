"""Read the rows of long tables: files, columns and dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.dataset.settings import SampleSettings
from geoseg.errors import Faults, InputError
from geoseg.geo.legend import as_text
from geoseg.outputs.counted import counted, first
from geoseg.parcels.band_columns import (
    NAMELESS,
    bands_of,
    check_bands,
    is_numeric,
    said_of_names,
)
from geoseg.scenes.bands import Bands
from geoseg.series.settings import Series

if TYPE_CHECKING:
    import pandas as pd

GAPS = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "-"]
"""What stands for no value in a CSV."""
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""How a text in UTF-16 begins."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
DAY_FIRST = r"^(\d\d?)\.(\d\d?)\.(\d{4})$"
"""A day with points, which comes first wherever people write so."""
SHOWN = 20
"""Columns named in a message: some tables have one for each date and band."""
ZONE = r"([T ]\d[\d:.,]*) ?(?:Z|[+-]\d\d(?::?\d\d)?)$"
"""Where a written time ends and its time zone begins."""
SUFFIXES = (".csv", ".parquet", ".geoparquet", ".pq")
OF_IMAGES = ("masks", "mask_pattern", "mask_values", "pattern", "dates", "offset", "offset_from")
NAMING = ("names", "pattern", "extra")
"""Settings of bands that tell how files hold them."""
KNOWN = {
    "id": ("id", "sample_id"),
    "x": ("x", "lon", "longitude"),
    "y": ("y", "lat", "latitude"),
    "start": ("from", "start", "start_date"),
    "end": ("to", "end", "end_date"),
    "date": ("date", "timestamp", "time"),
    "group": ("group",),
}
"""What columns are called where the settings do not say it."""


def find_columns(names: Sequence[str], samples: SampleSettings) -> dict[str, str]:
    """What is known → the column that holds it: as the settings say, else by its usual name.

    Raises: InputError for columns that the settings name and the table lacks.
    """
    faults = Faults()
    lower = {name.lower(): name for name in reversed(list(names))}
    found: dict[str, str] = {}
    for what in KNOWN:
        said = getattr(samples, what)
        if said is None:
            usual = [lower[name] for name in KNOWN[what] if name in lower]
            found |= {what: usual[0]} if usual else {}
        elif said in names:
            found[what] = said
        else:
            faults.add(f"samples.{what}={said}: no such column; there are {first(names, SHOWN)}")
    faults.raise_if_any()
    return found


@dataclass(frozen=True)
class LongTable:
    """A CSV or Parquet file with one row per sample and date, and how it is read."""

    path: str | Path
    samples: SampleSettings
    """What its columns mean."""
    series: Series
    bands: Bands
    """bands.order: the columns that are bands; by default all other columns of numbers."""


@dataclass(frozen=True)
class Rows:
    """The rows of a table that count: bands are numbers, dates are days within the period."""

    frame: pd.DataFrame
    columns: dict[str, str]
    """What is known → the column that holds it."""
    bands: tuple[str, ...]
    """The columns that are bands."""
    notes: tuple[str, ...]

    def column(self, what: str) -> pd.Series:
        return self.frame[self.columns[what]]


def read_rows(table: LongTable, frame: pd.DataFrame | None, wanted: Sequence[str]) -> Rows:
    """The rows of a table, checked. frame, wanted: as in `observations.read_table`.

    Raises: InputError.
    """
    path, samples = table.path, table.samples
    _refuse_idle(table)
    frame = load_table(path, samples) if frame is None else frame
    names = [str(name) for name in frame.columns]
    faults = Faults()
    columns: dict[str, str] = {}
    with faults.collect():
        columns = find_columns(names, samples)
    wide = ", or give each date a row of its own (pandas.melt)" if len(names) > SHOWN else ""
    for what in ("id", "date"):
        if what not in columns and getattr(samples, what) is None:
            faults.add(
                f"{path}: no column for the {what}; set samples.{what}=<one of"
                f" {first(names, SHOWN)}>{wide if what == 'date' else ''}"
            )
    for name in wanted:
        if name not in names:
            faults.add(f"{path}: no column {name}; it has {first(names, SHOWN)}")
    faults.raise_if_any()
    chosen, values = bands_of(frame, path, table.bands, [*columns.values(), *wanted])
    frame = frame.assign(**dict(zip(chosen, values, strict=True)))
    unnamed = frame[columns["id"]].isna() | (frame[columns["id"]] == "")
    if unnamed.any():
        row = int(np.flatnonzero(unnamed)[0]) + 1
        raise InputError(f"{path}: row {row}: no {columns['id']}; each row must name its sample")
    frame[columns["id"]] = names_of(frame[columns["id"]])
    frame = _within(_dated(frame, path, columns), path, table.series, columns)
    notes = [
        f"series.{what}={getattr(table.series, what)}: passed over, as {columns[what]} holds the"
        " period of each sample"
        for what in ("start", "end")
        if what in columns and getattr(table.series, what)
    ]
    if not table.bands.order:
        known = [*columns.values(), *wanted]
        notes += check_bands(frame, path, columns, chosen)
        notes += said_of_names(frame, path, chosen, known)
    nameless = sum(NAMELESS.fullmatch(name) is not None for name in names if name not in chosen)
    if nameless:
        notes.append(f"{path}: {counted(nameless, 'column')} without a name left out")
    return Rows(frame, columns, chosen, tuple(notes))


def _refuse_idle(table: LongTable) -> None:
    """Raises: InputError for settings of images, which would be passed over."""
    faults = Faults()
    for room, given, keys in (("series", table.series, OF_IMAGES), ("bands", table.bands, NAMING)):
        usual = type(given)()
        for key in keys:
            if getattr(given, key) != getattr(usual, key):
                faults.add(
                    f"{room}.{key}={getattr(given, key)}: is for images; the values of a table are"
                    " taken as they are: leave it out"
                )
    faults.raise_if_any()


def names_of(column: pd.Series) -> np.ndarray:
    """Names of samples (n,) as text, one for 12, 12.0 and "12 ", as they are written later."""
    import pandas as pd

    numbers, values = pd.factorize(column)
    return np.array([as_text(value) for value in values], object)[numbers]


def load_table(
    path: str | Path, samples: SampleSettings | None = None, text: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows of a CSV or Parquet file. Raises: InputError.

    text: columns of a CSV that stay as they are written, as names of samples do: 007 is not 7.
    """
    # Imported late: nobody should wait for it to see --help.
    import pandas as pd

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a table ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".csv":
            table = _read_csv(path, samples or SampleSettings(), text)
        else:
            table = _with_index(pd.read_parquet(path), samples or SampleSettings())
    except UnicodeDecodeError as error:
        if path.read_bytes()[:2] in UTF_16:
            raise InputError(
                f"{path}: the text is UTF-16; save the table as UTF-8"
                " (iconv -f UTF-16 -t UTF-8 FILE > NEW.csv)"
            ) from None
        raise InputError(
            f"{path}: the text is not UTF-8 ({error.reason} at byte {error.start}); save the table"
            " as UTF-8 (iconv -f CP1252 -t UTF-8 FILE > NEW.csv, if it comes from Windows)"
        ) from None
    except (ValueError, OSError) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{path}: can't be read as a table ({cause})") from None
    if table.empty:
        raise InputError(f"{path}: no rows")
    return table


def _with_index(table: pd.DataFrame, samples: SampleSettings) -> pd.DataFrame:
    """The table of a Parquet file with its index as columns, as of df.set_index("id")."""
    names = [str(name) for name in table.index.names if name is not None]
    new = [name for name in names if name not in table.columns]
    known = find_columns([*new, *map(str, table.columns)], samples).values()
    if len(names) == 1 and set(new) - set(known) and is_numeric(table.index.to_series()):
        new = []  # row numbers that have a name
    left_out = [place for place, name in enumerate(table.index.names) if name not in new]
    if left_out:
        table = table.reset_index(level=left_out, drop=True)
    return table.reset_index() if new else table


def _read_csv(path: Path, samples: SampleSettings, text: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    header = [str(name) for name in pd.read_csv(path, nrows=0).columns]
    _check_header(path, header)
    known = find_columns(header, samples)
    verbatim = {known.get("id"), known.get("group"), *text} & set(header)
    # Rows that end in a comma would be moved by a column, as if they began with a number.
    width = _fields(path)
    beyond = [f"Unnamed: {place}" for place in range(len(header), width)]
    table = pd.read_csv(
        path,
        header=0,
        names=[*header, *beyond],
        dtype=dict.fromkeys(verbatim, str),
        keep_default_na=False,
        na_values={name: GAPS for name in (*header, *beyond) if name not in verbatim},
    )
    if table[beyond].notna().any(axis=None):
        raise InputError(
            f"{path}: its rows have {width} fields, and the first line {len(header)} names;"
            " name each column"
        )
    return table


def _fields(path: Path) -> int:
    """Fields of the first row of a CSV below its header; 0 = there is none."""
    import pandas as pd

    try:
        return int(pd.read_csv(path, header=None, skiprows=1, nrows=1).shape[1])
    except pd.errors.EmptyDataError:
        return 0


def _check_header(path: Path, header: list[str]) -> None:
    """Raises: InputError for a CSV of other separators, or in which two columns have one name."""
    import pandas as pd

    for mark, name in SEPARATORS.items():
        if len(header) == 1 and mark in header[0]:
            raise InputError(
                f"{path}: fields are parted by {name}; expected commas, and points in numbers"
            )
    written = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna()
    twice = written[written.duplicated()].unique()
    if len(twice):
        raise InputError(
            f"{path}: {', '.join(twice)}: more than one column of this name; each needs its own"
        )


def _dated(frame: pd.DataFrame, path: str | Path, columns: dict[str, str]) -> pd.DataFrame:
    """The table with its dates as such. Raises: InputError naming the first that is none."""
    import pandas as pd

    frame = frame.copy()
    for what in ("date", "start", "end"):
        if what not in columns:
            continue
        name = columns[what]
        said = frame[name]
        if said.dtype.kind in "iu":  # 20230517, 2023137
            said = said.astype(str)
        elif said.dtype.kind == "O":  # the day is that of the clock on the place
            said = said.astype(str).str.replace(ZONE, r"\1", regex=True)
            said = said.str.replace(
                DAY_FIRST, lambda found: f"{found[3]}-{found[2]:0>2}-{found[1]:0>2}", regex=True
            )
        dates = pd.to_datetime(said, errors="coerce", format="ISO8601")
        if said.dtype.kind not in "mM" and said.astype(str).str.fullmatch(r"\d{7}").all():
            dates = pd.to_datetime(said.astype(str), errors="coerce", format="%Y%j")
        if dates.isna().any():
            row = int(np.flatnonzero(dates.isna())[0])
            raise InputError(
                f"{path}: row {row + 1}: {name}={frame[name].iloc[row]} is no date; expected"
                " YYYY-MM-DD, YYYYMMDD, YYYYDDD or DD.MM.YYYY"
            )
        if dates.dt.tz is not None:
            dates = dates.dt.tz_localize(None)
        frame[name] = dates.dt.normalize()
    return frame


def _within(
    frame: pd.DataFrame, path: str | Path, series: Series, columns: dict[str, str]
) -> pd.DataFrame:
    """Rows within the period of each sample, or of the series."""
    import pandas as pd

    date = frame[columns["date"]]
    keep = pd.Series(True, index=frame.index)
    start = frame[columns["start"]] if "start" in columns else series.start
    end = frame[columns["end"]] if "end" in columns else series.end
    if start is not None:
        keep &= date >= (pd.Timestamp(start) if isinstance(start, str) else start)
    if end is not None:
        keep &= date < (pd.Timestamp(end) if isinstance(end, str) else end)
    if not keep.any():
        raise InputError(f"{path}: no row lies within its period; check series.start, series.end")
    return frame[keep]
