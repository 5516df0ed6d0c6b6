"""Say what a person must know of a data set of tiles before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.dataset.split import SPLITS, Region, leakage_m
from geoseg.dataset.targets import strips
from geoseg.dataset.tiles import (
    Dataset,
    Tile,
)
from geoseg.geo.legend import UNLABELLED, Legend
from geoseg.geo.raster import Raster
from geoseg.outputs.counted import few
from geoseg.outputs.summary import Summary
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.dated import AnyScene

SLIVER = 8
"""Pixels; tiles narrower than this are named."""


def warn_unused(made: Dataset, tiles: list[Tile], regions: list[Region], summary: Summary) -> None:
    """Name scenes of which nothing is in a split, or that are narrower than a tile."""
    used = {tile.scene for tile in tiles}
    named = {region.scene for region in regions}
    unnamed = [scene for scene in made.scenes if scene.name not in named]
    unlabelled = [scene for scene in made.scenes if scene.name in named - used]
    for why, scenes in (
        ("no split names them, so they are not used", unnamed),
        ("nothing labelled of them is in a split", unlabelled),
    ):
        if scenes:
            summary.warn(f"scenes {few([scene.name for scene in scenes])}: {why}")
    size = made.tiling.size
    narrow = [s for s in made.scenes if min(s.grid.height, s.grid.width) < size]
    if narrow:
        summary.note(
            f"scenes {few([s.name for s in narrow])}: narrower than a tile of {size} pixels, so"
            " their tiles are smaller; a smaller tiling.size fits them"
        )
    slivers = [t for t in tiles if min(t.window.height, t.window.width) < SLIVER]
    if slivers:
        summary.note(
            f"{len(slivers)} of {len(tiles)} tiles are slivers narrower than {SLIVER} pixels, of"
            f" scenes {few(sorted({t.scene for t in slivers}))}"
        )


def summarize(made: Dataset, tiles: list[Tile], empty: dict[str, int], summary: Summary) -> None:
    """Tables of scenes, splits, classes and bands; what a person must know before training."""
    _scene_table(made, summary)
    counts = {
        name: np.array([t.counts for t in tiles if t.split == name]).sum(axis=0)
        for name in SPLITS
        if any(t.split == name for t in tiles)
    }
    present = {name: [t for t in tiles if t.split == name] for name in counts}
    rows = [
        [
            name,
            len(present[name]),
            empty[name],
            sum(t.window.area for t in present[name]),
            f"{counts[name].sum() / sum(t.window.area for t in present[name]):.1%}",
        ]
        for name in counts
    ]
    header = ["split", "tiles", "left out (no labelled pixel)", "pixels", "labelled"]
    summary.table("Splits", header, rows)
    rows = [
        [c.code, c.name, *(f"{n[i] / max(1, n.sum()):.2%}" for n in counts.values())]
        for i, c in enumerate(made.legend.classes)
    ]
    summary.table("Share of the labelled pixels", ["code", "class", *counts], rows)
    tell_bands(made.bands, made.statistics, "train tiles", summary)
    _warn(made, counts, present, summary)


def tell_bands(
    bands: Sequence[str], statistics: BandStatistics, where: str, summary: Summary
) -> None:
    """Add the table of what the bands hold."""
    s = statistics
    columns = zip(bands, s.mean, s.std, s.p2, s.p98, strict=True)
    rows = [[name, *(f"{value:.5g}" for value in values)] for name, *values in columns]
    summary.table(f"Bands over the {where}", ["band", "mean", "std", "2 %", "98 %"], rows)


def said_of_extremes(
    bands: Sequence[str], statistics: BandStatistics, stretched: Sequence[int]
) -> list[str]:
    """What is to be said of bands of which few values lie far beyond all others. stretched: their
    places."""
    s = statistics
    return [
        f"band {bands[n]}: few values lie far beyond all others ({s.low[n]:.4g} to {s.high[n]:.4g};"
        f" 96 % of them {s.p2[n]:.4g} to {s.p98[n]:.4g}), and count as cut off for mean and"
        " deviation; if they are none, declare them as nodata (bands.nodata=…), if they are, as in"
        " the power of radar, decibels (10 · log10) show a network more"
        for n in stretched
    ]


def _scene_table(made: Dataset, summary: Summary) -> None:
    rows = []
    for scene in made.scenes:
        histogram = np.zeros(256, np.int64)
        with Raster(made.target(scene.name)) as target:
            for window in strips(scene.grid):
                histogram += np.bincount(target.read(window)[0].ravel(), minlength=256)
        area = max(1, scene.grid.window.area)
        rows.append(
            [
                scene.name,
                f"{scene.grid.width} × {scene.grid.height}",
                f"{scene.grid.pixel_size_m:.3g} m",
                _described(scene),
                f"{histogram[0] / area:.1%}",
                f"{histogram[UNLABELLED] / area:.1%}",
            ]
        )
        if histogram[0] == area:
            summary.warn(f"{scene.name}: no valid pixel at all")
        elif not histogram[made.legend.codes].sum():
            summary.warn(f"{scene.name}: no labelled pixel")
    summary.table(
        "Scenes", ["scene", "width × height", "pixel", "bands", "nodata", "unlabelled"], rows
    )


def _described(scene: AnyScene) -> str:
    """How many bands, and dates, of what type."""
    dates = f" × {len(scene.dates)} dates" if scene.dates else ""
    return f"{len(scene.bands_of_a_date)}{dates} {scene.dtype}"


def _warn(
    made: Dataset,
    counts: dict[str, np.ndarray],
    present: dict[str, list[Tile]],
    summary: Summary,
) -> None:
    warn_absent(made.legend, counts, summary)
    sizes = {scene.name: scene.grid.pixel_size_m for scene in made.scenes}
    if max(sizes.values()) > 1.2 * min(sizes.values()):
        summary.warn(
            f"pixel sizes differ: {min(sizes.values()):.3g} to {max(sizes.values()):.3g} m"
        )
    grids = {scene.name: scene.grid for scene in made.scenes}
    windows = {name: [(grids[t.scene], t.window) for t in ts] for name, ts in present.items()}
    for a, b in (("train", "test"), ("train", "val"), ("val", "test")):
        distance = leakage_m(windows, a, b)
        if distance is None:
            continue
        summary.note(f"leakage: {a} and {b} pixels are at least {distance:,.0f} m apart")
        if distance == 0:
            summary.warn(f"{a} and {b} touch or overlap: the scores of {b} will flatter")


def warn_absent(legend: Legend, counts: dict[str, np.ndarray], summary: Summary) -> None:
    """Say which classes lack from which splits. counts: split → amount of each class (K,)."""
    total = np.sum(list(counts.values()), axis=0)
    for place, name in enumerate(legend.names):
        if not total[place]:
            summary.warn(f"class {name} of the legend never occurs")
        elif not counts["train"][place]:
            summary.warn(f"class {name} never occurs in the train split: it can't be learnt")
        else:
            absent = [split for split, n in counts.items() if not n[place]]
            if absent:
                summary.warn(f"class {name} never occurs in {' and '.join(absent)}")
