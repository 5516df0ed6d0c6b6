"""Scenes without labels that a training learns from as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoseg.bands import Bands
from geoseg.card import ModelCard
from geoseg.dataset import Dataset
from geoseg.errors import Faults
from geoseg.scene import Scene, find_scenes, fit_bands
from geoseg.suitability import check


def find_unlabelled(spec: Any, card: ModelCard, bands: Bands) -> list[Scene]:
    """Scenes with the bands, units and pixel size of a data set.

    spec: folder, glob or list of GeoTIFFs. card: of the network that is to be trained.
    bands: as the data set was told.
    Raises: InputError with all scenes that do not suit.
    """
    faults = Faults()
    scenes = []
    with faults.collect():
        for scene in find_scenes(spec, bands):
            with faults.collect():
                check(scene, card)
                scenes.append(fit_bands(scene, card.bands))
    faults.found = [f"fit.unlabelled: {fault}" for fault in faults.found]
    faults.raise_if_any()
    return scenes


def described(dataset: Dataset, scenes: Sequence[Scene]) -> list[str]:
    """What is to be said of them beside a data set: nothing if there are none."""
    if not scenes:
        return []
    lines = [f"{len(scenes)} unlabelled scenes of {sum(_size(s) for s in scenes):.1f} Mpx"]
    paths = {path for scene in scenes for path in scene.paths}
    held = {tile.scene for split in ("val", "test") for tile in dataset.tiles(split)}
    seen = [s.name for s in dataset.scenes if s.name in held and paths & set(s.paths)]
    if seen:
        lines.append(
            f"note: {', '.join(seen)} with tiles of val or test are among them: their scores say"
            " how well these scenes are mapped, not how well others would be"
        )
    return lines


def _size(scene: Scene) -> float:
    return scene.grid.height * scene.grid.width / 1e6
