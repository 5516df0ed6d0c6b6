"""Tell whether a scene has pixels of the size that a network saw."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from statistics import median

from geoseg.dataset.tiles import GROUND
from geoseg.errors import InputError
from geoseg.models.card import ModelCard
from geoseg.scenes.dated import AnyScene

PIXEL_TOLERANCE = 1.2
"""Factor by which pixel sizes may differ: networks know what they saw at one scale."""


def suits_pixel_size(scene: AnyScene, card: ModelCard) -> bool:
    """Whether the network saw pixels of about this size."""
    expected = card.pixel_size_m
    if not expected:  # a table does not say
        return True
    return _is_alike(scene.grid.pixel_size_m, expected) or doubt(scene, card) is not None


def check_pixel_size(scene: AnyScene, card: ModelCard) -> None:
    """Raises: InputError if the network saw pixels of another size."""
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


def median_ratio(scenes: Iterable[AnyScene]) -> float:
    """Height of most scenes' pixels by their width, on the ground; 1 where about squares."""
    ratio = median(map(_ratio, scenes))
    return 1.0 if _is_alike(ratio, 1.0) else round(ratio, 3)


def _ratio(scene: AnyScene) -> float:
    height, width = scene.grid.pixel_sides_m
    return height / width


def said_of_shape(scene: AnyScene, card: ModelCard) -> str | None:
    """What is to be said of an image whose pixels have not the shape of the training's: in degrees
    they are higher than wide."""
    if not card.pixel_size_m or scene.dates or _is_alike(_ratio(scene), card.pixel_ratio):
        return None
    height, width = scene.grid.pixel_sides_m
    seen = (
        "squares, as far as its card says"
        if card.pixel_ratio == 1
        else f"{card.pixel_ratio:.3g} times as high as wide"
    )
    return (
        f"{scene.paths[0]}: pixels {height:.3g} m high and {width:.3g} m wide on the ground, those"
        f" of the training were {seen}: the network knows no shapes that are stretched so; warp it"
        " to such pixels first: rio warp IN.tif OUT.tif --dst-crs EPSG:… (of the training)"
    )


def say_doubts(scenes: Iterable[AnyScene], card: ModelCard) -> None:
    """Say on stderr how many scenes are in doubt, and why the first one is."""
    scenes = list(scenes)
    for doubted in (doubt, said_of_shape):
        _say([text for scene in scenes if (text := doubted(scene, card))])


def _say(doubts: list[str]) -> None:
    if doubts:
        more = f" (and {len(doubts) - 1} more scenes)" if len(doubts) > 1 else ""
        print(f"geoseg predict: WARNING: {doubts[0]}{more}", file=sys.stderr)


def _is_alike(size: float, expected: float) -> bool:
    return 1 / PIXEL_TOLERANCE <= size / expected <= PIXEL_TOLERANCE
