"""Whether suggested windows are worth more labels than random ones, on the buildings and the demo.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.suggest [--sets buildings demo] [--seeds 0 1 …]

A tenth of the train windows, drawn by chance, gets labels; a network learns from them and maps the
train scenes. Then as many windows as make up a quarter get labels: those that `geoseg.suggest`
names, diverse or only the most unsure, or others drawn by chance. The network goes on learning from
these, equally long, and is judged on the test split. Each result is kept: stopped and started
again, it goes on. Some two minutes of one core for each seed and set.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import shapely
import torch
from torch.utils.data import DataLoader

from benchmarks.real import BUILDINGS, real_data
from geoseg.dataset.tiles import Dataset
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling
from geoseg.geo.vector import Layer, write_layer
from geoseg.models import checkpoint
from geoseg.models.device import choose
from geoseg.outputs.files import write_json
from geoseg.samples.tiles import ValTiles
from geoseg.scenes.scene import Scene

SIDE = 128
FIRST, THEN = 0.1, 0.25
WAYS = ("random", "unsure", "suggested")
SETS = ("buildings", "demo")
RESULTS = "suggest.json"
Place = tuple[int, Window]
"""Number of a train scene, and a window of it."""
Scored = dict[str, dict[str, dict[str, float]]]
"""Set → seed → way → mIoU."""
LOADED = ("hydra", "torch", "albumentations", "geoseg.training.tasks.images")
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
CONTEXT: Any = multiprocessing.get_context("forkserver" if FORKS else "spawn")


def geoseg(name: str, *arguments: str) -> None:
    """Run a command, quietly, where the libraries are loaded, which would take most of the time.

    Raises: RuntimeError if it fails.
    """
    process = CONTEXT.Process(target=_geoseg, args=(name, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"geoseg.{name} {' '.join(arguments)}: exit status {process.exitcode}")


def _geoseg(name: str, arguments: tuple[str, ...]) -> None:
    sys.argv = [name, *arguments]
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  the process ends with it
    runpy.run_module(f"geoseg.{name}", run_name="__main__", alter_sys=True)


@dataclass(frozen=True)
class Ground:
    """A data set with all its labels, and what it is made of."""

    keys: tuple[str, ...]
    """Of prepare."""
    folder: Path
    made: Dataset

    @property
    def train(self) -> list[Scene]:
        names = {tile.scene for tile in self.made.tiles("train")}
        return [s for s in self.made.scenes if isinstance(s, Scene) and s.name in names]

    @property
    def places(self) -> list[Place]:
        """The windows that could get labels, as suggest cuts them."""
        inside = {(t.scene, t.window) for t in self.made.tiles("train")}
        return [
            (number, window)
            for number, scene in enumerate(self.train)
            for window in Tiling(SIDE, 0).tiles(scene.grid.window)
            if any(name == scene.name and window.intersect(w) for name, w in inside)
        ]


def ground(name: str, out: Path) -> Ground:
    """The data set with all labels; makes the demo's if that is not there."""
    if name == "buildings":
        keys = tuple(key.format(data=real_data()) for key in BUILDINGS)
    else:
        if not Path("data/demo/scenes").is_dir():
            geoseg("demo")
        # Scenes by name: shares would be cut elsewhere where fewer windows have labels.
        names = sorted(path.stem for path in Path("data/demo/scenes").glob("*.tif"))
        *train, val, test = names
        keys = (
            *("scenes=data/demo/scenes", "labels.path=data/demo/labels.gpkg"),
            *("labels.field=class", "labels.width_field=width_m", "legend=demo"),
            *(f"split.train=[{','.join(train)}]", f"split.val=[{val}]", f"split.test=[{test}]"),
        )
    keys = (*keys, f"tiling.size={SIDE}")
    folder = out / name / "all"
    geoseg("prepare", *keys, f"dataset={folder}")
    return Ground(keys, folder, Dataset.load(folder))


def write_area(path: Path, made: Ground, places: list[Place]) -> Path:
    """Polygons within which labels count: these windows, and all of val and test."""
    boxes = [shapely.box(*made.train[n].grid.bounds_of(window)) for n, window in places]
    grids = {scene.name: scene.grid for scene in made.made.scenes}
    for split in ("val", "test"):
        boxes += [shapely.box(*grids[t.scene].bounds_of(t.window)) for t in made.made.tiles(split)]
    path.parent.mkdir(parents=True, exist_ok=True)
    crs = made.train[0].grid.crs
    write_layer(
        path, {"n": np.arange(len(boxes))}, layer="area", geometries=np.array(boxes), crs=crs
    )
    return path


def learn(
    made: Ground, places: list[Place], out: Path, *, epochs: int, seed: int, start: Path | None
) -> float:
    """Train on the labels of some windows, from another run on. Returns: mIoU on the test split."""
    shutil.rmtree(out, ignore_errors=True)  # what was stopped
    area = write_area(out / "area.gpkg", made, places)
    geoseg("prepare", *made.keys, f"labels.area={area}", f"dataset={out / 'dataset'}")
    further = [] if start is None else [f"model.weights={start}", "model.keep=network"]
    geoseg("train", f"dataset={out / 'dataset'}", f"run={out / 'run'}", f"fit.epochs={epochs}",
           f"seed={seed}", "fit.pictures=0", "fit.workers=0", "fit.batch_size=8",
           *further)  # fmt: skip
    return miou(out / "run", made.made)


def miou(run: Path, made: Dataset) -> float:
    """Over the tiles of the test split, seen as in validation."""
    network, card = checkpoint.load(run / "best.safetensors")
    device = choose("auto", "auto")
    network = device.place(network)
    names = card.legend.names
    counts = np.zeros((len(names), len(names)), np.int64)
    with torch.inference_mode(), device.autocast():
        for image, target in DataLoader(ValTiles(made, "test"), 1):
            found = network(image.to(device.torch)).argmax(1).cpu()
            counts += confusion(target.numpy(), found.numpy(), len(names))
    return float(np.nanmean(Scores.of(counts, names).iou))


def further(way: str, made: Ground, first: list[Place], out: Path, *, seed: int) -> list[Place]:
    """The windows that get labels next."""
    places = made.places
    count = max(1, round(THEN * len(places))) - len(first)
    if way == "random":
        left = [place for place in places if place not in first]
        chosen = np.random.default_rng(seed + 1000).choice(len(left), count, replace=False)
        return [left[int(n)] for n in chosen]
    maps = out / "maps"
    paths = ",".join(str(path) for scene in made.train for path in scene.paths)
    geoseg("predict", f"checkpoint={out / 'first' / 'run'}", f"scenes=[{paths}]", f"out={maps}",
           "predict.layers=[confidence,entropy]")  # fmt: skip
    path = out / f"{way}.gpkg"
    geoseg("suggest", f"maps={maps}", f"out={path}", "overwrite=true", "suggest.by=entropy",
           f"suggest.count={len(places)}", f"suggest.size={SIDE}", "suggest.apart_m=0",
           f"suggest.diverse={str(way == 'suggested').lower()}")  # fmt: skip
    (found,) = Layer(str(path), columns=("map", "top", "left")).scan()
    names = [scene.name for scene in made.train]
    by_place = {(names[n], w.top, w.left): (n, w) for n, w in places}
    rows = zip(*(found.columns[key].tolist() for key in ("map", "top", "left")), strict=True)
    ranked = [by_place[row] for row in rows if row in by_place]
    return [place for place in ranked if place not in first][:count]


def run_seed(
    made: Ground, out: Path, done: dict[str, float], *, epochs: list[int], seed: int
) -> Iterator[tuple[str, float]]:
    """mIoU of each way with one seed, as they come; leaves out those that are done."""
    places = made.places
    count = max(2, round(FIRST * len(places)))
    drawn = np.random.default_rng(seed).choice(len(places), count, replace=False)
    first = [places[int(n)] for n in drawn]
    if "first" not in done:
        yield "first", learn(made, first, out / "first", epochs=epochs[0], seed=seed, start=None)
    for way in WAYS:
        if way not in done:
            more = [*first, *further(way, made, first, out, seed=seed)]
            start = out / "first" / "run"
            yield way, learn(made, more, out / way, epochs=epochs[1], seed=seed, start=start)


def table(found: Scored) -> str:
    """What came out, in Markdown: means over the seeds that all ways have, and spread."""
    head = ["mIoU on the test split", "seeds", "first", *WAYS]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, seeds in found.items():
        whole = [scores for scores in seeds.values() if len(scores) == 1 + len(WAYS)]
        if not whole:
            continue
        cells = [name, str(len(whole))]
        for way in ("first", *WAYS):
            values = [scores[way] for scores in whole]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}")
        lines.append(f"| {' | '.join(cells)} |")
        for way in WAYS[1:]:
            gains = [scores[way] - scores["random"] for scores in whole]
            told = ", ".join(f"{gain:+.3f}" for gain in gains)
            lines.append(f"| {way} − random, by seed | | {told} |" + " |" * (len(WAYS)))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("real/suggest"))
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=[6, 3], help="of the first training, of each further"
    )
    options = parser.parse_args()
    if FORKS:
        CONTEXT.set_forkserver_preload(list(LOADED))
    note = options.out / RESULTS
    told = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if told and told["epochs"] != options.epochs:
        parser.error(f"{note}: of --epochs {told['epochs']}; choose another --out")
    found: Scored = told.get("miou", {})
    grounds: dict[str, Ground] = {}
    for seed in options.seeds:
        for name in options.sets:
            done = found.setdefault(name, {}).setdefault(str(seed), {})
            if len(done) == 1 + len(WAYS):
                continue
            made = grounds[name] = grounds.get(name) or ground(name, options.out)
            out = options.out / name / str(seed)
            for way, score in run_seed(made, out, done, epochs=options.epochs, seed=seed):
                done[way] = score
                write_json(note, {"epochs": options.epochs, "miou": found})
                print(f"{name}, seed {seed}, {way}: {score:.3f}", flush=True)
    print(f"\n{FIRST:.0%} of the windows with labels, then {THEN:.0%}\n\n{table(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
