"""Bring a scene to the bands of a network, without reading a pixel."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np

from geoseg.errors import Faults
from geoseg.geo.band_tags import NO_CHANGE, BandTags, Change, change, some, told, unknown
from geoseg.models.card import ModelCard
from geoseg.models.suitability.pixel_size import check_pixel_size
from geoseg.scenes.bands import in_order, is_nameless
from geoseg.scenes.dated import AnyScene


def fit(scene: AnyScene, card: ModelCard, *, days: bool = True) -> AnyScene:
    """The scene with the model's bands in the model's order; reads no pixel.

    days: whether the days of all dates count, as they do unless samples have their own periods.
    Raises: InputError with all that does not suit: bands, pixel size, part of the year.
    """
    faults = Faults()
    with faults.collect():
        scene = scene.select_bands(card.bands)
        scene = scene.changed(changes_for(scene.name, scene.tags, card))
        scene = scene.filled(card.statistics.mean)
    faults.attempt(check_pixel_size, scene, card)
    with faults.collect():
        if days and scene.dates and card.series is not None:
            dates = np.array(scene.dates, "datetime64[D]")
            card.series.check_days(f"series {scene.name}", dates, np.array(scene.days))
    faults.raise_if_any()
    return scene


def say_order(scenes: Iterable[AnyScene], card: ModelCard) -> None:
    """Say on stderr of which scenes, as they are found, bands are taken for the model's as they
    come, as only one of both names them: nobody can know whether their order is the same.
    """
    by_pairs: dict[str, list[str]] = {}
    for scene in scenes:
        pairs = [
            f"{mine} for {known}"
            for mine, known in zip(scene.bands, card.bands, strict=False)
            if is_nameless(mine) != is_nameless(known)
        ]
        if pairs and len(card.bands) > 1 and in_order(scene.bands, card.bands):
            by_pairs.setdefault(", ".join(pairs), []).append(scene.name)
    for said, names in by_pairs.items():
        print(
            f"geoseg predict: WARNING: {some(names)}: bands are taken as they come, as only one of"
            f" scene and training names them: {said}; if their order is another, say it:"
            " bands.names=[…], in the training's words",
            file=sys.stderr,
        )


def changes_for(name: str, tags: Sequence[BandTags], card: ModelCard) -> tuple[Change, ...]:
    """What brings a scene's numbers to the scale and offset of the training, per band.

    A scale that one of them says and the other not is left to the units of the values.
    Raises: InputError if an offset stands beside such a scale: nobody can know whether the numbers
    of the other hold it.
    """
    if not tags or not card.tags:
        return (NO_CHANGE,) * len(card.bands)
    made, faults = [], Faults()
    for band, here, there in zip(card.bands, tags, card.tags, strict=True):
        if not unknown(here, there):
            made.append(change(here, there))
            continue
        made.append(NO_CHANGE)
        if here.offset or there.offset:
            faults.add(
                f"{name}: band {band}: the file says {told(here)}, those of the training said"
                f" {told(there)}: whether their numbers mean the same can't be known; give a file"
                " with the training's tags (gdal_edit.py -scale … -offset … FILE), or set"
                " bands.tags=false if its numbers are the training's as they are"
            )
    faults.raise_if_any()
    return tuple(made)
