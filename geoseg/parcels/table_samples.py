"""Make training samples from a labelled table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from geoseg.dataset.samples import Collected, Samples, pixels_path, save_array, save_days
from geoseg.errors import Faults, InputError
from geoseg.geo.legend import Legend, canonical
from geoseg.labels.settings import Labels
from geoseg.outputs.counted import counted, first
from geoseg.outputs.summary import Summary
from geoseg.parcels.observations import TILE, Observations, read_table
from geoseg.parcels.points import check_crs
from geoseg.parcels.table import LongTable, find_columns, load_table
from geoseg.scenes.fill_values import census_of, said_of_fill
from geoseg.scenes.stack import observed
from geoseg.series.settings import Series


def collect_table(
    given: LongTable,
    legend: Legend,
    folder: Path,
    *,
    labels: Labels,
    column: str | None = None,
) -> Collected:
    """Samples of a long table with labels, their observations written into the data set's folder.

    column: the one that a region- or year-out split goes by.
    Raises: InputError for unknown labels, samples with two labels, columns that are not there …
    """
    label, path, samples = labels.field or "label", given.path, given.samples
    frame = load_table(path, samples, text=[label])
    columns = find_columns([str(name) for name in frame.columns], samples)
    wanted = [label, *(columns[w] for w in ("x", "y", "group") if w in columns)]
    wanted += [column] if column and column not in wanted else []
    table = read_table(given, frame, wanted=wanted)
    summary = Summary()
    summary.notes(table.notes)
    for text in said_of_fill(str(path), census_of(table.values, table.bands)):
        summary.warn(text)
    codes, keep = _labels(table, label, legend, path, labels, summary)
    keep = _seen(table, keep, summary)
    for name in dict.fromkeys(name for name in (columns.get("group"), column) if name):
        if several := table.varying[name]:
            summary.warn(
                f"{path}: {name} changes within {counted(len(several), 'sample')}"
                f" ({first(several)}); that of the first date counts"
            )
    values, days = table.values[keep], table.days[keep]
    save_array(pixels_path(folder, TILE), values)
    save_days(folder, TILE, days)
    found = _samples(table, codes, keep, given=columns, column=column)
    _audit(found, values, days, given.series, summary)
    crs = samples.crs if {"x", "y"} <= set(columns) else None
    _check_places(path, found.x, found.y, crs)
    geometries = None
    if crs is not None:
        import shapely

        geometries = shapely.points(found.x, found.y)
    return Collected(found, geometries, crs, table.bands, values.dtype.name, table.reference, 0.0,
                     summary=summary)  # fmt: skip


def _seen(table: Observations, keep: np.ndarray, summary: Summary) -> np.ndarray:
    """Those to be kept (N,) that were observed at all: others are nothing to learn or judge by.

    Raises: InputError if there are none.
    """
    seen = np.asarray(observed(table.values).any(axis=(1, 2)))
    blind = table.ids[keep & ~seen].tolist()
    if len(blind) == keep.sum():
        raise InputError("no sample has a date on which its bands were observed")
    if len(blind):
        summary.warn(f"{counted(len(blind), 'sample')} never observed: left out: {first(blind)}")
    return keep & seen


def _samples(
    table: Observations,
    codes: np.ndarray,
    keep: np.ndarray,
    *,
    given: dict[str, str],
    column: str | None,
) -> Samples:
    """The samples that have a code, one row of pixels each."""
    ids, values = table.ids[keep], table.values[keep]
    text = np.vectorize(canonical, otypes=[object])

    known = {"code": codes[keep]}
    if {"x", "y"} <= set(given):
        known |= {xy: _place(table.attributes[given[xy]][keep], given[xy]) for xy in ("x", "y")}
    for what, name in (("group", given.get("group")), ("fold_by", column)):
        if name:
            known[what] = text(table.attributes[name][keep])
    return of_table(ids, observed(values).any(axis=2).sum(axis=1), **known)


def _place(values: np.ndarray, name: str) -> np.ndarray:
    """Coordinates (N,) as numbers. Raises: InputError naming the first that is none."""
    try:
        return values.astype(float)
    except (TypeError, ValueError):
        wrong = next((value for value in values.tolist() if not _is_number(value)), None)
        raise InputError(
            f"column {name}: {wrong!r} is no coordinate; write numbers with points, as 12.5, in the"
            " CRS of samples.crs"
        ) from None


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def of_table(ids: np.ndarray, clear: np.ndarray, **known: np.ndarray) -> Samples:
    """Samples of a table, each a pixel of its own, with what else is known of them."""
    count, nowhere = len(ids), np.full(len(ids), np.nan)
    tile = np.full(count, TILE, object)
    made = Samples(
        id=ids,
        tile=tile,
        split=np.full(count, "", object),
        code=np.zeros(count, np.int64),
        first=np.arange(count),
        pixels=np.ones(count, np.int64),
        group=ids,
        fold_by=tile,
        x=nowhere,
        y=nowhere,
        clear=clear.astype(float),
        shape=np.zeros((count, 4)),
    )
    return replace(made, **known)


def _check_places(path: str | Path, x: np.ndarray, y: np.ndarray, crs: str | None) -> None:
    """Raises: InputError for metres that are taken for degrees."""
    if crs is None:
        return
    check_crs(crs)
    import pyproj

    if not pyproj.CRS.from_user_input(crs).is_geographic:
        return
    far = np.nanmax(np.abs(np.stack([x, y])), initial=0)
    if far > 360:
        raise InputError(
            f"{path}: coordinates up to {far:g}, but samples.crs={crs} has degrees; set"
            " samples.crs=EPSG:<code of the coordinates>"
        )
    north = np.nanmax(np.abs(y), initial=0)
    if north > 90:
        raise InputError(
            f"{path}: latitudes up to {north:g}, where 90 is the pole: are the columns exchanged?"
            " x is the longitude, y the latitude; set samples.x and samples.y"
        )


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
    if mixed := table.varying[label]:
        faults.add(
            f"{path}: {counted(len(mixed), 'sample', 'have')} more than one {label}: {first(mixed)}"
        )
    lookup = legend.meanings()
    codes = np.array([lookup.get(value, 0) for value in said], np.int64)
    unknown = sorted({value for value, code in zip(said, codes, strict=True) if not code})
    if unknown and labels.unknown == "error":
        faults.add(
            f"{path}: {label} has {counted(len(unknown), 'value')} that the legend does not know"
            f" ({', '.join(value or 'no value' for value in unknown[:8])}); add them to a class's"
            " `values`, or set labels.unknown=unlabelled to leave such samples out"
        )
    faults.raise_if_any()
    if unknown:
        count = counted(int((codes == 0).sum()), "sample")
        summary.note(f"{count} left out, of {counted(len(unknown), 'other label')}")
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
        f"{counted(len(found), 'sample')}, up to {counted(rows, 'date')} each; observed dates"
        f" per sample: {least:.0f} at"
        f" least, {middle:.0f} in the middle, {most:.0f} at most"
    )
    if rows < 2:
        raise InputError("each sample has one date: a series needs at least two")
    fewest = series.fewest()
    if short := int((found.clear < fewest).sum()):
        summary.warn(
            f"{counted(short, 'sample', 'have')} fewer than series.min_clear={fewest} dates"
        )
