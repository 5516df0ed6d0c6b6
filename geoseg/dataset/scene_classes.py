"""Give whole tiles a class, that of most of their labelled pixels, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.dataset.scene_polygons import PolygonTiles
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import Faults
from geoseg.outputs.counted import counted


@dataclass
class SceneClasses:
    """What class a tile has (model=classify)."""

    labelled: float = 0.5
    """Share of a tile's pixels that must be labelled for it to have a class."""
    polygons: str | None = None
    """<file>:<attribute> with the classes of polygons: then a tile lies around each polygon and has
    its class, whatever the labels say."""
    several: bool = False
    """Let a tile have several classes: each that covers scene.share of its labelled pixels, or, of
    polygons, each that the attribute lists. The network then says of each class whether it is
    there, by thresholds that are chosen on val."""
    share: float = 0.05
    """Share of a tile's labelled pixels from which on a class is one of its several."""
    separator: str = ","
    """What stands between the classes that the attribute of a polygon lists."""

    def __post_init__(self) -> None:
        faults = Faults()
        for key in ("labelled", "share"):
            value = getattr(self, key)
            if not 0 < value <= 1:
                faults.add(f"scene.{key}={value:g}: must be in (0, 1]")
        if not self.separator:
            faults.add("scene.separator: is empty; give what stands between classes, as a comma")
        for key in ("share", "separator"):
            given = getattr(self, key) != getattr(type(self), key)
            if given and not self.several:
                faults.add(f"scene.{key}: of tiles with several classes; set scene.several=true")
        if self.several and self.polygons is not None and self.share != type(self).share:
            faults.add(
                f"scene.share={self.share:g}: the attribute of scene.polygons says which classes a"
                " tile has, whatever their share; leave one of them out"
            )
        faults.raise_if_any()

    def presence(self, tiles: Sequence[Tile]) -> np.ndarray:
        """Which classes tiles have: (N, K) bool."""
        counts = np.array([tile.counts for tile in tiles], np.int64)
        return self.is_there(counts)

    def is_there(self, counts: np.ndarray) -> np.ndarray:
        """Which classes are among the several of tiles. counts: (N, K) labelled pixels."""
        if self.polygons is not None:
            there: np.ndarray = counts > 0
            return there
        return (counts > 0) & (counts >= self.share * counts.sum(1, keepdims=True))


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
        """Raises: InputError if no train tile has a class, or all have the same ones."""
        notes: tuple[str, ...] = ()
        tiles = [tile for split in SPLITS for tile in dataset.tiles(split)]
        if settings.polygons is not None:
            separator = settings.separator if settings.several else None
            made_of = PolygonTiles.of(dataset, settings.polygons, separator)
            tiles, notes = made_of.tiles, made_of.notes
        kept = [t for t in tiles if sum(t.counts) >= settings.labelled * t.window.area]
        made = dataset.with_splits(**{s: [t for t in kept if t.split == s] for s in SPLITS})
        faults = Faults()
        found = _found(made, settings)
        if not made.tiles("train"):
            faults.add(
                f"{dataset.folder}: no train tile has a class, for of none"
                f" {settings.labelled:.0%} of the pixels are labelled; set scene.labelled lower, or"
                " a smaller tiling.size in geoseg.prepare"
            )
        elif settings.several:
            _check_several(made, settings, faults)
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
        names, found = self.dataset.legend.names, _found(self.dataset, settings)
        lines = [f"note: {note}" for note in self.notes]
        if self.without:
            lines.append(
                f"note: {counted(self.without, 'tile')} left out, of which less than"
                f" {settings.labelled:.0%} is labelled (scene.labelled)"
            )
        absent = [name for name in names if name not in found]
        if absent:
            lines.append(f"note: no train tile is of {', '.join(absent)}, which can't be learnt")
        if settings.several:
            there = settings.presence(self.dataset.tiles("train"))
            always = [name for index, name in enumerate(names) if there[:, index].all()]
            if always:
                lines.append(f"note: all train tiles have {', '.join(always)}")
        return lines


def _found(dataset: Dataset, settings: SceneClasses) -> list[str]:
    """Names of the classes that train tiles have."""
    tiles = dataset.tiles("train")
    if not tiles:
        return []
    names = dataset.legend.names
    if settings.several:
        return [names[index] for index in np.flatnonzero(settings.presence(tiles).any(0))]
    return [names[index] for index in np.unique(classes_of(tiles))]


def _check_several(dataset: Dataset, settings: SceneClasses, faults: Faults) -> None:
    """Adds what leaves several classes nothing to learn or to be judged by."""
    there = settings.presence(dataset.tiles("train"))
    if (there == there[0]).all():
        names = [name for name, has in zip(dataset.legend.names, there[0], strict=True) if has]
        faults.add(
            f"{dataset.folder}: all train tiles have the same classes"
            f" ({', '.join(names) or 'none'}), which leaves nothing to tell apart; set another"
            " scene.share, or a smaller tiling.size in geoseg.prepare"
        )
    val = dataset.tiles("val")
    if val and not settings.presence(val).any():
        faults.add(
            f"{dataset.folder}: no val tile has a class, of which each covers less than"
            f" {settings.share:.0%}; set scene.share lower"
        )


def classes_of(tiles: Sequence[Tile]) -> np.ndarray:
    """Index (N,) of the class of most labelled pixels of each tile; of several the first."""
    return np.array([int(np.argmax(tile.counts)) for tile in tiles], np.int64)
