"""Scenes without labels that a training learns from as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shapely

from geoseg.bands import Bands
from geoseg.card import ModelCard
from geoseg.dataset import Dataset
from geoseg.errors import Faults
from geoseg.scene import Scene, find_scenes
from geoseg.suitability import check


def find_unlabelled(spec: Any, card: ModelCard, bands: Bands) -> list[Scene]:
    """Scenes with the bands, units and pixel size of a data set.

    spec: folder, glob or list of GeoTIFFs. card: of the network that is to be trained.
    bands: as the data set was told.
    Raises: InputError with all scenes that do not suit.
    """
    faults = Faults()
    scenes: list[Any] = []
    with faults.collect():
        for scene in find_scenes(spec, bands):
            with faults.collect():
                scenes.append(check(scene, card).scene)
    faults.found = [f"fit.unlabelled: {fault}" for fault in faults.found]
    faults.raise_if_any()
    return scenes


def described(dataset: Dataset, scenes: Sequence[Scene]) -> list[str]:
    """What is to be said of them beside a data set: nothing if there are none."""
    if not scenes:
        return []
    lines = [f"{len(scenes)} unlabelled scenes of {sum(_size(s) for s in scenes):.1f} Mpx"]
    crs = dataset.scenes[0].grid.crs
    grids = {scene.name: scene.grid for scene in dataset.scenes}
    held = [
        (split, shapely.box(*grids[tile.scene].crop(tile.window).bounds_in(crs)))
        for split in ("val", "test")
        for tile in dataset.tiles(split)
    ]
    ground = shapely.STRtree([shapely.box(*scene.grid.bounds_in(crs)) for scene in scenes])
    shown = {
        split
        for split, box in held
        # Not those that only touch along an edge.
        if shapely.area(shapely.intersection(box, ground.geometries[ground.query(box)])).any()
    }
    if shown:
        lines.append(
            f"note: they show ground of {' and '.join(sorted(shown))} tiles: these scores say how"
            " well this ground is mapped, not how well other ground would be"
        )
    return lines


def _size(scene: Scene) -> float:
    return scene.grid.height * scene.grid.width / 1e6
