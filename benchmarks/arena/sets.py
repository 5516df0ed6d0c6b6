"""The data sets of the arena: how each is prepared, what is held out, what is scored.

A prepared set is a folder of geoseg.prepare or prepare_series. Its test split is what is scored:
the part that is reported or, with inner=True, a fold of the train part, for choices. What is
reported is in no split of an inner data set.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import real, series
from geoseg.crossvalidation.draw import Folding, draw_folds
from geoseg.crossvalidation.layout import Layout
from geoseg.dataset.prepare import measure
from geoseg.dataset.sample_split import SampleSplit, assign
from geoseg.dataset.samples import PIXELS, Samples, SeriesDataset, write_samples
from geoseg.dataset.statistics import day_range, shape_statistics
from geoseg.dataset.statistics import measure as measure_series
from geoseg.dataset.tiles import DESCRIPTION, TARGETS, Dataset, Tile, write_tiles
from geoseg.outputs.summary import Summary
from geoseg.parcels.prepare import prepare_series
from geoseg.scenes.bands import BandStatistics

FOLDS = 5
"""Inner folds of a train part; of scenes as many as there are."""
VAL = SampleSplit().val
"""Share of the train samples that a user of prepare_series holds back for validation."""


@dataclass(frozen=True)
class ImageSet:
    """Scenes and labels."""

    name: str
    prepare: tuple[str, ...]
    """Keys of geoseg.prepare; {data} stands for the folder of real data."""
    test: str
    """What is held out, in words."""
    score: str
    """Class whose IoU counts, or "miou"."""
    target: float
    """To reach."""
    inner: str = "block"
    """What the inner folds hold out: blocks of the ground, or whole scenes."""
    own_val: bool = False
    """The data's own split names a val part, which nobody trains on."""

    kind = "images"
    networks = ("unet", "segnet")

    @property
    def scores(self) -> tuple[str, ...]:
        return (self.score, "oa")


@dataclass(frozen=True)
class SeriesSet:
    """Samples with dated observations."""

    name: str
    row: series.Row
    """How the samples are found."""
    way: str
    """How they are held out; see benchmarks.series."""
    test: str
    """What is held out, in words."""
    targets: dict[str, float]
    """Score → to reach."""
    inputs: Callable[[Path, Path], tuple[str, ...]]
    """(folder of the data, folder of tables) → the keys by which geoseg.predict gets the series."""

    kind = "series"
    networks = ("lstm", "tempcnn", "ltae", "psetae")
    scores = ("oa", "f1")

    @property
    def target(self) -> float:
        return self.targets.get("oa", float("nan"))


Set = ImageSet | SeriesSet


def _as_real(name: str, row: str, target: float, **options: object) -> ImageSet:
    """A set that benchmarks.real prepares."""
    made = next(made for made in real.ROWS if made.name == row)
    return ImageSet(name, made.prepare, made.test, made.score, target, **options)  # type: ignore[arg-type]


MASSACHUSETTS = (
    "scenes=[{data}/massachusetts/22978945_15.tif,{data}/massachusetts/23429155_15.tif]",
    "labels.path=[{data}/massachusetts/22978945_15.gpkg,{data}/massachusetts/23429155_15.gpkg]",
    "labels.name=building",
    "labels.background=other",
    "legend=buildings",
    "split.test=['23429155_15']",
)


def _table(name: str) -> Callable[[Path, Path], tuple[str, ...]]:
    return lambda data, folder: (f"table={folder / name}",)


def _mato_grosso(data: Path, folder: Path) -> tuple[str, ...]:
    place = data / "series" / "mato_grosso"
    files = ",".join(str(place / f"{band}.tif") for band in series.MATO_GROSSO_BANDS)
    return (
        f"series.path=[{files}]", f"series.dates={place / 'timeline'}",
        f"parcels={place / 'samples.csv'}",
    )  # fmt: skip


def _slovenia(data: Path, folder: Path) -> tuple[str, ...]:
    place = data / "series" / "slovenia"
    return f"series.path={place / 'ndvi'}", f"series.masks={place / 'cloud'}"


_ROWS = {row.name: row for row in series.ROWS}
_FRANCE = _table("france.parquet")
IMAGES = (
    _as_real("buildings", "buildings_unet", 0.75, inner="scene", own_val=True),
    ImageSet("massachusetts", MASSACHUSETTS, "scene 23429155_15", "building", float("nan")),
    _as_real("new_brunswick", "new_brunswick", 0.45),
    _as_real("denmark", "denmark", 0.89),
    _as_real("po_valley", "po_valley", 0.57),
)
SERIES = (
    SeriesSet("formosat", _ROWS["formosat"], "given", "as given", {"oa": 0.76},
              _table("formosat.parquet")),
    SeriesSet("slovenia", _ROWS["slovenia"], "block", "polygons, by blocks", {"oa": 0.92},
              _slovenia),
    SeriesSet("france_random", _ROWS["france"], "random", "a random fifth", {"oa": 0.85}, _FRANCE),
    SeriesSet("france_blocks", _ROWS["france"], "column", "a fifth, by blocks of 0.01°",
              {"oa": 0.81}, _FRANCE),
    SeriesSet("mato_grosso", _ROWS["mato_grosso"], "draw", "90 %, at random", {"oa": 0.982},
              _mato_grosso),
)  # fmt: skip
SETS: dict[str, Set] = {made.name: made for made in (*IMAGES, *SERIES)}


def prepared(made: Set, data: Path, out: Path, *, seed: int, inner: bool) -> Path:
    """The data set of one seed; made once. out: folder for all of them.

    The test part of images, and of series that are held out as given, is the same for all seeds.
    """
    if isinstance(made, SeriesSet):
        return _prepared_series(made, data, out, seed, inner=inner)
    whole = out / made.name / "dataset"
    if not (whole / DESCRIPTION).exists():
        keys = [key.format(data=data) for key in made.prepare]
        call = [sys.executable, "-m", "geoseg.prepare", *keys, f"dataset={whole}"]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    if not inner:
        return whole
    folder = out / made.name / f"inner_{seed}"
    if not (folder / DESCRIPTION).exists():
        inner_images(Dataset.load(whole), folder, by=made.inner, seed=seed)
    return folder


def inner_images(dataset: Dataset, folder: Path, *, by: str, seed: int) -> None:
    """Hold out a fold of the train tiles as the test part of a data set of its own.

    Blocks have the buffer of the data set around them; val stays what it was.
    """
    layout = Layout.of(dataset, dataset.tiles("train"), Folding(by=by))
    count = min(FOLDS, len(layout.counts))
    fold = draw_folds(layout.counts, count=count, seed=seed // count)
    held = np.flatnonzero(fold == seed % count)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(dataset.folder / TARGETS, folder / TARGETS)
    tiles: list[Tile] = [
        *layout.train(held),
        *dataset.tiles("val"),
        *(replace(tile, split="test") for tile in layout.held_out(held)),
    ]
    write_tiles(folder, tiles, dataset.scenes, dataset.legend)
    cut = replace(dataset, folder=folder)
    replace(cut, statistics=measure(cut, Summary())).save()


def _prepared_series(made: SeriesSet, data: Path, out: Path, seed: int, *, inner: bool) -> Path:
    scratch = out / made.row.name
    whole = scratch / "dataset"
    if not (whole / DESCRIPTION).exists():
        scratch.mkdir(parents=True, exist_ok=True)
        source, legend = made.row.open(data, scratch)
        prepare_series(source, legend, whole, unit=made.row.unit, split=made.row.split)
    folder = scratch / f"{made.way}_{'inner' if inner else 'test'}_{seed}"
    if not (folder / DESCRIPTION).exists():
        split_series(SeriesDataset.load(whole), folder, way=made.way, seed=seed, inner=inner)
    return folder


def split_series(dataset: SeriesDataset, folder: Path, *, way: str, seed: int, inner: bool) -> None:
    """A data set of the same pixels with the split, and so the statistics, of one seed.

    Of several folds one is held out, a seed's own. 15 % of the train samples are val: the default
    of prepare_series.
    """
    samples = dataset.samples()
    train, _ = held_out(samples, way, dataset.crs, seed)
    if inner:
        samples = samples.take(train)
        # A tenth of the samples that trains is too little for another tenth of it.
        by = "random" if way in ("given", "draw") else way
        train, _ = held_out(samples, by, dataset.crs, seed)
    split = np.full(len(samples), "test", object)
    by = way if way in ("block", "column") else "random"
    column = "fold" if by == "column" else None
    back = SampleSplit(val=VAL, test=0.0, by=by, column=column, seed=seed)
    by_pixel = dataset.unit == "pixel"
    split[train] = assign(samples.take(train), back, crs=dataset.crs, by_pixel=by_pixel)
    samples = replace(samples, split=split)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(dataset.folder / PIXELS, folder / PIXELS)
    write_samples(folder, samples, dataset.legend)
    train_samples = samples.take(split == "train")
    mean, std = shape_statistics(train_samples)
    statistics: BandStatistics = measure_series(folder, train_samples, dataset.bands)
    replace(
        dataset, folder=folder, statistics=statistics, shape_mean=mean, shape_std=std,
        days=day_range(folder, train_samples),
    ).save()  # fmt: skip


def held_out(
    samples: Samples, way: str, crs: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the samples that train and of those that are held out, whole polygons together.

    Folds are drawn by pixels, so that each gets its share of them.
    """
    each = series.each_pixel(samples)
    owner = np.repeat(np.arange(len(samples)), samples.pixels)
    folds = list(series.parts(way, each, crs, seed))
    train, test = (np.unique(owner[places]) for places in folds[seed % len(folds)])
    return train, test


def describe(made: Set, folder: Path) -> dict[str, int]:
    """How much trains, validates and tests: tiles, or samples (of polygons, their pixels)."""
    if isinstance(made, ImageSet):
        dataset = Dataset.load(folder)
        return {split: len(dataset.tiles(split)) for split in ("train", "val", "test")}
    samples = SeriesDataset.load(folder).samples()
    return {
        split: int(samples.pixels[samples.split == split].sum())
        for split in ("train", "val", "test")
    }
