"""Predict maps from dated images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import NO_CHANGE
from geoseg.geo.raster import info
from geoseg.geo.tiling import Tiling
from geoseg.maps import folder
from geoseg.maps.folder import CLEAR, JOURNAL, NAME
from geoseg.models import suitability
from geoseg.models.card import ModelCard, SeriesCard
from geoseg.outputs.claims import check_apart
from geoseg.outputs.counted import counted
from geoseg.outputs.lock import alone
from geoseg.prediction.bands import bands_for, told
from geoseg.prediction.driver import Prediction
from geoseg.prediction.maps import Maps
from geoseg.prediction.network import Engine, TrainedNetwork
from geoseg.prediction.report import PredictionReport
from geoseg.scenes.bands import Bands, is_nameless
from geoseg.scenes.dated import DatedScene, dated, write_clear
from geoseg.scenes.stack import Stack, first_dates
from geoseg.series import offset
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series

PRODUCTS = (
    *folder.FOLDERS,
    CLEAR,
    NAME,
    JOURNAL,
    "parcels.gpkg",
    "parcels.qml",
)


def stacks_for(card: ModelCard, series: Series, bands: Bands | None = None) -> list[Stack]:
    """The stacks of a series, with the bands of the model.

    Raises: InputError with all faults: no files, bands missing, nothing in the period, values with
    Sentinel-2's offset where the training had none …
    """
    series = settled(series, card)
    stacks = [stack.select(card.bands) for stack in find_stacks(series, bands_for(card, bands))]
    if series.check:
        faults, unit = Faults(), 1.0
        if card.dtype == "float32":
            unit = offset.unit_up_to(max(card.statistics.p98))
        for stack in stacks:
            with faults.collect():
                # Where the files' tags say how the values differ, they are brought together.
                made = suitability.changes_for(f"series {stack.name}", stack.tags, card)
                if all(one == NO_CHANGE for one in made):
                    offset.check_against(stack, card.statistics.p2, unit)
        faults.raise_if_any()
    return stacks


@dataclass(frozen=True)
class SeriesImages:
    """Dated images for a network, and the settings that they were found with."""

    stacks: list[Stack]
    series: Series
    bands: Bands | None = None

    @classmethod
    def find(cls, card: ModelCard, series: Series, bands: Bands | None = None) -> SeriesImages:
        """The images of a series, with the bands of the model. Raises: as `stacks_for`."""
        return cls(stacks_for(card, series, bands), series, bands)


def settled(series: Series, card: ModelCard) -> Series:
    """The settings of a series with the fewest clear dates that count, and what masks mean by not
    clear: as given or as trained.

    Raises: InputError for settings that only the training decides on.
    """
    assert card.series is not None
    faults, usual = Faults(), Series()
    for key in ("fill", "step", "reference"):
        given, trained = getattr(series, key), getattr(card.series, key)
        if given != getattr(usual, key):
            faults.add(
                f"series.{key}={given}: the network decides on it ({trained}, as in its training);"
                " leave it out"
            )
    faults.raise_if_any()
    fewest = card.series.min_clear if series.min_clear is None else series.min_clear
    values = series.mask_values
    if series.masks is not None:
        values = values or list(card.series.mask_values)
    return replace(series, min_clear=fewest, mask_values=values)


def _said_of_mask_values(card: SeriesCard, series: Series) -> list[str]:
    if series.masks is None or not card.mask_values:
        return []
    trained = ",".join(map(str, card.mask_values))
    if not series.mask_values:
        return [
            f"series.mask_values: none given; [{trained}] counts as not clear in the masks, as in"
            " the training; if these masks are others, say which values mean it"
        ]
    if set(series.mask_values) != set(card.mask_values):
        given = ",".join(map(str, series.mask_values))
        return [
            f"series.mask_values=[{given}]: in the training it was [{trained}]; make sure that the"
            " masks are others, too"
        ]
    return []


def said_of_images(card: ModelCard, images: SeriesImages) -> list[str]:
    """What is to be said of images that may be others than those of the training, though they fit.

    Where the network knows masked images only, and these have no masks; where masks may mean
    something else by their values; where they hold more bands
    than it knows, and neither these nor those have names.
    """
    assert card.series is not None
    told = _said_of_mask_values(card.series, images.series)
    if card.series.masked and not any(stack.masks for stack in images.stacks):
        told.append("the network was trained with masks of clouds; none are given (series.masks=…)")
    given = images.bands is not None and (images.bands.order or images.bands.names)
    if all(map(is_nameless, card.bands)) and not given and images.stacks:
        layer = images.stacks[0].layers[0]
        held = len(info(layer.path).bands)
        if len(layer.numbers) > 1 and held > len(card.bands):
            told.append(
                f"{layer.path}: {counted(held, 'band')}, and the network knows"
                f" {len(card.bands)} that have no names either: the first are taken for them; if"
                f" they are, set bands.order=[{','.join(card.bands)}], else name all of the file's"
                " bands so that these stand where they belong: bands.names=[…]"
            )
    return told


@alone("predict", "out")
def predict_series(  # noqa: PLR0913 one keyword per key of the command, as notebooks call it
    network: TrainedNetwork,
    images: SeriesImages,
    out: str | Path,
    *,
    tiling: Tiling | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
    stac: bool = False,
) -> PredictionReport:
    """Write class maps, confidence and clear dates of tiles; goes on where an earlier call stopped.

    Pixels of fewer than series.min_clear clear dates get no class.
    stac: describe each map by a STAC item beside it, too.
    Raises: InputError if the network is for parcels, or `out` holds an output of other settings.
    """
    network.check_layers()
    out, card = Path(out), network.card
    assert card.series is not None
    if card.series.unit == "parcel":
        raise InputError(
            "this network classifies parcels, not pixels: set parcels=<file with their outlines>,"
            " or train one on a data set of unit=pixel"
        )
    series = settled(images.series, card)
    others = {"series": asdict(series), "bands": told(bands_for(card, images.bands))}
    product = Maps(network, tiling or card.tiling, engine or Engine())
    check_apart(out, PRODUCTS, (p for stack in images.stacks for p in (*stack.paths, *stack.masks)))
    run = product.begin(out, others, products=PRODUCTS, overwrite=overwrite)
    run.report.notes = list(dict.fromkeys(n for stack in images.stacks for n in stack.notes))
    scenes = dated_scenes(images.stacks, card, series)
    for warning in said_of_images(card, images):
        print(f"geoseg predict: WARNING: {warning}", file=sys.stderr)
    run.make(scenes)
    _count_clear(run, scenes)
    return run.finish(scenes, stac=stac)


def _count_clear(run: Prediction, scenes: Sequence[DatedScene]) -> None:
    """Write beside each map how many clear dates its pixels have. Raises: InputError."""
    record, report = run.record, run.report
    for scene in scenes:
        path = report.out / CLEAR / f"{scene.name}.tif"
        fresh = scene.name in report.done
        mapped = fresh or scene.name in report.before
        if mapped and (fresh or not record.has(scene.name, CLEAR, path)):
            write_clear(scene.with_nodata(record.nodata.get(scene.name)).stack, path)
            record.keep(scene.name, CLEAR, path)
    record.save()


def dated_scenes(stacks: list[Stack], card: ModelCard, series: Series) -> list[DatedScene]:
    """Stacks as predict takes scenes: their days counted as in the training."""
    assert card.series is not None
    firsts = first_dates(stacks)
    start = series.period[0] if series.start else None
    zeros: dict[str, date] = {}
    for first in set(firsts.values()):
        mine = [stack for stack in stacks if firsts[stack.name] == first]
        dates = [day for stack in mine for day in stack.dates]
        zero = card.series.anchor(dates, start or first)
        zeros |= {stack.name: zero for stack in mine}
    return dated(stacks, zeros, min_clear=settled(series, card).fewest())
