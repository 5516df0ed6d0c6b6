"""Predict the class of each sample of a long table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.dataset.samples import pixels_path, save_array, save_days
from geoseg.errors import InputError
from geoseg.geo.legend import NODATA, Legend
from geoseg.maps.folder import DONE, NAME
from geoseg.models import suitability
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted, first
from geoseg.outputs.csv_cells import write_csv
from geoseg.outputs.files import clearing
from geoseg.outputs.lock import alone
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.parcels.classify import (
    Classifier,
    Decisions,
    Dissimilarity,
    check_asked,
    decide,
    settings_of,
)
from geoseg.parcels.observations import TILE, Observations, read_table
from geoseg.parcels.table import SHOWN, LongTable, find_columns, load_table, names_of
from geoseg.parcels.table_samples import of_table
from geoseg.prediction.driver import Output
from geoseg.prediction.record import Record
from geoseg.prediction.series import settled
from geoseg.scenes.fill_values import census_of, said_of_fill
from geoseg.scenes.stack import observed

if TYPE_CHECKING:
    from geoseg.models.card import ModelCard
    from geoseg.prediction.network import TrainedNetwork

CLASSES = "series.csv"
WORK = ".pixels"
"""Folder for the observations, until all is done."""
PRODUCTS = (CLASSES, NAME, WORK)
HEADER = ("id", "code", "name", "confidence", "code2", "name2", "confidence2", "clear")
NOVELTY_HEADER = ("dissimilarity", "novel")
"""Further columns, with predict.layers=[confidence,novelty]."""
ROWS = 2**14
"""Samples whose observations are looked at in one go."""


@alone("predict", "out")
def predict_table(
    network: TrainedNetwork,
    table: LongTable,
    out: str | Path,
    *,
    threshold: float = 0.0,
    overwrite: bool = False,
) -> Summary:
    """Write series.csv with a row for each sample of a CSV or Parquet file.

    A sample of less confidence than `threshold`, or of fewer clear dates than series.min_clear,
    gets no class. An output that is made of the same file with the same settings stays.
    Returns: what was done, as a text for people.
    Raises: InputError if a band of the model is missing, the values are in other units …
    """
    out, card, begin = Path(out), network.card, time.perf_counter()
    assert card.series is not None
    check_asked(card.series, threshold, "give dated images instead: series.path=…")
    table = _as_trained(table, card)
    min_clear = table.series.fewest()
    settings = {
        **{"model": network.hash, "table": str(table.path)},
        **_claimed(table),
        **settings_of(network, threshold),
    }
    with clearing(out, PRODUCTS[:-1]):
        if not Path(table.path).is_file():
            raise InputError(f"table={table.path}: no such file; give a CSV or Parquet file")
        output = Output(out, network.hash, settings, PRODUCTS, [fingerprint(table.path)])
        record = output.take(overwrite=overwrite)
        if record.is_written(CLASSES):
            return Summary.of_note(
                f"{out}: already made of this table with these settings; nothing to do"
            )
        seen, every, warnings = _read(table, card)
        warnings += _check_range(table.path, seen, card)
    try:
        made, far = _decide(network, seen, out / WORK, threshold=threshold, min_clear=min_clear)
        _write(out / CLASSES, seen.ids, every, _rows(made, far, card.legend))
    finally:
        shutil.rmtree(out / WORK, ignore_errors=True)
    seconds = time.perf_counter() - begin
    _note(record, len(every), seconds, warnings)
    summary = Summary()
    summary.notes(seen.notes)
    for text in warnings:
        summary.warn(text)
    _tell(summary, made, far, card.legend, len(every))
    speed = f"{len(every) / seconds:.0f} per second"
    summary.note(f"{counted(len(every), 'sample')} in {seconds:.1f} s ({speed})")
    summary.note(f"classes: {out / CLASSES}")
    return summary


def _note(record: Record, count: int, seconds: float, warnings: list[str]) -> None:
    """Record that all is done."""
    record.table = {
        "status": DONE,
        "samples": count,
        "seconds": round(seconds, 3),
        "notes": warnings,
        "samples_per_second": round(count / seconds, 1),
    }
    record.files = stamps(record.out, [record.out / CLASSES])
    record.save()


def _as_trained(table: LongTable, card: ModelCard) -> LongTable:
    """The table with the bands of a model, and what it does not say as in its training."""
    bands = table.bands
    nodata = card.nodata if bands.nodata is None else bands.nodata
    partial = card.partial if bands.partial is None else bands.partial
    bands = replace(bands, order=list(card.bands), nodata=nodata, partial=partial)
    return replace(table, series=settled(table.series, card), bands=bands)


def _claimed(table: LongTable) -> dict[str, Any]:
    """How a table is read, in the output's record."""
    bands = table.bands
    return {
        "series": asdict(table.series),
        "samples": asdict(table.samples),
        "nodata": None if bands.nodata is None else str(bands.nodata),
        "partial": bands.partial,
    }


def _read(given: LongTable, card: ModelCard) -> tuple[Observations, list[str], list[str]]:
    """Observations, the ids of all samples, those without a row in the period too, and what must
    be known of the dates."""
    path = given.path
    frame = load_table(path, given.samples)
    names = [str(name) for name in frame.columns]
    missing = [band for band in card.bands if band not in names]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; the model wants {', '.join(card.bands)}, the"
            f" table has {first(names, SHOWN)}; name its columns as in the training"
        )
    columns = find_columns(names, given.samples)
    assert card.series is not None
    given = replace(given, series=replace(given.series, reference=card.series.reference))
    # The columns of dates come along: they tell what days are counted from.
    wanted = [columns["date"]] if "date" in columns else []
    table = read_table(given, frame, wanted=wanted)
    table, said = _dated(path, table, card, table.attributes[columns["date"]])
    return table, list(dict.fromkeys(names_of(frame[columns["id"]]).tolist())), said


def _dated(
    path: str | Path, table: Observations, card: ModelCard, first: np.ndarray
) -> tuple[Observations, list[str]]:
    """The table with days as in the training, and what must be known of them.

    first: (N,) date of each sample's first row. Samples of one season are counted from one day.
    Raises: InputError if the network has not seen the part of the year of most rows.
    """
    assert card.series is not None
    zero = np.asarray(first, "datetime64[D]") - table.days[:, 0].astype("timedelta64[D]")
    there = np.concatenate([observed(part).any(axis=2) for part in _parts(table.values)])
    dates = zero[:, None] + table.days.astype("timedelta64[D]")
    days = table.days.copy()
    for usual in np.unique(zero):
        mine = zero == usual
        best = card.series.anchor(dates[mine][there[mine]], usual.item())
        days[mine] += np.int16((usual - np.datetime64(best)).astype(int))
    given = str(path), dates[there], days[there].astype(int)
    card.series.check_days(*given)
    return replace(table, days=days), card.series.said_of_days(*given)


def _check_range(path: str | Path, table: Observations, card: ModelCard) -> list[str]:
    """What must be known of the values.

    Raises: InputError if they are in other units than those of the training.
    """
    census = census_of(table.values, table.bands, card.statistics)
    fill, notes = census.found(), said_of_fill(str(path), census)
    held = []
    for band in range(len(table.bands)):
        values = table.values[..., band]
        none = [one.value for one in fill.get(table.bands[band], ())]
        seen = values[observed(values) & ~np.isin(values, none)]
        if not len(seen):
            return notes
        held.append(seen)
    # Not the largest: clouds that nobody has left out are brighter than any field.
    highs = [float(np.percentile(seen, 98)) for seen in held]
    suitability.check_units(str(path), table.values.dtype.name, highs, card, usual=highs)
    return notes + suitability.said_of_light(str(path), held, card)


def _decide(
    network: TrainedNetwork, table: Observations, folder: Path, *, threshold: float, min_clear: int
) -> tuple[Decisions, Dissimilarity | None]:
    """Classes of the samples that were observed, and how dissimilar they are if that is asked."""
    save_array(pixels_path(folder, TILE), table.values)
    save_days(folder, TILE, table.days)
    clear = [observed(part).any(axis=2).sum(axis=1) for part in _parts(table.values)]
    found = of_table(table.ids, np.concatenate(clear))
    given = np.concatenate(list(Classifier(network).probabilities(folder, found)))
    given[found.clear == 0] = np.nan
    return decide(network, given, found.clear, threshold=threshold, min_clear=min_clear)


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(values), ROWS):
        yield values[start : start + ROWS]


def _rows(
    made: Decisions, far: Dissimilarity | None, legend: Legend
) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...]]:
    """Header without id, a row for each sample observed, and that of the others."""
    nothing = Decisions.of(np.full((1, len(legend)), np.nan), np.zeros(1), legend)
    (empty,) = nothing.rows(legend)
    rows = list(made.rows(legend))
    if far is None:
        return HEADER[1:], rows, empty
    both = [(*row, *more) for row, more in zip(rows, far.rows(), strict=True)]
    return (*HEADER[1:], *NOVELTY_HEADER), both, (*empty, "", "")


def _write(
    path: Path,
    ids: np.ndarray,
    every: list[str],
    content: tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...]],
) -> None:
    """Write series.csv, all samples in the table's order. Raises: InputError: the disk is full."""
    header, found, empty = content
    rows = dict(zip(ids.tolist(), found, strict=True))
    lines = ((name, *rows.get(name, empty)) for name in every)
    write_csv(path, chain([(HEADER[0], *header)], lines))


def _tell(
    summary: Summary, made: Decisions, far: Dissimilarity | None, legend: Legend, count: int
) -> None:
    """Say what was decided, and why not. count: of all samples, those not observed too."""
    made.tell(summary, legend, "samples", count - len(made))
    if none := count - int((made.code != NODATA).sum()):
        lost = count - int((made.code2 != NODATA).sum())
        summary.note(
            f"{counted(none, 'sample')} without decision: {lost} never observed in the period, the"
            " others with too few clear dates (series.min_clear) or too little confidence"
            " (threshold); their best guess is in code2"
        )
    if far is not None:
        far.tell(summary, "samples")
