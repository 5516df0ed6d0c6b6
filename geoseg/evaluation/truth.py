"""Give the labels that a map is compared with, on its grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import TILES, Dataset, check_whole, said_of_changes_since
from geoseg.errors import InputError
from geoseg.evaluation.sources import learnt_from
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import UNLABELLED, Legend
from geoseg.labels.corrections import open_corrections
from geoseg.labels.find import only_corrections, open_labels
from geoseg.labels.settings import Labels, given
from geoseg.labels.source import LabelSource
from geoseg.maps.landcover import ClassMap

TRAIN = "train"


@dataclass
class Truth:
    """Opened labels on a map's grid."""

    grid: Grid
    scene: str
    """Name of the map, for labels that are matched by name."""
    labels: LabelSource
    tiles: LabelSource | None = None
    """Where the chosen split lies: code 1; None = everywhere."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Where it comes from, for JSON and people."""
    notes: list[str] = field(default_factory=list)
    """What a report must say about the labels."""

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Codes (height, width) uint8, UNLABELLED where nothing counts; and where the split lies.

        Raises: InputError if a file is damaged.
        """
        codes = self.labels.burn(self.grid, window, scene=self.scene)
        if self.tiles is None:
            return codes, np.ones(codes.shape, bool)
        inside = self.tiles.burn(self.grid, window) == 1
        return np.where(inside, codes, UNLABELLED), inside


def from_labels(labels: Labels, found: ClassMap, *, legend: Legend) -> Truth:
    """Labels as prepare takes them, to be burnt on the map's grid.

    Raises: InputError for faulty labels, and for those that miss the map.
    """
    scene = Path(found.path).stem
    source = open_labels(labels, legend, scenes={scene: found.grid})
    source.say_if_among([found.path])
    notes = source.notes
    if labels.background and labels.area is None and not _covers(source, found.grid):
        notes.append(
            f"labels.background={labels.background} counts on the whole map, which reaches"
            " beyond the labels; labels.area=<file> limits it"
        )
    return Truth(found.grid, scene, source, settings={"labels": given(labels)}, notes=notes)


def from_corrections(path: str, found: ClassMap) -> Truth:
    """What a person corrected, and nothing else.

    Raises: InputError for faulty corrections, and for those that miss the map.
    """
    scene = Path(found.path).stem
    source = only_corrections(path, found.legend, scenes={scene: found.grid})
    settings = {"corrections": path}
    return Truth(found.grid, scene, source, settings=settings, notes=source.notes)


def corrected(truth: Truth, path: str | None, legend: Legend) -> Truth:
    """The truth with what a person corrected over its labels. Raises: InputError."""
    corrections = open_corrections(path, legend)
    if corrections is not None:
        notes = [*corrections.notes, *corrections.check({truth.scene: truth.grid}, "map")]
        truth.labels.corrections = corrections
        truth.notes = [*truth.notes, *notes]
        truth.settings["corrections"] = path
    return truth


def from_dataset(
    dataset: Dataset, split: str, found: ClassMap, *, legend: Legend, labels: Labels | None = None
) -> Truth:
    """What prepare burnt, or other labels, within the tiles of one split.

    Where a tile of the train split covers one of the chosen split, nothing counts: a network
    knows that place.
    Raises: InputError if the split has no tiles, or none on the map.
    """
    scenes = sorted({tile.scene for tile in dataset.tiles(split)})
    if not scenes:
        raise InputError(f"split={split}: {dataset.folder} has no tiles of it; choose another")
    here = {Path(found.path).stem: found.grid}
    check_whole(dataset.folder, "geoseg.prepare")
    if labels is None:
        check_same(dataset.legend, legend, dataset.folder, found.path)
        targets = [str(dataset.target(scene)) for scene in scenes]
        burnt = Labels(path=targets, unknown="unlabelled")
        source = open_labels(burnt, _by_code(legend), scenes=here)
        made_of = {"burnt by prepare": given(Labels(**dataset.settings.get("labels", {})))}
        truth = Truth(found.grid, Path(found.path).stem, source, settings={"labels": made_of})
    else:
        truth = from_labels(labels, found, legend=legend)
    tiles = Labels(path=str(dataset.folder / TILES), field="split", unknown="unlabelled")
    truth.tiles = open_labels(tiles, _splits(split), scenes=here)
    truth.notes = [*truth.notes, *said_of_changes_since(dataset), *learnt_from(found, split)]
    truth.settings |= {"dataset": str(dataset.folder), "split": split}
    return truth


def check_same(own: Legend, other: Legend, *sources: Any) -> None:
    """Raises: InputError if a code of one legend means something else in the other."""
    names = dict(zip(own.codes, own.names, strict=True))
    for c in other.classes:
        if names.get(c.code, c.name) != c.name:
            raise InputError(
                f"legends differ: code {c.code} is {names[c.code]} in {sources[0]}, but {c.name} in"
                f" {sources[1]}; compare with labels of the map's classes"
            )


def _by_code(legend: Legend) -> Legend:
    """The legend of rasters that hold its own codes."""
    return Legend(tuple(replace(c, values=(str(c.code),)) for c in legend.classes))


def _splits(split: str) -> Legend:
    """Code 1: the chosen split; what covers it: the train split."""
    names = [split] if split == TRAIN else [split, TRAIN]
    entries = [{"code": i, "name": name, "color": "#000000"} for i, name in enumerate(names, 1)]
    return Legend.parse(entries, f"splits {', '.join(SPLITS)}")


def _covers(source: LabelSource, grid: Grid) -> bool:
    """Whether the labels' extent is nine tenths of the map's or more."""
    extent = source.extent_in(grid.crs)
    inside = grid.window_of(extent).intersect(grid.window) if extent else None
    return inside is not None and inside.area >= 0.9 * grid.window.area
