"""Find the files of scenes that STAC catalogs and cubes describe, and what these say of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.received.cube_slices import is_there
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene.image import Scene
from geoseg.stac.bands import NOT_CLEAR, ChosenFile, choose, cloud_assets, cloud_mask
from geoseg.stac.catalog import Item

Files = list[tuple[str | ChosenFile | None, str]]
"""Files of a scene, each with the band that it holds, or with those that a catalog tells of (None:
as the file says)."""


def check_settings(bands: Bands) -> None:
    """Raises: InputError for settings that contradict a catalog."""
    faults = Faults()
    if bands.pattern is not None:
        faults.add("bands.pattern: a STAC catalog or a cube says which bands it has; leave it out")
    if bands.names:
        faults.add("bands.names: a STAC catalog or a cube names its bands; choose with bands.order")
    faults.raise_if_any()


def files_of_items(
    items: Sequence[Item], bands: Bands, refused: dict[str, InputError] | None
) -> list[tuple[str, Files]]:
    """Scene name → its files, of a catalog.

    refused: as of `find_scenes`. Raises: InputError with all faults, if it is None.
    """
    faults = Faults()
    groups: list[tuple[str, Files]] = []
    wanted = [band for band in bands.order if band not in bands.extra]
    for item in items:
        try:
            files = choose(item, wanted)
        except InputError as error:
            faults.found.extend(error.faults)
            if refused is not None:
                refused[item.id] = error
            continue
        groups.append((item.id, [(file if file.bands else None, file.path) for file in files]))
    if refused is None:
        faults.raise_if_any()
    return groups


def told_by(item: Item, scene: Scene, bands: Bands) -> Scene:
    """The scene with what its item says of it beside files and bands.

    A mask that was not fetched with the bands is told as one that nobody heeds.
    Raises: InputError if its mask is no raster that lies where the scene does.
    """
    scene = replace(scene, taken=item.period())
    if not bands.masks:
        return scene
    mask = None
    with suppress(InputError):  # on a server that may not be asked
        mask = cloud_mask(item)
    if mask is not None and is_there(mask):
        try:
            _check_mask(mask, scene)
        except InputError as error:
            raise InputError(
                f"{error}; it is the cloud mask of {item.name}: give a whole one, or take the"
                " scene without (bands.masks=false)"
            ) from None
        return replace(scene, mask=mask, mask_values=NOT_CLEAR)
    asked = {name.casefold() for name in bands.order}
    unheeded = [key for key in cloud_assets(item) if key.casefold() not in asked]
    return replace(scene, unheeded=tuple(unheeded))


def _check_mask(path: str, scene: Scene) -> None:
    """Raises: InputError."""
    facts = raster.info(path)
    if facts.problem or facts.grid is None:
        raise InputError(facts.problem or f"{path}: has no place on Earth")
    if not scene.grid.overlaps(facts.grid):
        raise InputError(f"{path}: lies elsewhere than {scene.paths[0]}")
