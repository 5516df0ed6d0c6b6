"""Tell whether a scene has pixels of the size that a network saw."""

from __future__ import annotations

import sys
from collections.abc import Iterable

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


def say_doubts(scenes: Iterable[AnyScene], card: ModelCard) -> None:
    """Say on stderr how many scenes are in doubt, and why the first one is."""
    doubts = [text for scene in scenes if (text := doubt(scene, card))]
    if doubts:
        more = f" (and {len(doubts) - 1} more scenes)" if len(doubts) > 1 else ""
        print(f"geoseg predict: WARNING: {doubts[0]}{more}", file=sys.stderr)


def _is_alike(size: float, expected: float) -> bool:
    return 1 / PIXEL_TOLERANCE <= size / expected <= PIXEL_TOLERANCE
