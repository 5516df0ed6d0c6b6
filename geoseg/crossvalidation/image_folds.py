"""Cross-validate networks for images by blocks, by scene or at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.crossvalidation.draw import Folding, draw_folds
from geoseg.crossvalidation.folds import FoldJob, FoldPlan, Way
from geoseg.crossvalidation.layout import Layout, check_units
from geoseg.crossvalidation.scores import TILE_NOUNS, JudgedPixels
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import TILES, Dataset, Tile
from geoseg.errors import Faults, InputError
from geoseg.evaluation.accuracy import Scores
from geoseg.geo.vector import write_layer
from geoseg.models.settings import Model
from geoseg.outputs.counted import counted, spaced
from geoseg.training.checks import check_dataset

FitTiles = Callable[..., np.ndarray]
"""(dataset, train, held_out, *, seed) → confusion matrix (K, K)."""
TITLES = {"block": "by blocks", "scene": "by scene", "random": "at random"}


@dataclass(frozen=True)
class ImageFolds:
    """The tiles of a data set, and the ways that they are held out."""

    dataset: Dataset
    ways: tuple[Way, ...]
    layouts: dict[str, Layout]
    """By way."""
    splits: tuple[str, ...]
    """Of the data set that take part."""

    kept = "confusion"
    table = TILES
    """File of the data set that says what is dealt out."""

    @classmethod
    def plan(cls, dataset: Dataset, draw: FoldPlan, model: Model, *, test: bool) -> ImageFolds:
        """Draw the folds. test: whether the tiles of that split take part too.

        Raises: InputError for anything that could not end well.
        """
        _check_settings(dataset, model, draw)
        splits = SPLITS if test else ("train", "val")
        tiles = [tile for split in splits for tile in dataset.tiles(split)]
        layouts = {draw.split.by: Layout.of(dataset, tiles, draw.split)}
        ways = [_way(dataset, layouts[draw.split.by], draw)]
        if draw.random and draw.split.by != "random":
            layouts["random"] = Layout.of(dataset, tiles, Folding("random"))
            same = replace(draw, folds=ways[0].folds)
            ways.append(_way(dataset, layouts["random"], same))
        return cls(dataset, tuple(ways), layouts, splits)

    def jobs(self, way: Way, seeds: Sequence[int], fit: FitTiles) -> Iterator[FoldJob]:
        """Trainings of a way; each gives the confusion matrix (K, K) of the tiles held out."""
        layout, shape = self.layouts[way.by], 2 * (len(self.dataset.legend),)
        order = {scene.name: number for number, scene in enumerate(self.dataset.scenes)}
        for seed, fold in zip(seeds, way.fold, strict=True):
            for one in range(way.folds):
                units = np.flatnonzero(fold == one)
                held = layout.held_out(units)
                windows = [
                    (order[t.scene], t.window.top, t.window.left, t.window.height, t.window.width)
                    for t in held
                ]

                def train(
                    place: str,
                    units: np.ndarray = units,
                    held: list[Tile] = held,
                    seed: int = seed,
                ) -> tuple[np.ndarray, str]:
                    tiles = layout.train(units)
                    _check_train(tiles, place)
                    found = fit(self.dataset, tiles, held, seed=seed)
                    return np.asarray(found, np.int64), self._said(tiles, found)

                yield FoldJob(seed, one + 1, np.array(windows, np.int64), shape, train)

    def _said(self, train: Sequence[Tile], found: np.ndarray) -> str:
        scores = Scores.of(found, self.dataset.legend.names)
        return (
            f"trained on {counted(len(train), 'tile')}, {100 * scores.overall_accuracy:.1f} % of"
            f" {spaced(found.sum())} pixels held out are right, mIoU {scores.miou:.3f}"
        )

    def judged(self, way: Way, seeds: Sequence[int], results: Sequence[np.ndarray]) -> JudgedPixels:
        """The results of a way's jobs together: every labelled pixel once per seed."""
        classes = len(self.dataset.legend)
        matrices = np.array(results).reshape(len(seeds), way.folds, classes, classes)
        return JudgedPixels(
            way.by,
            way.title,
            way.units,
            tuple(seeds),
            matrices,
            tuple(self.dataset.legend.names),
            way.nearest_m,
        )

    def text(self, judged: Sequence[JudgedPixels]) -> str:
        """The scores as tables for a terminal."""
        return "\n\n".join(way.text() for way in judged)

    def notes(self) -> list[str]:
        """What a reader of the scores should know of the blocks."""
        notes = []
        for way in self.ways:
            holders = (self.layouts[way.by].counts > 0).sum(axis=0)
            few = [
                f"{name} ({count})"
                for name, count in zip(self.dataset.legend.names, holders.tolist(), strict=True)
                if 0 < count < way.folds
            ]
            if few:
                noun = TILE_NOUNS[way.by]
                notes.append(f"{way.title}, classes in fewer {noun} than folds: {', '.join(few)}")
            if way.nearest_m == 0 and way.by != "random":
                notes.append(
                    f"{way.title}: what trains touches what is held out, the scores will flatter;"
                    " set split.buffer_m"
                )
        return notes

    def write(self, out: Path, judged: Sequence[JudgedPixels]) -> None:
        """The blocks with the fold of each seed: folds_<way>.gpkg, to look at in QGIS."""
        from geoseg.labels.outlines import outlines

        for way, found in zip(self.ways, judged, strict=True):
            layout = self.layouts[way.by]
            shown = np.flatnonzero(layout.unit >= 0)
            parts, units = [layout.parts[i] for i in shown], layout.unit[shown]
            drawn, crs = outlines([(layout.grids[p.scene], p.window) for p in parts])
            columns: dict[str, Any] = {"scene": [p.scene for p in parts], "unit": units}
            for seed, fold in zip(found.seeds, way.fold, strict=True):
                columns[f"fold_seed_{seed}"] = fold[units] + 1
            for place, code in enumerate(self.dataset.legend.codes):
                columns[f"px_{code}"] = [sum(t.counts[place] for t in p.tiles) for p in parts]
            write_layer(
                out / f"folds_{way.by}.gpkg",
                columns,
                layer="folds",
                geometries=drawn,
                crs=crs,
            )

    def origin(self) -> dict[str, Any]:
        return {"splits": list(self.splits)}


def _way(dataset: Dataset, layout: Layout, draw: FoldPlan) -> Way:
    """Deal the units out. Raises: InputError if there are too few, or nothing is left to train."""
    check_units(layout, draw.folds)
    units = len(layout.counts)
    one_each = layout.by == "scene" and draw.folds in (0, units)
    drawn = [
        np.arange(units)
        if one_each
        else draw_folds(layout.counts, count=draw.folds, seed=seed)
        for seed in draw.seeds
    ]  # fmt: skip
    near = []
    for fold in drawn:
        for one in range(int(fold.max()) + 1):
            held = np.flatnonzero(fold == one)
            if not layout.homes(held):
                raise InputError(
                    f"{dataset.folder}: nothing is left to train on when fold {one + 1} is held"
                    " out with its buffer; set fewer folds, a smaller split.buffer_m or a smaller"
                    " split.block_m"
                )
            near.append(layout.nearest_m(held))
    known = [metres for metres in near if metres is not None]
    nearest = round(min(known), 6) if known else None
    return Way(layout.by, TITLES[layout.by], units, np.stack(drawn), nearest)


def _check_settings(dataset: Dataset, model: Model, draw: FoldPlan) -> None:
    """Raises: InputError for what only series know, or a network that is not for images."""
    faults = Faults()
    if dataset.reference is not None:
        raise InputError(
            f"{dataset.folder}: scenes of many dates; folds are made of single images"
            " (geoseg.prepare), and of samples (geoseg.prepare_series unit=parcel or unit=pixel)"
        )
    faults.attempt(check_dataset, dataset, model)
    if draw.split.by == "column":
        faults.add(
            "split.by=column: images have no columns; set split.by=scene (folds=0: one scene at a"
            " time) or split.by=block"
        )
    if draw.folds == 0 and draw.split.by != "scene":
        faults.add("folds=0: one fold per scene; set split.by=scene, or give at least 2 folds")
    faults.raise_if_any()


def _check_train(tiles: Sequence[Tile], place: str) -> None:
    """Raises: InputError if nothing with a label is left to train on."""
    if not tiles:
        raise InputError(
            f"{place}: no labelled pixel is left to train on beyond the buffer; set fewer folds, a"
            " smaller split.buffer_m or a smaller split.block_m"
        )
