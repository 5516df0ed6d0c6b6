"""Explain a network and write tables, rasters, charts and a page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.tiles import Dataset, said_of_changes_since
from geoseg.errors import Faults
from geoseg.explanation import page
from geoseg.explanation.result import Explanation, draw_bands, draw_dates, write_rows
from geoseg.explanation.settings import (
    BANDS,
    BY_GRADIENT,
    DATES,
    GRADCAM,
    GRADIENTS,
    OCCLUSION,
    OF_IMAGES,
    OF_SERIES,
    ExplainSettings,
)
from geoseg.geo import raster
from geoseg.models.settings import FOREST
from geoseg.outputs.claims import claim, follows, note_made, nothing_to_do
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.files import clearing, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.prediction.network import TrainedNetwork
from geoseg.samples.fitted import check_kind, check_samples, files_of, fitted, some_tiles

PAGE, RECORD = "explain.html", "explain.json"
BAND_TABLE, BAND_CHART, DATE_TABLE, DATE_CHART = "bands.csv", "bands.png", "dates.csv", "dates.png"
WHERE = (OCCLUSION, GRADCAM, GRADIENTS)
PRODUCTS = (PAGE, RECORD, BAND_TABLE, BAND_CHART, DATE_TABLE, DATE_CHART, *WHERE)


@alone("explain", "out")
def explain(
    network: TrainedNetwork,
    dataset: str | Path,
    out: str | Path,
    *,
    split: str = "val",
    settings: ExplainSettings | None = None,
    overwrite: bool = False,
) -> Summary:
    """Find out by what bands, dates and places a network goes.

    Returns: what came out, as a text for people.
    Raises: InputError before the work if something does not suit, or `out` is of other settings.
    """
    settings, folder = settings or ExplainSettings(), Path(out)
    kinds = _kinds(network, dataset, split, settings)
    loaded, files = _opened(network, dataset, split, settings)
    claimed = {
        "network": network.hash,
        "dataset": str(dataset),
        "split": split,
        "explain": asdict(settings),
        "inputs": [fingerprint(path) for path in files if path.is_file()],
    }
    if done := nothing_to_do(out, folder, claimed, command="explain"):
        return done
    overwrite = overwrite or follows(folder, claimed, command="explain")
    claim(folder, claimed, command="explain", products=PRODUCTS, overwrite=overwrite)
    with clearing(folder, PRODUCTS), raster.environment():
        if isinstance(loaded, Dataset):
            made = _of_images(network, loaded, split, kinds, settings)
        else:
            made = _of_series(network, loaded, split, kinds, settings)
        about = {
            "version": __version__, "checkpoint": str(network.source), "dataset": str(dataset),
            "split": split, "explain": asdict(settings),
        }  # fmt: skip
        _write(made, folder, about)
    files = [folder / name for name in PRODUCTS]
    files += [path for kind in WHERE for path in sorted((folder / kind).glob("*.*"))]
    note_made(folder, stamps(folder, files), command="explain")
    summary = _summary(made, folder)
    for text in said_of_changes_since(loaded) if isinstance(loaded, Dataset) else ():
        summary.warn(text)
    return summary


def _kinds(
    network: TrainedNetwork, dataset: str | Path, split: str, settings: ExplainSettings
) -> list[str]:
    """What is explained of this network. Raises: InputError with all that does not suit."""
    faults = Faults()
    card = network.card
    forest = card.model.name == FOREST
    if network.others:
        faults.add("checkpoint: one network is explained at a time; give one")
    if card.series is not None and card.series.unit == "map":
        faults.add(
            f"checkpoint {network.source}: networks for dated maps (unit=map) can't be explained"
            " yet; explain one for parcels or pixels of the same series"
        )
    possible = OF_IMAGES if card.series is None else OF_SERIES
    for kind in settings.kinds:
        if kind not in possible:
            what = "images" if card.series is None else "series"
            faults.add(
                f"explain.kinds: {kind} is not for networks for {what}; choose from"
                f" {', '.join(possible)}"
            )
        elif forest and kind in BY_GRADIENT:
            faults.add(
                f"explain.kinds: {kind} goes by gradients, which a forest does not have; take bands"
                " or occlusion"
            )
    unknown = [name for name in settings.classes if name not in card.legend.names]
    if unknown:
        faults.add(
            f"explain.classes: no class {', '.join(unknown)}; choose from"
            f" {', '.join(card.legend.names)}"
        )
    faults.attempt(settings.grouped, card.bands)
    if split not in ("train", "val", "test"):
        faults.add(f"split={split}: choose from train, val, test")
    faults.raise_if_any()
    check_kind(dataset, card)
    left = [k for k in possible if not (forest and k in BY_GRADIENT)]
    return [kind for kind in left if not settings.kinds or kind in settings.kinds]


def _opened(
    network: TrainedNetwork, dataset: str | Path, split: str, settings: ExplainSettings
) -> tuple[Dataset | SeriesDataset, list[Path]]:
    """The data set, and files that say what it is. Raises: InputError."""
    if network.card.series is not None:
        series = SeriesDataset.load(dataset)
        check_samples(series, network.card)
        return series, files_of(series)
    loaded = Dataset.load(dataset)
    fitted(loaded, network.card)
    return loaded, files_of(loaded, some_tiles(loaded, split, settings.tiles, settings.seed))


def _of_images(
    network: TrainedNetwork,
    dataset: Dataset,
    split: str,
    kinds: list[str],
    settings: ExplainSettings,
) -> Explanation:
    # Only here torch loads: what could be wrong without it has been said.
    from geoseg.explanation.images import Subject, band_importance
    from geoseg.explanation.places import explain_places

    tiles = some_tiles(dataset, split, settings.tiles, settings.seed)
    made = Explanation(network.card.legend.names)
    subject = Subject(network, dataset, tiles)
    if BANDS in kinds and len(subject) < 2 and not settings.kinds:
        made.notes.append("bands are left out: they are exchanged between tiles, and there is one")
    elif BANDS in kinds:
        made.clean, made.bands = band_importance(subject, settings)
    where = [kind for kind in kinds if kind in WHERE]
    if where:
        made.places = explain_places(subject, tiles, where, settings)
        if not made.places:
            made.notes.append("no place has a pixel of the classes that were asked for")
    if network.card.model.name == FOREST:
        made.notes.append("gradcam and gradients are left out: a forest has no gradients")
    return made


def _of_series(
    network: TrainedNetwork,
    dataset: SeriesDataset,
    split: str,
    kinds: list[str],
    settings: ExplainSettings,
) -> Explanation:
    from geoseg.explanation import series

    samples = series.draw(dataset, split, settings.samples, settings.seed)
    made = Explanation(network.card.legend.names)
    subject = series.SeriesSubject(network, samples, dataset)
    if BANDS in kinds:
        made.clean, made.bands = series.band_importance(subject, settings)
    if DATES in kinds:
        parts, made.dates = series.date_importance(subject, settings)
        made.attention = series.attention(subject, parts)
        if made.attention is None:
            made.notes.append("this network has no attention to show beside the dates")
    return made


def _write(made: Explanation, folder: Path, about: dict[str, Any]) -> None:
    if made.bands:
        write_rows(folder / BAND_TABLE, [one.to_dict(made.names) for one in made.bands])
        draw_bands(made.bands, folder / BAND_CHART)
    if made.dates:
        write_rows(folder / DATE_TABLE, made.date_rows())
        draw_dates(made.dates, made.attended, folder / DATE_CHART)
    for place in made.places:
        for heat in place.heats:
            heat.write(folder / heat.kind / f"{place.stem}_class{heat.code}.tif", place.grid)
    write_json(folder / RECORD, about | made.to_dict())
    page.write(folder / PAGE, made, about)


def _summary(made: Explanation, folder: Path) -> Summary:
    summary = Summary()
    for title, found in (("Bands", made.bands), ("Dates", made.dates)):
        if found:
            header = [title, "fall of mIoU", "± sd", "class that falls most"]
            rows = [
                [one.name, f"{one.miou:.3f}", f"{one.spread:.3f}", page.most(one, made.names)]
                for one in found
            ]
            summary.table(f"{title}, exchanged", header, rows)
    summary.notes(made.notes)
    if made.places:
        kinds = ", ".join(f"{folder / kind}/" for kind in made.places[0].kinds)
        summary.note(f"rasters for QGIS: {kinds}")
    summary.note(f"report: {folder / PAGE} (open it in a browser)")
    return summary
