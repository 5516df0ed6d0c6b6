"""Run a method on a prepared data set, in processes of its own, and score what it says of test.

geoseg's networks are trained and asked by geoseg's commands, as a user would; a rival by itself.
One function scores both, on the same pixels or samples.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml

import geoseg
from benchmarks.arena import otb
from benchmarks.arena.arrays import ImageTruth
from benchmarks.arena.rivals import (
    NEEDS,
    OF_IMAGES,
    OF_SERIES,
    PREDICTION,
    TOLD,
    Job,
)
from benchmarks.arena.sets import ImageSet, SeriesSet, Set
from benchmarks.series import each_pixel
from geoseg.commands import conf
from geoseg.dataset.samples import SAMPLES, SeriesDataset
from geoseg.dataset.tiles import Dataset
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.models.settings import ARCHITECTURES, SERIES_NETWORKS, Model
from geoseg.outputs.files import write_json
from geoseg.samples.settings import SeriesSamples
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from geoseg.training import recipe
from geoseg.training.objectives.settings import Loss
from geoseg.training.run.history import METRICS
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.tasks import images as learn
from geoseg.training.tasks import series as learnseries

GEOSEG = "geoseg:"
"""What geoseg's methods begin with; the network follows, and after commas keys of geoseg.train."""
BATCH = {"images": 8, "series": 64}
"""Samples of a step where all methods make equally many: those of the plain scripts."""


@dataclass(frozen=True)
class Limit:
    """How long each training may last: minutes, or steps of equally many samples."""

    minutes: float | None = None
    steps: int | None = None

    def __str__(self) -> str:
        return f"{self.minutes:g}min" if self.steps is None else f"{self.steps}steps"


@dataclass(frozen=True)
class Place:
    """Where a trial finds its data and leaves its files."""

    data: Path
    """Real data."""
    dataset: Path
    """Prepared for one seed."""
    out: Path
    """For what a method makes on its way; removed when the trial is scored."""


def usual(made: Set) -> list[str]:
    """All methods for a set, whether they are there or not."""
    rivals = OF_IMAGES if made.kind == "images" else OF_SERIES
    networks = (f"{GEOSEG}{name}" for name in (*made.networks, "forest"))
    return [*networks, *rivals]


def why_not(method: str, made: Set) -> str | None:
    """Why a method can't be tried on a set here; None if it can."""
    if method.startswith(GEOSEG):
        name, *_ = method.removeprefix(GEOSEG).split(",")
        if not (conf.CONF / "model" / f"{name}.yaml").is_file():
            return f"geoseg has no model={name}"
        others = SERIES_NETWORKS if made.kind == "images" else ARCHITECTURES
        return f"not a network for {made.kind}" if name in others else None
    rivals = OF_IMAGES if made.kind == "images" else OF_SERIES
    if method not in rivals:
        return f"there is none for {made.kind}; there are {', '.join(rivals)}"
    needed = NEEDS.get(method)
    if needed is not None and find_spec(needed) is None:
        return f"{needed} is not installed"
    return otb.why_not() if method == "otb" else None


def whole_epochs(
    made: Set, dataset: Path, steps: int, network: str = "unet"
) -> tuple[int, int, int]:
    """Epochs of geoseg that come nearest to so many steps, the steps that they have, and the
    samples of a step: of squares as many as cover the tiles of the others' steps."""
    batch, parts = BATCH[made.kind], 1
    usual = TrainingSettings(Model(network), Loss(), Fit(batch_size=batch), SeriesSamples(), 0)
    if made.kind == "images":
        images = Dataset.load(dataset)
        count, usual = len(images.tiles("train")), recipe.for_images(usual, images)
        parts = learn.parts_of(images, usual.fit.crop)
        batch *= parts
    else:
        found = SeriesDataset.load(dataset)
        train = found.samples("train")
        count = int(train.pixels.sum()) if found.unit == "pixel" else len(train)
        usual = recipe.for_series(usual)
    least = parts * max(usual.fit.least, count)
    each = len(Shuffle(count, least=least, batch=batch, seed=0)) // batch
    epochs = max(1, round(steps / each))
    return epochs, epochs * each, batch


def run(method: str, made: Set, place: Place, *, seed: int, limit: Limit) -> dict[str, Any]:
    """Train and predict anew; what came out: scores, steps, samples, seconds.

    Raises: CalledProcessError; the method's own words are in its log.
    """
    shutil.rmtree(place.out, ignore_errors=True)
    place.out.mkdir(parents=True)
    began = time.monotonic()
    if method.startswith(GEOSEG):
        told, found = _geoseg(method.removeprefix(GEOSEG), made, place, seed, limit)
    else:
        told, found = _rival(method, made, place, seed, limit)
    told["seconds"] = round(time.monotonic() - began, 1)
    told |= score(made, place.dataset, found)
    shutil.rmtree(place.out)
    return told


def _call(place: Place, *arguments: str) -> None:
    """Start Python on a module; its words go to log.txt beside the trial's folder."""
    log = place.out.with_suffix(".log")
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ python -m {' '.join(arguments)}\n")
        file.flush()
        call = [sys.executable, "-m", *arguments]
        subprocess.run(call, check=True, stdout=file, stderr=subprocess.STDOUT)
    log.unlink()


def _rival(
    method: str, made: Set, place: Place, seed: int, limit: Limit
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    steps = limit.steps
    if steps is not None:
        steps = whole_epochs(made, place.dataset, steps)[1]
    with_val = not (isinstance(made, ImageSet) and made.own_val)
    job = Job(
        method, str(place.dataset), str(place.out), seed, with_val, limit.minutes, steps
    )  # fmt: skip
    write_json(place.out / "job.json", asdict(job))
    _call(place, "benchmarks.arena.rivals", str(place.out / "job.json"))
    told = json.loads((place.out / TOLD).read_text(encoding="utf-8"))
    with np.load(place.out / PREDICTION) as file:
        return told, dict(file)


def _geoseg(
    method: str, made: Set, place: Place, seed: int, limit: Limit
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    trained = place.out / "run"
    told = train(method, made, place, trained, seed=seed, limit=limit)
    return told, predicted(made, place, str(trained))


def train(
    method: str, made: Set, place: Place, run: Path, *, seed: int, limit: Limit
) -> dict[str, Any]:
    """Train by geoseg into a run folder; its steps, samples and seconds.

    method: network, and after commas what else the training is told.
    """
    network, *more = method.split(",")
    keys = [f"dataset={place.dataset}", f"run={run}", f"model={network}", f"seed={seed}", *more]
    if limit.steps is None:
        keys.append(f"fit.max_minutes={limit.minutes}")
    else:
        epochs, _, batch = whole_epochs(made, place.dataset, limit.steps, network)
        keys += [f"fit.epochs={epochs}", f"fit.batch_size={batch}"]
    began = time.monotonic()
    _call(place, "geoseg.train", *keys)
    return trained_for(made, place.dataset, run, time.monotonic() - began)


def predicted(made: Set, place: Place, checkpoint: str) -> dict[str, np.ndarray]:
    """What geoseg.predict says of the test part, as `score` takes it. checkpoint: its key."""
    maps = place.out / "maps"
    given = (f"checkpoint={checkpoint}", f"out={maps}")
    if isinstance(made, ImageSet):
        dataset = Dataset.load(place.dataset)
        truth = ImageTruth.of(dataset)
        paths = [p for s in dataset.scenes if s.name in truth.scenes for p in s.paths]
        _call(place, "geoseg.predict", *given, f"scenes=[{','.join(dict.fromkeys(paths))}]")
        return {
            name: dataset.legend.encode(_codes(maps / "landcover" / f"{name}.tif"))
            for name in truth.scenes
        }
    # Tables and dated images lie beside the data sets of all seeds.
    inputs = made.inputs(place.data, place.dataset.parent)
    _call(place, "geoseg.predict", *given, *inputs)
    return {"samples": _of_samples(made, place, maps)}


def trained_for(made: Set, dataset: Path, run: Path, seconds: float) -> dict[str, Any]:
    """Steps, samples and seconds of a training by geoseg.

    seconds: of the whole command, for what has no steps.
    """
    path = run / METRICS
    if not path.is_file():
        return {"train_seconds": seconds}
    with path.open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    steps = int(last["step"])
    told = {"train_seconds": 60 * float(last["minutes"]), "steps": steps}
    config = yaml.safe_load((run / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    left_open, parts = learnseries.BATCH, 1
    if made.kind == "images":
        images = Dataset.load(dataset)
        network = Model(config["model"]["name"])
        usual = TrainingSettings(network, Loss(), Fit(), SeriesSamples(), 0)
        usual = replace(usual, fit=replace(usual.fit, crop=config["fit"]["crop"]))
        usual = recipe.for_images(usual, images)
        parts = learn.parts_of(images, usual.fit.crop)
        left_open, _ = learn.usual_batches(usual, images)
    # Of squares so many count as a tile as cover it.
    return told | {"samples": steps * (config["fit"]["batch_size"] or left_open) // parts}


def _codes(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        codes: np.ndarray = file.read(1)
        return codes


def _of_samples(made: SeriesSet, place: Place, maps: Path) -> np.ndarray:
    """Class indices of the test samples in what geoseg.predict wrote: a table, parcels or a map."""
    dataset = SeriesDataset.load(place.dataset)
    samples = dataset.samples()
    if (maps / "series.csv").is_file():
        with (maps / "series.csv").open(newline="", encoding="utf-8") as file:
            code = {row["id"]: int(row["code"] or 0) for row in csv.DictReader(file)}
        codes = np.array([code[name] for name in samples.take(samples.split == "test").id])
    elif (maps / "parcels.gpkg").is_file():
        with closing(sqlite3.connect(maps / "parcels.gpkg")) as table:
            rows = table.execute("SELECT id, code FROM parcels").fetchall()
        code = {str(name): int(value or 0) for name, value in rows}
        codes = np.array([code[str(name)] for name in samples.take(samples.split == "test").id])
    else:
        codes = _on_map(place, maps, samples.id, samples.split)
    return dataset.legend.encode(codes.astype(np.uint8))


def _on_map(place: Place, maps: Path, ids: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Codes of the pixels of the test polygons, in the order of the data set's arrays.

    ids, split: of all samples of the data set.
    """
    import geopandas

    from geoseg.dataset.settings import SampleSettings
    from geoseg.parcels.outlines import layers, outlines, overlaps
    from geoseg.parcels.pixel_sets import pixel_sets

    # The outlines, and what of them was taken, are those of the data set of all seeds.
    whole = SeriesDataset.load(place.dataset.parent / "dataset")
    told = whole.settings
    (stack,) = find_stacks(Series(**told["series"]))
    table = geopandas.read_file(whole.folder / SAMPLES, layer="samples")
    shapes = outlines(table.geometry.to_numpy(), str(table.crs), stack.grid)
    sets = pixel_sets(
        shapes, stack.grid, SampleSettings(**told["samples"]), ids=table["id"].to_numpy(),
        layer=layers(len(table), overlaps(shapes)),
    )  # fmt: skip
    counts = np.bincount(sets.owner, minlength=len(table))
    if not np.array_equal(counts, table["pixels"]):
        raise ValueError(f"{whole.folder}: its polygons do not hold the pixels that it has of them")
    codes = _codes(maps / "landcover" / f"{stack.name}.tif").ravel()
    tested = set(ids[split == "test"])
    mine = table["id"].isin(tested).to_numpy()[sets.owner]
    return codes[sets.pixel[mine]]


def score(made: Set, dataset: Path, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Scores of class indices on the test split of a data set, and how much was compared.

    found: scene → (H, W), or "samples" → (N,); what is no index of a class counts as wrong.
    Means are over the classes that the test split has.
    """
    if isinstance(made, ImageSet):
        truth = ImageTruth.of(Dataset.load(dataset))
        names = truth.names
        pairs = [(target[target != 255], found[scene][target != 255])
                 for scene, target in truth.scenes.items()]  # fmt: skip
    else:
        loaded = SeriesDataset.load(dataset)
        samples = each_pixel(loaded.samples("test"))
        names = loaded.legend.names
        pairs = [(np.searchsorted(loaded.legend.codes, samples.code), found["samples"])]
    return scores_of(pairs, names)


def scores_of(pairs: list[tuple[np.ndarray, np.ndarray]], names: list[str]) -> dict[str, Any]:
    """IoU of each class, mIoU, overall accuracy and macro F1 of pairs (truth, guess) of indices."""
    none = len(names)
    matrix = np.zeros((none + 1, none + 1), np.int64)
    for truth, guess in pairs:
        if truth.shape != guess.shape:
            raise ValueError(f"{len(truth)} were asked for, and {len(guess)} given a class")
        given = np.where((guess >= 0) & (guess < none), guess, none).astype(np.int64)
        matrix += confusion(truth.astype(np.int64), given, none + 1)
    whole = Scores.of(matrix, [*names, ""])
    present = matrix.sum(axis=1)[:none] > 0
    iou, f1 = np.array(whole.iou[:none]), np.array(whole.f1[:none])
    by_name = dict(zip(names, iou.tolist(), strict=True))
    return {
        "scores": {
            "oa": whole.overall_accuracy,
            "miou": float(iou[present].mean()),
            "f1": float(f1[present].mean()),
        },
        "iou": {name: by_name[name] for name, there in zip(names, present, strict=True) if there},
        "compared": int(matrix.sum()),
    }


def digest_of(method: str) -> str:
    """Names the code that a result is made by."""
    found = hashlib.sha256()
    for file in sorted(code_of(method)):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()[:12]


def code_of(method: str) -> list[Path]:
    """The files that a result is made by: those of the arena, and geoseg's with its settings.

    What the rivals need of geoseg does not count: its reading and splitting are tested elsewhere.
    """
    root, here = Path(geoseg.__file__).parent, Path(__file__).parent
    files = [here / f"{name}.py" for name in ("arrays", "methods", "sets")]
    files += [here.parent / "real.py", here.parent / "series.py"]
    if method.startswith(GEOSEG):
        files += [*root.rglob("*.py"), *conf.CONF.rglob("*.yaml")]
    else:
        files += [here / f"{name}.py" for name in ("otb", "plain", "rivals")]
    return files
