"""Suitability: whether a scene is what a model was trained for, said before the work begins."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from geoseg.bands import nominal_range
from geoseg.card import ModelCard
from geoseg.dataset import GROUND
from geoseg.datedscene import AnyScene, DatedScene
from geoseg.errors import Faults, InputError
from geoseg.grid import Grid, Window
from geoseg.scene import Scene, fit_bands

PIXEL_TOLERANCE = 1.2
"""Factor by which pixel sizes may differ: networks know what they saw at one scale."""
BRIGHTER, DARKER = 8, 32
"""Factors between value ranges from which on units differ: a scene may hold less than all there is,
but not far more."""
PROBES = 4
"""Windows that are read along each axis to see a scene's values."""
PROBE = 64
"""Height and width of such a window in pixels."""
SPACING = 256
"""Pixels between two of them at least."""
THINNED = 1024
"""Height and width to which a scene is thinned out when all of them hold nodata."""
FEWEST = 64
"""Valid pixels that tell anything of a scene's units; a handful may all be shadow."""


class UnreadableError(InputError):
    """A file of the scene is damaged."""


def check(scene: AnyScene, card: ModelCard, *, days: bool = True) -> AnyScene:
    """The scene with the model's bands in the model's order; as `fit` and `check_values`."""
    scene = fit(scene, card, days=days)
    check_values(scene, card)
    return scene


def fit(scene: AnyScene, card: ModelCard, *, days: bool = True) -> AnyScene:
    """The scene with the model's bands in the model's order; reads no pixel.

    days: whether the days of all dates count, as they do unless samples have their own periods.
    Raises: InputError with all that does not suit: bands, pixel size, part of the year.
    """
    faults = Faults()
    with faults.collect():
        if isinstance(scene, DatedScene):
            scene = replace(scene, stack=scene.stack.select(card.bands))
        else:
            scene = fit_bands(scene, card.bands)
    with faults.collect():
        _check_pixel_size(scene, card)
    with faults.collect():
        if days and isinstance(scene, DatedScene) and card.series is not None:
            dates = np.array(scene.stack.dates, "datetime64[D]")
            card.series.check_days(f"series {scene.name}", dates, np.array(scene.days))
    faults.raise_if_any()
    return scene


def _check_pixel_size(scene: AnyScene, card: ModelCard) -> None:
    grid, expected = scene.grid, card.pixel_size_m
    if not expected:  # a table does not say
        return
    if _is_alike(grid.pixel_size_m, expected) or doubt(scene, card):
        return
    size = grid.pixel_size_m
    wanted = grid.resolution[1] * expected / size
    raise InputError(
        f"{scene.paths[0]}: pixels of {size:.3g} m, the model saw {expected:.3g} m (on the"
        " ground; 20 % more or less will do); warp it first: rio warp IN.tif OUT.tif --res"
        f" {wanted:.3g} (in units of its CRS), or train with such pixels"
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


def check_values(scene: AnyScene, card: ModelCard) -> None:
    """Look at some pixels of a scene with the model's bands.

    Raises: InputError if they have other units, UnreadableError if they can't be read.
    """
    try:
        _look(scene, card)
    except UnreadableError:
        raise
    except InputError:
        if isinstance(scene, DatedScene):
            raise
        _look(scene, card, everywhere=True)  # dark corners are no proof


def _look(scene: AnyScene, card: ModelCard, *, everywhere: bool = False) -> None:
    try:
        if isinstance(scene, DatedScene):
            highs = scene.highest()
        else:
            highs = highest_values(scene, everywhere=everywhere)
    except InputError as error:
        raise UnreadableError(*error.faults) from None
    if highs is not None:
        check_units(scene.paths[0], scene.dtype, highs, card)


def check_units(name: str, dtype: str, highs: list[float], card: ModelCard) -> None:
    """Raises: InputError if the highest values per band are in other units than the training's."""
    # Bands of their own units (heights) and single hot pixels don't outvote the rest.
    pairs = [
        (nominal_range(high), nominal_range(seen), high, seen)
        for name, high, seen in zip(card.bands, highs, card.statistics.high, strict=True)
        if name not in card.extra or len(card.extra) == len(card.bands)
    ]
    ratio = float(np.median([mine / models for mine, models, _, _ in pairs]))
    other_type = dtype != card.dtype
    if BRIGHTER > ratio > 1 / (BRIGHTER if other_type else DARKER):
        return
    high, seen = max(high for _, _, high, _ in pairs), max(seen for _, _, _, seen in pairs)
    remedy = f"divide by {ratio:g}" if ratio > 1 else f"multiply by {1 / ratio:g}"
    raise InputError(
        f"{name}: {dtype} values up to {high:g}, the model saw {card.dtype} up to {seen:g}: other"
        f" units; bring them to those of the training ({remedy}?)"
    )


def highest_values(scene: Scene, *, everywhere: bool = False) -> list[float] | None:
    """Largest value per band in some windows of the scene; None if too few pixels are valid.

    everywhere: thin out the whole scene instead, as is done if all windows hit nodata.
    Raises: InputError if a file is damaged there.
    """
    whole = scene.grid.window
    with scene.open() as reader:
        found = [] if everywhere else [reader.read(window) for window in probes(scene.grid)]
        if not any(valid.any() for _, valid in found):
            shape = min(whole.height, THINNED), min(whole.width, THINNED)
            found = [reader.read(whole, shape=shape)]
    if sum(np.count_nonzero(valid) for _, valid in found) < FEWEST:
        return None
    highs = [image[:, valid].max(axis=1) for image, valid in found if valid.any()]
    return [float(value) for value in np.max(highs, axis=0)]


def probes(grid: Grid) -> list[Window]:
    """Windows spread evenly over a grid, each inside one block of the usual files if it can be.

    Of small scenes, which come by the thousand, two in opposite corners.
    """
    height, width = min(PROBE, grid.height), min(PROBE, grid.width)
    tops, lefts = _spread(grid.height, height), _spread(grid.width, width)
    places = [(top, left) for top in tops for left in lefts]
    if len(places) == 4:
        places = [places[0], places[-1]]
    return [Window(top, left, height, width) for top, left in places]


def _spread(length: int, side: int) -> list[int]:
    """Starts of probes along an axis."""
    count = min(PROBES, max(2, length // SPACING))
    starts = np.linspace(0, length - side, count) // side * side
    return sorted({int(start) for start in starts})
