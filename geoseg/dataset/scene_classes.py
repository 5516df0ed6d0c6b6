"""Give whole tiles a class: that of most of their labelled pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.dataset.scene_polygons import PolygonTiles
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import Faults, InputError
from geoseg.outputs.counted import counted


@dataclass
class SceneClasses:
    """What class a tile has (model=classify)."""

    labelled: float = 0.5
    """Share of a tile's pixels that must be labelled for it to have a class."""
    polygons: str | None = None
    """<file>:<attribute> with the classes of polygons: then a tile lies around each polygon and has
    its class, whatever the labels say."""

    def __post_init__(self) -> None:
        if not 0 < self.labelled <= 1:
            raise InputError(f"scene.labelled={self.labelled:g}: must be in (0, 1]")


@dataclass(frozen=True)
class SceneTiles:
    """A data set whose tiles all have a class."""

    dataset: Dataset
    without: int
    """Tiles that were left out, having none."""
    notes: tuple[str, ...] = ()
    """What people must be told of polygons."""

    @classmethod
    def of(cls, dataset: Dataset, settings: SceneClasses) -> SceneTiles:
        """Raises: InputError if no train tile has a class, or all have the same one."""
        notes: tuple[str, ...] = ()
        tiles = [tile for split in SPLITS for tile in dataset.tiles(split)]
        if settings.polygons is not None:
            made_of = PolygonTiles.of(dataset, settings.polygons)
            tiles, notes = made_of.tiles, made_of.notes
        kept = [t for t in tiles if sum(t.counts) >= settings.labelled * t.window.area]
        made = dataset.with_splits(**{s: [t for t in kept if t.split == s] for s in SPLITS})
        names = dataset.legend.names
        found = [names[index] for index in np.unique(classes_of(made.tiles("train")))]
        faults = Faults()
        if not found:
            faults.add(
                f"{dataset.folder}: no train tile has a class, for of none"
                f" {settings.labelled:.0%} of the pixels are labelled; set scene.labelled lower, or"
                " a smaller tiling.size in geoseg.prepare"
            )
        elif len(found) == 1:
            faults.add(
                f"{dataset.folder}: all train tiles are of one class ({found[0]}), which leaves"
                " nothing to tell apart; set a smaller tiling.size in geoseg.prepare, or label more"
                " of other classes"
            )
        faults.raise_if_any()
        return cls(made, len(tiles) - len(kept), notes)

    def said(self, settings: SceneClasses) -> list[str]:
        """What is to be said of what was left out, and of classes that no train tile has."""
        names, found = self.dataset.legend.names, classes_of(self.dataset.tiles("train"))
        lines = [f"note: {note}" for note in self.notes]
        if self.without:
            lines.append(
                f"note: {counted(self.without, 'tile')} left out, of which less than"
                f" {settings.labelled:.0%} is labelled (scene.labelled)"
            )
        absent = [name for index, name in enumerate(names) if index not in found]
        if absent:
            lines.append(f"note: no train tile is of {', '.join(absent)}, which can't be learnt")
        return lines


def classes_of(tiles: Sequence[Tile]) -> np.ndarray:
    """Index (N,) of the class of most labelled pixels of each tile; of several the first."""
    return np.array([int(np.argmax(tile.counts)) for tile in tiles], np.int64)
