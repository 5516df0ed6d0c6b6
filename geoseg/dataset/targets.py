"""Burn the targets of a data set, and count what is labelled in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.dataset.tiles import (
    Dataset,
)
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.geo.raster import Raster, all_bands, any_band
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.labels.source import LabelSource
from geoseg.maps import landcover
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.summary import Summary
from geoseg.scenes.alpha import said_of_alpha
from geoseg.scenes.dated import MEMORY, AnyScene, DatedReader, DatedScene
from geoseg.scenes.inspection import (
    Inspection,
    said_of_clouds,
    said_of_frames,
    said_of_masks,
    said_of_units,
)
from geoseg.scenes.scene import Scene, said_of_changes

STRIP = 1024
"""Rows that are burnt at a time; a multiple of the blocks of the written file."""


def labels_of(planned: Dataset, labels: Labels, corrections: str | None = None) -> LabelSource:
    """The labels on the scenes of a planned data set, a context manager.

    corrections: file of what was drawn over a map, to be burnt over the labels.
    Raises: InputError for labels that miss all scenes, are one, unknown values …
    """
    grids = {scene.name: scene.grid for scene in planned.scenes}
    source = open_labels(labels, planned.legend, scenes=grids, corrections=corrections)
    if same := source.among(path for scene in planned.scenes for path in scene.inputs):
        raise InputError(
            f"labels: {same} is one of the images, too: the network would learn to copy it;"
            " labels.path=… wants what a person drew"
        )
    return source


def made_of(planned: Dataset, source: LabelSource) -> dict[str, Any]:
    """All that a planned data set is made of, to claim its folder by."""
    paths = [*sorted({path for scene in planned.scenes for path in scene.inputs}), *source.paths]
    inputs = [fingerprint(path) for path in paths]
    return planned.settings | {"legend": planned.legend.to_dict(), "inputs": inputs}


def burn(planned: Dataset, source: LabelSource, summary: Summary) -> None:
    """Burn the targets of a planned data set; those that are there are not burnt again."""
    scenes, legend = planned.scenes, planned.legend
    looks = []
    for scene in scenes:
        look = Inspection.of(scene, scenes)
        path = planned.target(scene.name)
        if _is_burnt(path, scene):
            for _ in _valid(scene, look):
                pass
        else:
            _write_target(scene, source, legend, path, look=look)
        landcover.complete(path, legend)
        looks.append(look)
    summary.notes(source.notes)
    for look in looks:
        for text in look.said(looks):
            summary.warn(text)
    for text in (*said_of_frames(looks), *said_of_units(looks), *said_of_clouds(scenes)):
        summary.warn(text)
    summary.notes(said_of_masks(scenes))
    images = [scene for scene in scenes if isinstance(scene, Scene)]
    summary.notes(said_of_changes(images))
    if not planned.settings["bands"].get("names"):
        summary.notes(said_of_alpha((s.name, s.paths[0], s.bands) for s in images))


def _is_burnt(path: Path, scene: AnyScene) -> bool:
    """Whether an earlier call has burnt the target of a scene."""
    if not path.exists():
        return False
    try:
        grid = raster.info(path).grid
        raster.check_whole(path)
    except (InputError, *raster.READ_ERRORS):  # emptied or cut short since
        return False
    return grid is not None and grid.coincides(scene.grid)


def _write_target(
    scene: AnyScene, source: LabelSource, legend: Legend, path: Path, *, look: Inspection
) -> None:
    """Burn the labels of one scene: codes, 255 where unlabelled, 0 where the scene has no data."""
    grid = scene.grid
    options = {"dtype": "uint8", "nodata": 0, "colors": legend.colors()}
    with raster.create(path, grid, **options) as writer:  # type: ignore[arg-type]
        for window, valid in _valid(scene, look):
            target = source.burn(grid, window, scene=scene.name)
            target[~valid] = 0
            writer.write(target, window)


def _valid(scene: AnyScene, look: Inspection) -> Iterator[tuple[Window, np.ndarray]]:
    """Windows that partition a scene, and where it is valid; it is inspected on the way."""
    with scene.open() as reader:
        for window in _windows(scene):
            if isinstance(reader, DatedReader):
                image, valid = reader.read(window)
                look.add_dates(image)
            else:
                image, holds = reader.read_each(window)
                look.add(image, holds, window)
                valid = (any_band if reader.scene.partial else all_bands)(holds)
            yield window, valid


def _windows(scene: AnyScene) -> Iterator[Window]:
    """Windows that partition a scene, small enough to hold."""
    if isinstance(scene, DatedScene):
        return scene.stack.windows(MEMORY)
    return strips(scene.grid)


def strips(grid: Grid) -> Iterator[Window]:
    """Windows of whole blocks, small enough to hold at any width of the grid."""
    return grid.window.blocks(STRIP, 4 * STRIP)


def counter(made: Dataset) -> Callable[[str, Window], np.ndarray]:
    """A function (scene, window) → labelled pixels per class (K,), with few files open."""
    opened: dict[str, Raster] = {}

    def count(scene: str, window: Window) -> np.ndarray:
        if scene not in opened:
            for other in list(opened):
                opened.pop(other).close()
            opened[scene] = Raster(made.target(scene))
        codes, _ = opened[scene].read(window)
        return np.bincount(codes.ravel(), minlength=256)[made.legend.codes]

    return count
