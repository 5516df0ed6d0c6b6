"""Show the tiles of a data set to a trained network as its own training did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geoseg.dataset.samples import SAMPLES, SeriesDataset, holds_samples
from geoseg.dataset.tiles import DESCRIPTION, TILES, Dataset, Tile
from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import NO_CHANGE
from geoseg.geo.legend import Legend
from geoseg.models import suitability
from geoseg.models.card import ModelCard


def check_kind(dataset: str | Path, card: ModelCard) -> None:
    """Raises: InputError for series and a network for images, or the other way round."""
    if holds_samples(dataset) != (card.series is not None):
        kind = "images" if card.series is None else "series of parcels or pixels"
        raise InputError(
            f"dataset={dataset}: the network is one for {kind}, and this data set is not; give the"
            " one that it was trained on, or one like it"
        )


def files_of(dataset: Dataset | SeriesDataset, tiles: Sequence[Tile] | None = None) -> list[Path]:
    """Files that say what a data set is, with the labels of these tiles, or of all."""
    if isinstance(dataset, SeriesDataset):
        return [dataset.folder / DESCRIPTION, dataset.folder / SAMPLES]
    names = [scene.name for scene in dataset.scenes]
    names = names if tiles is None else sorted({tile.scene for tile in tiles})
    targets = [dataset.target(name) for name in names]
    return [dataset.folder / DESCRIPTION, dataset.folder / TILES, *targets]


def check_classes(
    network: Legend, dataset: Dataset | SeriesDataset, remedy: str = "give labels"
) -> None:
    """Raises: InputError if a data set has other classes than a network."""
    other = dataset.legend
    if network.meaning != other.meaning:
        raise InputError(
            f"dataset={dataset.folder}: has the classes {other}, the network {network}; {remedy} of"
            " the network's classes"
        )


def check_samples(dataset: SeriesDataset, card: ModelCard, remedy: str = "give samples") -> None:
    """Raises: InputError if the samples of a data set are not what a network for series knows:
    classes, bands and their order, days and units.
    """
    series, faults = card.series, Faults()
    assert series is not None
    where, again = f"dataset={dataset.folder}", "prepare it again with"
    faults.attempt(check_classes, card.legend, dataset, remedy)
    if dataset.unit != series.unit:
        faults.add(
            f"{where}: its samples are of unit={dataset.unit}, those of the network of"
            f" unit={series.unit}; {again} unit={series.unit}"
        )
    if dataset.bands != card.bands:
        wanted = ",".join(card.bands)
        faults.add(
            f"{where}: has the bands {', '.join(dataset.bands)}, the network"
            f" {', '.join(card.bands)}; {again} bands.order=[{wanted}]"
        )
    if dataset.reference != series.reference:
        faults.add(
            f"{where}: days are counted from {dataset.reference} (month-day), by the network from"
            f" {series.reference}; {again} series.reference={series.reference}"
        )
    elif dataset.days[1] < series.first_day or dataset.days[0] > series.last_day:
        faults.add(
            f"{where}: has days {dataset.days[0]} to {dataset.days[1]} (since {series.reference}),"
            f" the network saw {series.first_day} to {series.last_day}; give samples of that part"
            " of the year"
        )
    faults.raise_if_any()
    if suitability.changes_for(where, dataset.tags, card) != (NO_CHANGE,) * len(card.bands):
        raise InputError(
            f"{where}: scale and offset of its files are not those of the training; give images"
            " whose files have the training's tags (gdal_edit.py -scale … -offset … FILE)"
        )
    # Not the largest: clouds that nobody has left out are brighter than any field.
    usual = dataset.statistics.p98
    suitability.check_units(where, dataset.dtype, usual, card, usual=usual)


def fitted(dataset: Dataset, card: ModelCard) -> Dataset:
    """The data set with the network's bands in the network's order, scaled as in its training.

    Raises: InputError with all that does not suit: classes, bands, pixel size, units.
    """
    faults = Faults()
    faults.attempt(check_classes, card.legend, dataset)
    scenes = faults.each(lambda scene: suitability.fit(scene, card), dataset.scenes)
    faults.raise_if_any()
    check_units(dataset, card)
    return replace(dataset, scenes=tuple(scenes), statistics=card.statistics)


def check_units(dataset: Dataset, card: ModelCard) -> None:
    """Raises: InputError if the values of a data set, by its statistics, are of other units.

    A data set of other bands is for `suitability.fit` to refuse.
    """
    if not set(card.bands) <= set(dataset.bands):
        return
    first, order = dataset.scenes[0], [dataset.bands.index(band) for band in card.bands]
    tags = [first.tags[place] for place in order] if first.tags else []
    if suitability.changes_for(first.name, tags, card) != (NO_CHANGE,) * len(card.bands):
        return  # its numbers are brought to those of the training, its statistics are not
    highs, usual = (
        [values[place] for place in order]
        for values in (dataset.statistics.high, dataset.statistics.p98)
    )
    where = f"dataset={dataset.folder}"
    suitability.check_units(where, first.dtype, highs, card, usual=usual)


def some_tiles(dataset: Dataset, split: str, most: int, seed: int = 0) -> list[Tile]:
    """Labelled tiles of a split, at most so many, drawn alike from all; 0 = all.

    Raises: InputError if there are none.
    """
    tiles = [tile for tile in dataset.tiles(split) if sum(tile.counts)]
    if not tiles:
        raise InputError(
            f"split={split}: {dataset.folder} has no labelled tile of it; choose another"
        )
    if not most or len(tiles) <= most:
        return tiles
    chosen = np.random.default_rng(seed).choice(len(tiles), most, replace=False)
    return [tiles[number] for number in sorted(chosen)]
