"""Predicting series: maps of whole tiles out of dated images, by a network for pixels or maps."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from geoseg import maps
from geoseg.bands import Bands
from geoseg.card import ModelCard
from geoseg.datedscene import DatedScene, dated, write_clear
from geoseg.errors import InputError
from geoseg.mapping import Network, Report, make_maps, note, plan
from geoseg.output import claim
from geoseg.record import NAME, Record
from geoseg.series import Series, find_stacks
from geoseg.stack import Stack
from geoseg.tiling import Tiling

CLEAR = "clear"
"""Folder with the number of clear dates of each pixel."""
PRODUCTS = (maps.LANDCOVER, maps.CONFIDENCE, CLEAR, NAME, "parcels.gpkg", "parcels.qml")


def stacks_for(card: ModelCard, series: Series, bands: Bands | None = None) -> list[Stack]:
    """The stacks of a series, with the bands of the model.

    Raises: InputError with all faults: no files, bands missing, nothing in the period …
    """
    bands = bands or Bands()
    wanted = bands if bands.order else replace(bands, order=list(card.bands))
    return [stack.select(card.bands) for stack in find_stacks(series, wanted)]


def predict_series(
    network: Network,
    stacks: list[Stack],
    out: str | Path,
    *,
    series: Series,
    tiling: Tiling | None = None,
    overwrite: bool = False,
) -> Report:
    """Write class maps, confidence and clear dates of tiles; goes on where an earlier call stopped.

    Pixels of fewer than series.min_clear clear dates get no class.
    Raises: InputError if the network is for parcels, or `out` holds an output of other settings.
    """
    out, card = Path(out), network.card
    assert card.series is not None
    if card.series.unit == "parcel":
        raise InputError(
            "this network classifies parcels, not pixels: set parcels=<file with their outlines>,"
            " or train one on a data set of unit=pixel"
        )
    tiling = tiling or card.tiling
    settings = {
        "model": network.hash,
        "tiling": asdict(tiling),
        "series": asdict(series),
        "precision": network.running.precision,
    }
    claim(out, settings, command="predict", products=PRODUCTS, overwrite=overwrite)
    record, report = Record(out, network.hash, settings), Report(out)
    scenes = dated_scenes(stacks, card, series)
    jobs = plan(scenes, network, tiling, record, report)
    names = {scene.name for scene in scenes}
    report.others = [name for name in record.scenes if name not in names]
    note(record, report)
    if jobs:
        make_maps(network, jobs, record, report)
    for scene in scenes:
        path = out / CLEAR / f"{scene.name}.tif"
        mapped = scene.name in report.done or scene.name in report.before
        if mapped and (scene.name in report.done or not path.exists()):
            write_clear(scene.stack, path)
    return report


def dated_scenes(stacks: list[Stack], card: ModelCard, series: Series) -> list[DatedScene]:
    """Stacks as predict takes scenes: their days counted as in the training."""
    assert card.series is not None
    fewest = max(series.min_clear, card.series.min_clear)
    return dated(stacks, series, reference=card.series.reference, min_clear=fewest)
