"""Look at some values of a scene: units, brightness, nodata that nobody declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.band_tags import NO_CHANGE, describe
from geoseg.models.card import ModelCard
from geoseg.models.suitability.fit import changes_for, fit
from geoseg.models.suitability.frame import said_of_replaced, with_frame
from geoseg.models.suitability.probes import UnreadableError, samples_of
from geoseg.models.suitability.units import check_units, said_of_light
from geoseg.outputs.counted import counted
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.fill_values import (
    FillCensus,
    Suspect,
    partial_note,
    said,
    without,
)
from geoseg.scenes.inspection import ENOUGH, said_of_clouds, said_of_masks

FAR, FEW = 10.0, 0.01
"""Times the training's range beyond it, and share of the pixels: more are in other units."""
BESIDE, MOST = 0.25, 0.5
"""Share of the training's range beyond it, and share of the pixels: what a network makes of such a
band is a guess. Another exposure or another land cover stays nearer."""


@dataclass(frozen=True)
class Found:
    """What a look at a scene's values says."""

    scene: AnyScene
    """With what the look decided: which value means nodata."""
    notes: tuple[str, ...] = ()
    """What a person must know of its map, one sentence each."""
    nodata: float | None = None
    """Value that means nodata in it though it does not say so, as in the training."""


def check(scene: AnyScene, card: ModelCard, *, days: bool = True) -> Found:
    """The scene with the model's bands in the model's order; as `fit` and `check_values`."""
    return check_values(fit(scene, card, days=days), card, days=days)


def check_values(scene: AnyScene, card: ModelCard, *, days: bool = True) -> Found:
    """Look at some pixels of a scene with the model's bands.

    days: as of `fit`.
    Raises: InputError if they have other units, UnreadableError if they can't be read.
    """
    said = _said_of_days(scene, card) if days else []
    try:
        found = _look(scene, card)
    except UnreadableError:
        raise
    except InputError:
        if scene.dates:
            raise
        found = _look(scene, card, everywhere=True)  # dark corners are no proof
    return replace(found, notes=(*said, *found.notes))


def _look(scene: AnyScene, card: ModelCard, *, everywhere: bool = False) -> Found:
    samples = samples_of(scene, everywhere=everywhere)
    notes = _said_of_changes(scene, card) + said_of_clouds([scene]) + said_of_masks([scene])
    samples, nodata = with_frame(scene, card, samples, notes)
    replaced = said_of_replaced(scene, card, samples)
    notes += replaced.values()
    scene = scene.with_nodata(nodata)
    census = FillCensus(card.bands, card.statistics)
    valid = held = some = 0
    for image, holds, _ in samples:
        census.add(image, holds)
        every, any_ = holds.all(axis=0), holds.any(axis=0)
        held += int(any_.sum())
        valid += int((any_ if scene.partial else every).sum())
        some += int((any_ & ~every).sum())
    found = census.found()
    notes += said(scene.name, without(found, replaced), len(card.bands))
    if scene.dates:
        notes += census.said_of_zeros(scene.name)
    if some:
        what = "observations" if scene.dates else "pixels with data"
        notes.append(partial_note(scene.name, some / held, scene.partial, what=what))
    if not valid:
        what = "observation" if scene.dates else "pixel"
        notes.append(f"{scene.name}: no {what} with data found: its map is all nodata")
    if valid >= ENOUGH:
        values = [
            _real(census.values(place), found.get(band, []))
            for place, band in enumerate(card.bands)
        ]
        if all(len(band) for band in values):
            highs = [scene.highest(band) for band in values]
            # Of dates, the highest that counts is such a percentile already.
            usual = None if scene.dates else [float(np.percentile(band, 98)) for band in values]
            check_units(scene.paths[0], scene.dtype, highs, card, usual=usual)
            notes += [] if scene.dates else _said_of_extremes(scene.name, values, card)
            light = said_of_light(scene.name, values, card, adapts=not scene.dates)
            notes += light or ([] if scene.dates else _said_of_range(scene.name, values, card))
    return Found(scene, tuple(notes), nodata)


def _said_of_days(scene: AnyScene, card: ModelCard) -> list[str]:
    """What is to be said of dates that are not of the season of the training."""
    if card.series is None or not scene.dates:
        return []
    dates = np.array(scene.dates, "datetime64[D]")
    return card.series.said_of_days(scene.name, dates, np.array(scene.days))


def _said_of_extremes(name: str, values: Sequence[np.ndarray], card: ModelCard) -> list[str]:
    """What is to be said of single values (n,) of bands that lie far beyond those of the training:
    what a network makes of them reaches as far as it sees."""
    statistics, notes = card.statistics, []
    ranges = zip(card.bands, values, statistics.low, statistics.high, strict=True)
    for band, found, low, high in ranges:
        reach = FAR * (high - low)
        far = found[(found > high + reach) | (found < low - reach)]
        if 0 < len(far) < FEW * len(found):
            worst = float(far[np.abs(far.astype(np.float64)).argmax()])
            notes.append(
                f"{name}: band {band} holds {worst:.4g}, far beyond the training's {low:.4g} to"
                f" {high:.4g}, in {counted(len(far), 'pixel')} of those looked at: around such"
                " pixels the map is worthless; give them a nodata value, or cut them off"
            )
    return notes


def _said_of_range(name: str, values: Sequence[np.ndarray], card: ModelCard) -> list[str]:
    """What is to be said of bands (n,) of which most lies beside all that the training showed:
    heights of another place, or decibels × 100."""
    statistics, beside = card.statistics, []
    ranges = zip(card.bands, values, statistics.low, statistics.high, strict=True)
    for band, found, low, high in ranges:
        reach = BESIDE * (high - low)
        share = float(((found > high + reach) | (found < low - reach)).mean())
        if share > MOST and high > low:
            middle = float(np.median(found))
            beside.append(f"{band} ({share:.0%}, about {middle:.4g}, not {low:.4g} to {high:.4g})")
    if not beside:
        return []
    return [
        f"{name}: most values lie beside those of the training in {', '.join(beside)}: ground that"
        " the training did not show, or another unit or reference? Of these the map is worthless:"
        " bring the values to those of the training"
    ]


def _said_of_changes(scene: AnyScene, card: ModelCard) -> list[str]:
    """What is to be said of numbers that are brought to the training's scale and offset."""
    made = dict.fromkeys(changes_for(scene.name, scene.tags, card))
    made.pop(NO_CHANGE, None)
    if not made:
        return []
    return [
        f"{scene.name}: scale and offset in the files are not those of the training; the values are"
        f" brought to these ({', '.join(map(describe, made))})"
    ]


def _real(values: np.ndarray, fill: list[Suspect]) -> np.ndarray:
    """The values of a band that are no fill, unless all are."""
    real = values[~np.isin(values, [one.value for one in fill])]
    return real if len(real) else values
