"""Check whether a scene suits a trained network."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from geoseg.dataset.tiles import GROUND
from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import NO_CHANGE, BandTags, Change, change, describe, told, unknown
from geoseg.geo.grid import Window
from geoseg.models.card import ModelCard
from geoseg.scenes.bands import nominal_range
from geoseg.scenes.dated import AnyScene, DatedScene
from geoseg.scenes.fill_values import (
    FRAME_SHARE,
    FillCensus,
    Suspect,
    corners,
    frame_note,
    frame_values,
    partial_note,
    said,
    touches_edge,
)
from geoseg.scenes.inspection import said_of_clouds, said_of_masks
from geoseg.scenes.measure_units import BRIGHTER, DARKER, gain, is_beyond_zero, lift, remedy
from geoseg.scenes.probe import THINNED, probes
from geoseg.scenes.stack import observed

PIXEL_TOLERANCE = 1.2
"""Factor by which pixel sizes may differ: networks know what they saw at one scale."""
LOOKS = 8
"""The same of a scene, which has one date."""
SMALL_STACK = 256
"""Side in pixels of a stack that is looked at as a whole."""
FEWEST = 64
"""Valid pixels that tell anything of a scene's units; a handful may all be shadow."""


class UnreadableError(InputError):
    """A file of the scene is damaged."""


def check(scene: AnyScene, card: ModelCard, *, days: bool = True) -> Found:
    """The scene with the model's bands in the model's order; as `fit` and `check_values`."""
    return check_values(fit(scene, card, days=days), card)


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
    faults.attempt(_check_pixel_size, scene, card)
    with faults.collect():
        if days and scene.dates and card.series is not None:
            dates = np.array(scene.dates, "datetime64[D]")
            card.series.check_days(f"series {scene.name}", dates, np.array(scene.days))
    faults.raise_if_any()
    return scene


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


def suits_pixel_size(scene: AnyScene, card: ModelCard) -> bool:
    """Whether the network saw pixels of about this size."""
    expected = card.pixel_size_m
    if not expected:  # a table does not say
        return True
    return _is_alike(scene.grid.pixel_size_m, expected) or doubt(scene, card) is not None


def _check_pixel_size(scene: AnyScene, card: ModelCard) -> None:
    grid, expected = scene.grid, card.pixel_size_m
    if suits_pixel_size(scene, card):
        return
    size = grid.pixel_size_m
    wanted = grid.resolution[1] * expected / size
    remedy = "geoseg.predict reads it at that size with predict.resample=true"
    if scene.dates:
        remedy = f"warp it first: rio warp IN.tif OUT.tif --res {wanted:.3g} (in units of its CRS)"
    raise InputError(
        f"{scene.paths[0]}: pixels of {size:.3g} m, the model saw {expected:.3g} m (on the"
        f" ground; 20 % more or less will do); {remedy}, or train with such pixels"
    )


def doubt(scene: AnyScene, card: ModelCard) -> str | None:
    """What is to be said of a scene whose pixels suit an older card only on the map.

    Such a card holds the size that a projection stated, of which nobody knows which it was.
    """
    grid = scene.grid
    if (
        card.pixel_size_on == GROUND
        or not card.pixel_size_m
        or _is_alike(grid.pixel_size_m, card.pixel_size_m)
        or not _is_alike(grid.stated_pixel_size_m, card.pixel_size_m)
    ):
        return None
    return (
        f"{scene.paths[0]}: pixels of {grid.pixel_size_m:.3g} m on the ground and"
        f" {grid.stated_pixel_size_m:.3g} m on its map; the model, of an older geoseg, saw"
        f" {card.pixel_size_m:.3g} m on a map that it does not name; if that was not this one, the"
        " result is worthless: prepare and train again to be sure"
    )


def say_doubts(scenes: Iterable[AnyScene], card: ModelCard) -> None:
    """Say on stderr how many scenes are in doubt, and why the first one is."""
    doubts = [text for scene in scenes if (text := doubt(scene, card))]
    if doubts:
        more = f" (and {len(doubts) - 1} more scenes)" if len(doubts) > 1 else ""
        print(f"geoseg predict: WARNING: {doubts[0]}{more}", file=sys.stderr)


def _is_alike(size: float, expected: float) -> bool:
    return 1 / PIXEL_TOLERANCE <= size / expected <= PIXEL_TOLERANCE


@dataclass(frozen=True)
class Found:
    """What a look at a scene's values says."""

    scene: AnyScene
    """With what the look decided: which value means nodata."""
    notes: tuple[str, ...] = ()
    """What a person must know of its map, one sentence each."""
    nodata: float | None = None
    """Value that means nodata in it though it does not say so, as in the training."""


def check_values(scene: AnyScene, card: ModelCard) -> Found:
    """Look at some pixels of a scene with the model's bands.

    Raises: InputError if they have other units, UnreadableError if they can't be read.
    """
    try:
        return _look(scene, card)
    except UnreadableError:
        raise
    except InputError:
        if scene.dates:
            raise
        return _look(scene, card, everywhere=True)  # dark corners are no proof


def _look(scene: AnyScene, card: ModelCard, *, everywhere: bool = False) -> Found:
    try:
        if isinstance(scene, DatedScene):
            samples = _dated_samples(scene)
        else:
            samples = _samples(scene, everywhere=everywhere)
    except InputError as error:
        raise UnreadableError(*error.faults) from None
    notes = _said_of_changes(scene, card) + said_of_clouds([scene]) + said_of_masks([scene])
    samples, nodata = _with_frame(scene, card, samples, notes)
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
    notes += said(scene.name, found, len(card.bands))
    if scene.dates:
        notes += census.said_of_zeros(scene.name)
    if some:
        what = "observations" if scene.dates else "pixels with data"
        notes.append(partial_note(scene.name, some / held, scene.partial, what=what))
    if not valid:
        what = "observation" if scene.dates else "pixel"
        notes.append(f"{scene.name}: no {what} with data found: its map is all nodata")
    if valid >= FEWEST:
        values = [
            _real(census.values(place), found.get(band, []))
            for place, band in enumerate(card.bands)
        ]
        if all(len(band) for band in values):
            highs = [scene.highest(band) for band in values]
            check_units(scene.paths[0], scene.dtype, highs, card)
            notes += said_of_light(scene.name, values, card, adapts=not scene.dates)
    return Found(scene, tuple(notes), nodata)


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


def said_of_light(
    name: str, values: Sequence[np.ndarray], card: ModelCard, *, adapts: bool = False
) -> list[str]:
    """What is to be said of a scene or table that is far brighter or darker in all bands.

    values: of each band (n,). adapts: whether `geoseg adapt` is for such data.
    """
    known = {n: values[n] for n, band in enumerate(card.bands) if band not in card.extra}
    if is_beyond_zero(known, card.statistics):
        return [
            f"{name}: all bands lie on the other side of 0 than in the training: another unit, as"
            " decibels and power of radar? Then its map is worthless: bring the values to those of"
            " the training"
        ]
    factor = gain(known, card.statistics)
    if factor is None:
        return _said_of_lift(name, lift(known, card.statistics))
    times, how = (factor, "brighter") if factor > 1 else (1 / factor, "darker")
    adapt = ", or measure the network's scaling anew (geoseg adapt)" if adapts else ""
    return [
        f"{name}: all bands are about {times:.2g} times {how} than in the training: another"
        " exposure, level of processing or unit? Then its map is worthless: bring the values to"
        f" those of the training{adapt}"
    ]


def _said_of_lift(name: str, offset: float | None) -> list[str]:
    if offset is None:
        return []
    more, has, had = ("higher", "with", "without") if offset > 0 else ("lower", "without", "with")
    return [
        f"{name}: all bands are about {abs(offset):.0f} {more} than in the training: reflectance"
        f" {has} Sentinel-2's offset, and the training {had} it? Then its map is worthless: bring"
        " the values to those of the training"
    ]


Sample = tuple[np.ndarray, np.ndarray, Window]
"""Pixels (C, h, w), where each band holds data (C, h, w), and the window that they show."""


def _samples(scene: AnyScene, *, everywhere: bool = False) -> list[Sample]:
    """Pixels of some windows of a scene, or all of a small one.

    everywhere: thin out the whole scene instead, as is done if all windows hit nodata.
    Raises: InputError if a file is damaged there.
    """
    grid = scene.grid
    whole = grid.window
    small = whole.area <= THINNED**2
    with scene.open() as reader:
        windows = [whole] if small else probes(grid, LOOKS)
        found = [] if everywhere and not small else [
            (*_each(*reader.read_each(window)), window) for window in windows
        ]  # fmt: skip
        if not small and not any(holds.any() for _, holds, _ in found):
            shape = min(whole.height, THINNED), min(whole.width, THINNED)
            found = [(*_each(*reader.read_each(whole, shape=shape)), whole)]
    return found


def _dated_samples(scene: DatedScene) -> list[Sample]:
    """Observations of some windows, those of all dates side by side (C, T · h, w)."""
    grid, found = scene.grid, []
    small = grid.window.area <= SMALL_STACK**2
    with replace(scene.stack, partial=True).open() as reader:
        for window in [grid.window] if small else probes(grid):
            values = np.concatenate(list(reader.read(window)), axis=1)
            found.append((values, observed(values), window))
    return found


def _each(image: np.ndarray, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, np.broadcast_to(holds, image.shape)


def _with_frame(
    scene: AnyScene, card: ModelCard, samples: list[Sample], notes: list[str]
) -> tuple[list[Sample], float | None]:
    """The training's nodata value, if a scene has a frame of it and declares none; else None.

    In the training such pixels never were data, so the network can say nothing of them.
    Returns: also the samples, as they are with that value.
    """
    value = card.file_nodata
    if scene.nodata is not None or not scene.tags:
        return samples, None
    places = [n for n, band in enumerate(card.bands) if band not in card.extra]
    if value is None:
        notes += _frames(scene, samples, places)
        return samples, None
    frame = pixels = 0
    at_edge = False
    for image, holds, window in samples:
        equal = ((image[places] == value) & holds[places]).all(axis=0)
        frame, pixels = frame + int(equal.sum()), pixels + equal.size
        if scene.dates:  # they lie one below the other
            equal = equal.reshape(-1, window.height, window.width).any(axis=0)
        at_edge |= touches_edge(equal, window, scene.grid)
    share = frame / max(1, pixels)
    if share < FRAME_SHARE or not at_edge:
        return samples, None
    said = f"{scene.name}: {value:g} stands in all bands of {share:.1%} of the pixels, at its edge"
    declared = [tags.nodata for place, tags in enumerate(scene.tags) if place in places]
    if any(nodata is not None for nodata in declared):
        notes.append(
            f"{said}: nodata in the training, but not declared here, where another value is; these"
            f" pixels get classes; set bands.nodata={value:g} if they are no data"
        )
        return samples, None
    notes.append(
        f"{said}: nodata in the training, but not declared here; taken as nodata too (say so with"
        f" bands.nodata={value:g}, or bands.nodata=none if these are data)"
    )
    hidden = np.isin(np.arange(len(card.bands)), places)[:, None, None]
    return [
        (image, holds & ((image != value) | ~hidden), window) for image, holds, window in samples
    ], value


def _frames(scene: AnyScene, samples: list[Sample], places: list[int]) -> list[str]:
    """What is to be said of frames of a scene that nobody declares, the training neither."""
    if scene.dates or len(places) < 2:
        return []
    notes = []
    for value in frame_values(scene.dtype):
        equal = [((i[places] == value) & h[places]).all(axis=0) for i, h, _ in samples]
        share = sum(int(e.sum()) for e in equal) / max(1, sum(e.size for e in equal))
        windows = [window for _, _, window in samples]
        found = sum(corners(e, w, scene.grid) for e, w in zip(equal, windows, strict=True))
        if found and FRAME_SHARE <= share < 1:
            notes.append(frame_note(value, {scene.name: share}))
    return notes


def check_units(name: str, dtype: str, highs: list[float], card: ModelCard) -> None:
    """Raises: InputError if the highest values per band are in other units than the training's."""
    # Bands of their own units (heights) and single hot pixels don't outvote the rest.
    pairs = [
        (high, seen)
        for name, high, seen in zip(card.bands, highs, card.statistics.high, strict=True)
        if name not in card.extra or len(card.extra) == len(card.bands)
    ]
    ratio = float(np.median([nominal_range(high) / nominal_range(seen) for high, seen in pairs]))
    other_type = dtype != card.dtype
    if BRIGHTER > ratio > 1 / (BRIGHTER if other_type else DARKER):
        return
    high, seen = (max(values) for values in zip(*pairs, strict=True))
    raise InputError(
        f"{name}: {dtype} values up to {high:g}, the model saw {card.dtype} up to {seen:g}: other"
        " units; bring them to those of the training"
        f" ({remedy((high, dtype), (seen, card.dtype))}?)"
    )
