"""Give the target of any window of a scene."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import extent
from geoseg.geo.grid import Grid, Window, crs_of, same_crs
from geoseg.geo.legend import UNLABELLED, Legend
from geoseg.geo.rasterize import burn, ignore_borders
from geoseg.labels.corrections import Corrections
from geoseg.labels.raster import RasterLabels
from geoseg.labels.vector import VectorLabels
from geoseg.outputs.closing import Closing
from geoseg.outputs.counted import counted, few

if TYPE_CHECKING:
    from geoseg.labels.settings import Labels

LabelFile = VectorLabels | RasterLabels
CLASS = 3
"""What a class is worth where rasters overlap: more than background, and that than no label."""
NEAR_M = 5.0
"""Metres by which labels may be off for another datum without a word: those of today are nearer."""
CLASHES = 5
"""Pairs of rasters that are named if they contradict each other."""


class LabelSource(Closing):
    """Opened labels."""

    def __init__(
        self,
        labels: Labels,
        legend: Legend,
        files: list[LabelFile],
        *,
        area: list[VectorLabels],
        background: int | None,
    ) -> None:
        self._labels, self._files, self._area = labels, files, area
        self._by_name: dict[str, list[LabelFile]] = {}
        for file in files:
            self._by_name.setdefault(Path(file.path).stem, []).append(file)
        self._background = background
        # What has no known class lies at the bottom: it hides background, not another's class.
        self._rank = np.zeros(256, np.int16)
        self._rank[legend.codes] = np.arange(1, len(legend) + 1)
        self._extra: list[str] = []
        self._clashes: Counter[tuple[str, str]] = Counter()
        """Pixels burnt so far to which two rasters give different classes: the one that counts, the
        other."""
        self.corrections: Corrections | None = None
        """What a person drew over a map, which counts more than any label, everywhere."""

    @property
    def notes(self) -> list[str]:
        """What a summary must say: repaired, left out, unlabelled; with file and counts."""
        found = [note for file in (*self._files, *self._area) for note in file.notes]
        corrected = [] if self.corrections is None else self.corrections.notes
        clashes = [
            f"{one} and {other} overlap and give {counted(count, 'pixel')} different classes; those"
            f" of {one} count"
            for (one, other), count in self._clashes.most_common(CLASHES)
        ]
        if len(self._clashes) > CLASHES:
            clashes.append(f"and {len(self._clashes) - CLASHES} more pairs of label rasters do so")
        return [*found, *self._extra, *clashes, *corrected]

    @property
    def paths(self) -> list[str]:
        """All files that were opened."""
        corrected = [] if self.corrections is None else [self.corrections.path]
        return [file.path for file in (*self._files, *self._area)] + corrected

    def among(self, files: Iterable[str]) -> str:
        """Names of the label files that are some of these; "" if none is."""
        others = {os.path.realpath(path) for path in files}
        same = [file.path for file in self._files if os.path.realpath(file.path) in others]
        return few(same) if same else ""

    def say_if_among(self, maps: Iterable[str]) -> None:
        """Note where a label file is one of the maps that are judged by it."""
        if same := self.among(maps):
            self._extra.append(
                f"labels: {same} is the map itself, which agrees with itself everywhere: scores of"
                " 1 tell nothing"
            )

    def burn(
        self, grid: Grid, window: Window | None = None, *, scene: str | None = None
    ) -> np.ndarray:
        """The target on a window of a scene's grid; it doesn't depend on how the grid is cut.

        grid: of the whole scene, as its extent decides whether it is labelled at all.
        scene: its name, needed with labels.match=name.
        Returns: (height, width) uint8, codes of classes and UNLABELLED, never 0.
        Raises: InputError if a label file is damaged.
        """
        window = window or grid.window
        halo = self._labels.ignore_border
        wide = window.grow(halo)
        files = self._files_of(scene)
        target = self._raster_codes(files, grid, wide, counts=window.within(wide))
        drawn = [file for file in files if isinstance(file, VectorLabels)]
        codes = self._vector_codes(drawn, grid, wide)
        target = np.where(codes > 0, codes, target)
        area = self._area_mask(grid, wide)
        if self._background is not None and self._fills(drawn, grid):
            target[target == 0] = self._background
        target[target == 0] = UNLABELLED
        if area is not None:
            target[~area] = UNLABELLED
        if halo:
            target = ignore_borders(target, halo)
        target = target[window.within(wide)]
        if self.corrections is not None:
            corrected = self.corrections.burn(grid, window)
            target = np.where(corrected > 0, corrected, target)
        return target

    def _vector_codes(self, files: list[VectorLabels], grid: Grid, window: Window) -> np.ndarray:
        parts = [file.shapes(grid, window) for file in files]
        polygons = np.concatenate([np.empty(0, object), *(p for p, _ in parts)])
        codes = np.concatenate([np.empty(0, np.uint8), *(c for _, c in parts)])
        order = np.argsort(self._rank[codes], kind="stable")
        return burn(
            polygons[order],
            codes[order],
            grid,
            window=window,
            all_touched=self._labels.all_touched,
        )

    def _raster_codes(
        self, files: list[LabelFile], grid: Grid, window: Window, *, counts: tuple[slice, slice]
    ) -> np.ndarray:
        """Where rasters overlap, a class beats background, and that unlabelled; else the first.

        counts: part of the window in which contradictions are counted.
        """
        target = np.zeros((window.height, window.width), np.uint8)
        worth = np.full(256, CLASS, np.uint8)
        worth[[0, UNLABELLED]] = 0, 1
        if self._background is not None:
            worth[self._background] = 2
        giver = np.zeros(target.shape, np.int32)
        for number, file in enumerate(files):
            if isinstance(file, RasterLabels):
                codes = file.codes(grid, window)
                clash = (worth[codes] == CLASS) & (worth[target] == CLASS) & (codes != target)
                for first in np.unique(giver[counts][clash[counts]]).tolist():
                    both = files[first].path, file.path
                    self._clashes[both] += int((clash & (giver == first))[counts].sum())
                better = worth[codes] > worth[target]
                target, giver = np.where(better, codes, target), np.where(better, number, giver)
        return target

    def _area_mask(self, grid: Grid, window: Window) -> np.ndarray | None:
        """Where labels count (height, width) bool; None = everywhere."""
        if not self._area:
            return None
        parts = [file.shapes(grid, window) for file in self._area]
        polygons, codes = (np.concatenate(column) for column in zip(*parts, strict=True))
        return burn(polygons, codes, grid, window=window) > 0

    def _fills(self, drawn: list[VectorLabels], grid: Grid) -> bool:
        """Whether what vector files leave open on a scene is background."""
        if self._area:
            return bool(drawn)
        return any(self._reaches(file, grid) for file in drawn)

    def _reaches(self, file: LabelFile, grid: Grid) -> bool:
        """Whether a file speaks of a scene; if empty it does so by its name."""
        if file.bounds is None:
            return self._labels.match == "name"
        return file.overlaps(grid)

    def _files_of(self, scene: str | None) -> list[LabelFile]:
        if self._labels.match == "location":
            return self._files
        assert scene is not None, "labels.match=name needs the scene's name"
        return self._by_name.get(scene, [])

    def touches(self, grid: Grid, *, scene: str | None = None) -> bool:
        """Whether labels may lie on a scene: extents overlap, or an empty file has its name."""
        files = self._files_of(scene)
        near = any(self._reaches(file, grid) for file in files)
        if not self._area:
            return near
        # Within the area all is labelled if there is a background, far from any geometry too.
        filled = bool(files) and self._background is not None
        return (near or filled) and any(file.overlaps(grid) for file in self._area)

    def check(self, scenes: Mapping[str, Grid]) -> list[str]:
        """Compare with the scenes (name → grid) before any work; notes which have no labels.

        Returns: names of the scenes that labels touch.
        Raises: InputError if they touch none.
        """
        labelled = [name for name, grid in scenes.items() if self.touches(grid, scene=name)]
        bare = [name for name in scenes if name not in labelled]
        if not labelled:
            raise InputError(self._missed(scenes))
        self._extra = [f"no labels, wholly unlabelled: {', '.join(bare)}"] if bare else []
        self._extra += self._said_of_datums(list(scenes.values()))
        self._extra += self.small_objects(list(scenes.values()))
        return labelled

    def _said_of_datums(self, grids: Sequence[Grid]) -> list[str]:
        """What is to be said of files whose datum is another, if the shift is not known well."""
        said: dict[tuple[str, str], str] = {}
        looked: set[tuple[str, str]] = set()
        for file in (*self._files, *self._area):
            for grid in grids:
                pair = file.crs, grid.crs
                if pair in looked or same_crs(*pair) or not file.overlaps(grid):
                    continue
                looked.add(pair)
                where = extent.bounds_in(grid.bounds, grid.crs, extent.WGS84)
                off = 0.0 if where is None else extent.datum_error_m(*pair, where)
                if off <= max(NEAR_M, grid.pixel_size_m):
                    continue
                how = "several metres to some hundred metres, as nothing is known here of the shift"
                how = how if math.isinf(off) else f"{off:.2g} m, as the shift is known"
                said[pair] = (
                    f"{file.path}: its CRS ({crs_of(file.crs).name}) has another datum than the"
                    f" scenes ({crs_of(grid.crs).name}): the labels may be off by {how} between"
                    " them; look at targets/ over the images, and if they are off, bring the labels"
                    " into the scenes' CRS with a program that has the grid of the shift (QGIS"
                    " fetches it)"
                )
        return list(said.values())

    def small_objects(self, grids: Sequence[Grid]) -> list[str]:
        """What is to be said of polygons smaller than a pixel of the finest of these grids."""
        if self._labels.all_touched:
            return []
        pixel = min(grid.pixel_size_m for grid in grids)
        small = [
            (file.path, file.smaller_than(pixel**2), file.polygons)
            for file in self._files
            if isinstance(file, VectorLabels)
        ]
        return [
            f"{path}: {count} of {total} polygons are smaller than a pixel of {pixel:.3g} m and"
            " count only where they cover its centre; labels.all_touched=true takes each pixel"
            " that they touch, a finer image shows them"
            for path, count, total in small
            if count
        ]

    def _missed(self, scenes: Mapping[str, Grid]) -> str:
        count = f"all {len(scenes)} scenes" if len(scenes) > 1 else "the scene"
        names = sorted(self._by_name)
        if self._labels.match == "name" and not set(names) & set(scenes):
            return (
                f"labels: none is called like a scene (labels.match=name): labels {few(names)};"
                f" scenes {few(list(scenes))}; rename them, or set labels.match=location"
            )
        own = self.extent_in(extent.WGS84)
        if own is None:
            files = few([file.path for file in self._files])
            return (
                f"labels: no geometry in {files}; check labels.where, or give files that hold some"
            )
        theirs = extent.union(
            extent.bounds_in(grid.bounds, grid.crs, extent.WGS84) for grid in scenes.values()
        )
        hint = "is the CRS of either wrong?"
        if extent.cross(extent.swapped(own), theirs):
            hint = "x and y look swapped in the labels"
        return (
            f"labels: they miss {count}: labels at {extent.degrees(own)};"
            f" scenes at {extent.degrees(theirs)}; {hint}"
        )

    def extent_in(self, crs: str) -> extent.Bounds | None:
        """Left, bottom, right, top of all labels in a CRS; None if there are none."""
        return extent.union(
            extent.bounds_in(file.bounds, file.crs, crs) for file in self._files if file.bounds
        )

    def close(self) -> None:
        """Let go of what was read; files are open only while they are read."""
        self._files, self._area, self._by_name = [], [], {}
