"""Measure the uncertainty of the windows of maps, and what each is like."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset
from geoseg.errors import Faults, InputError
from geoseg.geo import extent, raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.maps.folder import find_maps, map_paths
from geoseg.maps.landcover import ClassMap
from geoseg.maps.layers import CONFIDENCE, DISAGREEMENT, ENTROPY, MARGIN, NOVELTY
from geoseg.outputs.counted import few
from geoseg.outputs.progress import follow

SURE_IS_HIGH = (CONFIDENCE, MARGIN)
"""Layers of which low values are worth a look."""
KINDS = (ENTROPY, MARGIN, DISAGREEMENT, NOVELTY, CONFIDENCE)
"""What may be asked for; without a choice the first that all maps have."""
LEAST = 0.25
"""Share of a window that must have a class."""
BINS = (0, 20, 40, 60, 80, 101)
"""Of the layer's values, for what a window is like."""
Labelled = dict[str, tuple[Grid, list[Window]]]
"""Scene → its grid, and the windows of it that have labels."""


@dataclass(frozen=True)
class Windows:
    """All windows of all maps: N of them, and F numbers that say what each is like."""

    kind: str
    """Of the layer that tells the uncertainty."""
    maps: tuple[ClassMap, ...]
    of: np.ndarray
    """(N,) which map."""
    places: tuple[Window, ...]
    score: np.ndarray
    """(N,) 0..100, high where a look is worth it."""
    shares: np.ndarray
    """(N, K) of the classes, in the order of the first map."""
    likeness: np.ndarray
    """(N, F)."""

    def __len__(self) -> int:
        return len(self.places)

    @classmethod
    def of_maps(
        cls, maps: Sequence[ClassMap], by: str | None, size: int, dataset: Dataset | None = None
    ) -> Windows:
        """All windows of a size but those that have labels in a data set, or hardly a class.

        by: the layer to go by; None = the first of KINDS that all maps have.
        Raises: InputError if it is missing beside a map, or any is.
        """
        kind, beside = _layer(maps, by)
        with raster.environment():
            return _measured(tuple(maps), beside, kind, size, _labelled(dataset))

    def name(self, number: int) -> str:
        return Path(self.maps[int(self.of[number])].path).stem

    def grid(self, number: int) -> Grid:
        return self.maps[int(self.of[number])].grid

    def classes(self, number: int) -> str:
        """The classes that a window holds most of."""
        names, shares = self.maps[0].legend.names, self.shares[number]
        most = np.argsort(-shares, kind="stable")[:3]
        return ", ".join(f"{names[k]} {shares[k]:.0%}" for k in most if shares[k] >= 0.005)

    def distances(self, numbers: Sequence[int] | np.ndarray, other: int) -> np.ndarray:
        """Squared distances (n,) of windows from another one, in what they are like."""
        apart = self.likeness[numbers] - self.likeness[other]
        return np.asarray((apart**2).sum(axis=1))


def read_maps(maps: Any) -> tuple[ClassMap, ...]:
    """Class maps of the same classes, whatever their order or codes. Raises: InputError."""
    faults = Faults()
    found = faults.each(ClassMap.read, find_maps(maps))
    for one in found[1:]:
        if set(one.legend.names) != set(found[0].legend.names):
            faults.add(
                f"{one.path}: has other classes ({one.legend}) than {found[0].path}"
                f" ({found[0].legend}); suggest for maps of the same classes"
            )
    faults.raise_if_any()
    return tuple(found)


def _layer(maps: Sequence[ClassMap], wanted: str | None) -> tuple[str, list[Path]]:
    """Name of the layer that tells the uncertainty, and its file beside each map.

    Raises: InputError if it is not there.
    """
    paths = {
        kind: [map_paths(Path(m.path).parent.parent, Path(m.path).stem, (kind,))[1] for m in maps]
        for kind in KINDS
    }
    there = [kind for kind in KINDS if all(path.is_file() for path in paths[kind])]
    if not there or (wanted is not None and wanted not in there):
        missing = wanted or CONFIDENCE
        lacking = [m.path for m, p in zip(maps, paths[missing], strict=True) if not p.is_file()]
        has = f"; all have {', '.join(there)}" if there else ""
        raise InputError(
            f"{few(lacking, 1)}: no {missing} beside it{has}; predict with"
            f" predict.layers=[confidence,{missing}]"
        )
    kind = wanted or there[0]
    faults = Faults()
    for one, path in zip(maps, paths[kind], strict=True):
        facts = raster.info(path)
        if facts.dtype != "uint8" or not (facts.grid and facts.grid.coincides(one.grid)):
            faults.add(f"{path}: not the {kind} of {one.path}; predict anew")
    faults.raise_if_any()
    return kind, paths[kind]


def _labelled(dataset: Dataset | None) -> Labelled:
    if dataset is None:
        return {}
    found: Labelled = {scene.name: (scene.grid, []) for scene in dataset.scenes}
    for split in SPLITS:
        for tile in dataset.tiles(split):
            found[tile.scene][1].append(tile.window)
    return found


def _done(one: ClassMap, labelled: Labelled) -> list[Window]:
    """Windows of a map that have labels; a scene of its name may be another place."""
    name = Path(one.path).stem
    if name not in labelled:
        return []
    grid, windows = labelled[name]
    if one.grid.coincides(grid):
        return windows
    boxes = [extent.bounds_in(grid.bounds_of(w), grid.crs, one.grid.crs) for w in windows]
    return [one.grid.window_of(box) for box in boxes if box is not None]


def _measured(
    maps: tuple[ClassMap, ...],
    beside: list[Path],
    kind: str,
    size: int,
    labelled: Labelled,
) -> Windows:
    """All windows but those that have labels, or hardly a class."""
    of, places, scores, shares, spreads = [], [], [], [], []
    for number in follow(range(len(maps)), "look"):
        one = maps[number]
        done = _done(one, labelled)
        code_of = dict(zip(one.legend.names, one.legend.codes, strict=True))
        in_order = [code_of[name] for name in maps[0].legend.names]
        with Raster(one.path) as codes_file, Raster(beside[number]) as layer_file:
            tiles = [
                tile
                for tile in Tiling(size, 0).tiles(one.grid.window)
                if not any(tile.intersect(other) for other in done)
            ]
            # Row by row: a file is read several times as fast as window by window.
            for top, row in itertools.groupby(tiles, attrgetter("top")):
                strip = Window(top, 0, min(size, one.grid.height - top), one.grid.width)
                codes_there, values_there = (
                    file.read(strip)[0][0] for file in (codes_file, layer_file)
                )
                for window in row:
                    part = window.within(strip)
                    codes = codes_there[part]
                    valid = codes != NODATA
                    if valid.sum() < LEAST * size**2:
                        continue
                    values = values_there[part][valid].astype(float)
                    values = 100 - values if kind in SURE_IS_HIGH else values
                    counts = np.bincount(codes[valid], minlength=256)[in_order]
                    of.append(number)
                    places.append(window)
                    scores.append(values.mean())
                    shares.append(counts / valid.sum())
                    spreads.append(np.histogram(values, BINS)[0] / valid.sum())
    classes = len(maps[0].legend)
    made = np.array(shares).reshape(-1, classes)
    likeness = np.concatenate([made, np.array(spreads).reshape(-1, len(BINS) - 1)], axis=1)
    return Windows(kind, maps, np.array(of, int), tuple(places), np.array(scores), made, likeness)
