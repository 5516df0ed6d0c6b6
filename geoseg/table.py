"""Tables: a long table of dated observations, one row per sample and date, as pixel arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.bands import Bands
from geoseg.collected import Collected
from geoseg.errors import Faults, InputError
from geoseg.labels import Labels
from geoseg.legend import Legend, canonical
from geoseg.output import replacing
from geoseg.samplesettings import SampleSettings
from geoseg.series import Series
from geoseg.seriesset import MISSING, Samples, observed, pixels_path, save_days
from geoseg.stack import anchor
from geoseg.summary import Summary

if TYPE_CHECKING:
    import pandas as pd

TILE = "table"
"""Name of the arrays that a table's observations become."""
SUFFIXES = (".csv", ".parquet", ".geoparquet", ".pq")
KNOWN = {
    "id": ("id", "sample_id"),
    "x": ("x", "lon", "longitude"),
    "y": ("y", "lat", "latitude"),
    "start": ("from", "start", "start_date"),
    "end": ("to", "end", "end_date"),
    "date": ("date", "timestamp", "time"),
}
"""What columns are called where the settings do not say it."""


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


def find_columns(names: Sequence[str], samples: SampleSettings) -> dict[str, str]:
    """What is known → the column that holds it: as the settings say, else by its usual name.

    Raises: InputError for columns that the settings name and the table lacks.
    """
    faults = Faults()
    lower = {name.lower(): name for name in reversed(list(names))}
    found: dict[str, str] = {}
    for what in (*KNOWN, "group"):
        said = getattr(samples, what)
        if said is None:
            usual = [lower[name] for name in KNOWN.get(what, ()) if name in lower]
            found |= {what: usual[0]} if usual else {}
        elif said in names:
            found[what] = said
        else:
            faults.add(f"samples.{what}={said}: no such column; there are {', '.join(names)}")
    faults.raise_if_any()
    return found


def read_table(
    path: str | Path,
    frame: pd.DataFrame | None = None,
    *,
    samples: SampleSettings,
    series: Series,
    bands: Bands,
    wanted: Sequence[str] = (),
) -> Observations:
    """Read a CSV or Parquet file with one row per sample and date.

    frame: its rows, where they were read before. wanted: further columns, for `attributes`.
    bands.order: the columns that are bands; by default all other columns of numbers.
    Raises: InputError with all faults: no such column, dates that are none, no band …
    """
    frame = load_table(path) if frame is None else frame
    names = [str(name) for name in frame.columns]
    faults = Faults()
    columns: dict[str, str] = {}
    with faults.collect():
        columns = find_columns(names, samples)
    for what in ("id", "date"):
        if what not in columns and getattr(samples, what) is None:
            faults.add(
                f"{path}: no column for the {what}; set samples.{what}=<one of {', '.join(names)}>"
            )
    for name in wanted:
        if name not in names:
            faults.add(f"{path}: no column {name}; it has {', '.join(names)}")
    faults.raise_if_any()
    chosen = _bands(frame, path, bands, [*columns.values(), *wanted])
    unnamed = frame[columns["id"]].isna()
    if unnamed.any():
        row = int(np.flatnonzero(unnamed)[0]) + 1
        raise InputError(f"{path}: row {row}: no {columns['id']}; each row must name its sample")
    frame = _within(_dated(frame, path, columns), path, series, columns)
    return _observations(frame, columns, chosen, bands=bands, series=series, wanted=wanted)


def load_table(path: str | Path) -> pd.DataFrame:
    """The rows of a CSV or Parquet file. Raises: InputError."""
    # Imported late: nobody should wait for it to see --help.
    import pandas as pd

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a table ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        table = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{path}: can't be read as a table ({cause})") from None
    if table.empty:
        raise InputError(f"{path}: no rows")
    return table


def _bands(
    frame: pd.DataFrame, path: str | Path, bands: Bands, others: Sequence[str]
) -> tuple[str, ...]:
    if bands.order:
        missing = [name for name in bands.order if name not in frame.columns]
        if missing:
            raise InputError(
                f"{path}: no column {', '.join(missing)}; it has"
                f" {', '.join(map(str, frame.columns))}; bands.order names those that are bands"
            )
        return tuple(bands.order)
    chosen = [str(n) for n in frame.select_dtypes("number").columns if str(n) not in others]
    if not chosen:
        raise InputError(f"{path}: no column of numbers that could be a band; set bands.order")
    return tuple(chosen)


def _dated(frame: pd.DataFrame, path: str | Path, columns: dict[str, str]) -> pd.DataFrame:
    """The table with its dates as such. Raises: InputError naming the first that is none."""
    import pandas as pd

    frame = frame.copy()
    for what in ("date", "start", "end"):
        if what not in columns:
            continue
        name = columns[what]
        said = frame[name]
        if said.dtype.kind in "iu":  # 20230517
            said = said.astype(str)
        dates = pd.to_datetime(said, errors="coerce", format="ISO8601")
        if dates.isna().any():
            row = int(np.flatnonzero(dates.isna())[0])
            raise InputError(
                f"{path}: row {row + 1}: {name}={frame[name].iloc[row]} is no date; expected"
                " YYYY-MM-DD or YYYYMMDD"
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


def _observations(
    frame: pd.DataFrame,
    columns: dict[str, str],
    chosen: tuple[str, ...],
    *,
    bands: Bands,
    series: Series,
    wanted: Sequence[str],
) -> Observations:
    import pandas as pd

    notes = []
    numbers, ids = pd.factorize(frame[columns["id"]])
    dates = frame[columns["date"]].to_numpy("datetime64[D]")
    order = np.lexsort((np.arange(len(frame)), dates, numbers))
    numbers, dates, frame = numbers[order], dates[order], frame.iloc[order]
    values = frame[list(chosen)].to_numpy()
    values = _coded(values, bands.nodata)
    same = (numbers[1:] == numbers[:-1]) & (dates[1:] == dates[:-1])
    if same.any():
        notes.append(
            f"{int(same.sum())} rows repeat a sample's date: the first counts, its gaps are filled"
        )
        values = _merge(values, same)
        keep = np.concatenate([[True], ~same])
        values, numbers, dates, frame = values[keep], numbers[keep], dates[keep], frame[keep]
    counts = np.bincount(numbers, minlength=len(ids))
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.arange(len(numbers)) - firsts[numbers]
    cube = np.full((len(ids), counts.max(), len(chosen)), MISSING[values.dtype.name], values.dtype)
    cube[numbers, place] = values
    said = columns["start"] if "start" in columns else columns["date"]
    starts = frame[said].to_numpy("datetime64[D]")[firsts]
    if "start" not in columns and series.start is not None:
        starts[:] = np.datetime64(series.start)
    reference = series.reference or str(starts.min())[5:]
    anchors = {start: np.datetime64(anchor(start.item(), reference)) for start in np.unique(starts)}
    zero = np.array([anchors[start] for start in starts], "datetime64[D]")
    days = np.zeros(cube.shape[:2], np.int16)
    days[numbers, place] = (dates - zero[numbers]).astype(np.int64)
    attributes = {name: frame[name].to_numpy()[firsts] for name in wanted}
    attributes |= {f"last {name}": frame[name].to_numpy()[firsts + counts - 1] for name in wanted}
    return Observations(
        np.array([canonical(i) for i in ids], dtype=object),
        cube,
        days,
        chosen,
        attributes,
        reference,
        tuple(notes),
    )


def _coded(values: np.ndarray, nodata: Any) -> np.ndarray:
    """Values (n, C) as uint16 where they are whole and fit, else float32; MISSING for nodata."""
    exact = values.astype(np.float64)
    if nodata is not None and nodata != "none":
        exact[exact == nodata] = np.nan
    elif values.dtype.kind in "iu":
        exact[exact == MISSING["uint16"]] = np.nan  # what 16-bit products write for nothing
    here = exact[np.isfinite(exact)]
    whole = not len(here) or (
        here.min() >= 0 and here.max() < MISSING["uint16"] and np.array_equal(here, np.rint(here))
    )
    dtype = "uint16" if whole else "float32"
    return np.where(np.isfinite(exact), exact, MISSING[dtype]).astype(dtype)


def _merge(values: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Rows with the gaps filled from those that follow and repeat their sample and date."""
    for row in np.flatnonzero(same)[::-1]:
        gap = ~observed(values[row])
        values[row, gap] = values[row + 1, gap]
    return values


def collect_table(
    path: str | Path,
    legend: Legend,
    folder: Path,
    *,
    samples: SampleSettings,
    series: Series,
    bands: Bands,
    labels: Labels,
    column: str | None = None,
) -> Collected:
    """Samples of a long table with labels, their observations written into the data set's folder.

    column: the one that a region- or year-out split goes by.
    Raises: InputError for unknown labels, samples with two labels, columns that are not there …
    """
    label = labels.field or "label"
    frame = load_table(path)
    given = find_columns([str(name) for name in frame.columns], samples)
    wanted = [label, *(given[w] for w in ("x", "y", "group") if w in given)]
    wanted += [column] if column and column not in wanted else []
    table = read_table(path, frame, samples=samples, series=series, bands=bands, wanted=wanted)
    summary = Summary()
    summary.notes(table.notes)
    codes, keep = _labels(table, label, legend, path, labels, summary)
    values, days = table.values[keep], table.days[keep]
    with (
        replacing(pixels_path(folder, TILE)) as temporary,
        temporary.open("wb") as file,
    ):
        np.save(file, values)
    save_days(folder, TILE, days)
    count = len(values)

    def attribute(what: str) -> np.ndarray:
        return table.attributes[given[what]][keep].astype(float)

    known = "x" in given and "y" in given
    x = attribute("x") if known else np.full(count, np.nan)
    y = attribute("y") if known else np.full(count, np.nan)
    ids = table.ids[keep]
    text = np.vectorize(canonical, otypes=[object])
    found = Samples(
        id=ids,
        tile=np.full(count, TILE, dtype=object),
        split=np.full(count, "", dtype=object),
        code=codes[keep],
        first=np.arange(count),
        pixels=np.ones(count, np.int64),
        group=text(table.attributes[given["group"]][keep]) if "group" in given else ids,
        fold_by=text(table.attributes[column][keep])
        if column
        else np.full(count, TILE, dtype=object),
        x=x,
        y=y,
        clear=observed(values).any(axis=2).sum(axis=1).astype(float),
        shape=np.zeros((count, 4)),
    )
    _audit(found, values, days, series, summary)
    geometries = None
    if known:
        import shapely

        geometries = shapely.points(x, y)
    crs = samples.crs if known else None
    return Collected(found, geometries, crs, table.bands, values.dtype.name, table.reference, 0.0,
                     summary)  # fmt: skip


def _labels(
    table: Observations,
    label: str,
    legend: Legend,
    path: str | Path,
    labels: Labels,
    summary: Summary,
) -> tuple[np.ndarray, np.ndarray]:
    """Code of each sample, and which samples have one."""
    faults = Faults()
    said = [canonical(value) for value in table.attributes[label]]
    last = [canonical(value) for value in table.attributes[f"last {label}"]]
    for name, first, other in zip(table.ids, said, last, strict=True):
        if first != other and len(faults.found) < 5:
            faults.add(f"{path}: sample {name} has two labels, {first} and {other}")
    lookup = legend.lookup()
    codes = np.array([lookup.get(value, 0) for value in said], np.int64)
    unknown = sorted({value for value, code in zip(said, codes, strict=True) if not code})
    if unknown and labels.unknown == "error":
        faults.add(
            f"{path}: {label} has {len(unknown)} values that the legend does not know"
            f" ({', '.join(unknown[:8])}); add them to a class's `values`, or set"
            " labels.unknown=unlabelled to leave such samples out"
        )
    faults.raise_if_any()
    if unknown:
        summary.note(f"{int((codes == 0).sum())} samples left out, of {len(unknown)} other labels")
    if not codes.any():
        raise InputError(f"{path}: no sample has a label that the legend knows")
    return codes, codes > 0


def _audit(
    found: Samples, values: np.ndarray, days: np.ndarray, series: Series, summary: Summary
) -> None:
    """Say how many dates there are, and which series are short."""
    rows = values.shape[1]
    least, middle, most = np.percentile(found.clear, (0, 50, 100))
    summary.note(
        f"{len(found)} samples, up to {rows} dates each; observed dates per sample: {least:.0f} at"
        f" least, {middle:.0f} in the middle, {most:.0f} at most"
    )
    if rows < 2:
        raise InputError("each sample has one date: a series needs at least two")
    short = int((found.clear < series.min_clear).sum())
    if short:
        summary.warn(f"{short} samples have fewer than series.min_clear={series.min_clear} dates")
