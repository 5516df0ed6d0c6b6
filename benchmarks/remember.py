"""What is forgotten when classes come later, with and without fit.remember, on the demo's scenes.

    python -m benchmarks.remember [--out demo/remember] [--seeds 0 1 2]

A small U-Net (mobilenet_v2) learns grassland, crops and forest. Then it goes on from there with
water and road, all else being without label: as such (model.weights, model.keep=network), and with
fit.remember. Old classes are judged on the test pixels that are theirs, by all five classes: what
is taken for a new one is an error. The last row learns all five at once, from labels of all.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from geoseg.commands.conf import CONF
from geoseg.dataset.prepare import PrepareSettings, prepare
from geoseg.dataset.split import SPLITS
from geoseg.dataset.targets import counter
from geoseg.dataset.tiles import Dataset, write_tiles
from geoseg.demo.__main__ import demo
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo import raster
from geoseg.geo.legend import IGNORED, Legend, LegendSettings
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models import checkpoint
from geoseg.models.settings import Model
from geoseg.samples.tiles import ValTiles
from geoseg.scenes.scene import find_scenes, harmonize
from geoseg.training.settings import Fit
from geoseg.training.start import train

OLD, NEW = ("grassland", "crops", "forest"), ("water", "road")
SIDE = 64
"""Of tiles in pixels: small ones, which train in minutes."""

ENCODER = "mobilenet_v2"
EPOCH, BATCH = 128, 4


def whole(out: Path, size: int) -> Dataset:
    """The demo's data set, with the labels of all six classes."""
    demo(out / "demo", size=size)
    labels = Labels(path=str(out / "demo/labels.gpkg"), field="class", width_field="width_m")
    scenes = harmonize(find_scenes(str(out / "demo/scenes")))
    legend = LegendSettings(path=str(CONF / "legend" / "demo.yaml")).load()
    prepare(scenes, labels, legend, out / "whole", settings=PrepareSettings(tiling=Tiling(SIDE)))
    return Dataset.load(out / "whole")


def step(full: Dataset, folder: Path, names: tuple[str, ...], shown: tuple[str, ...]) -> Dataset:
    """The data set with a legend of these classes, of which some are shown, all else unlabelled."""
    listed = full.legend.to_dict()["classes"]
    legend = Legend.from_dict({"classes": [c for c in listed if c["name"] in names]})
    codes = [legend.code_of(name) for name in shown]
    made = replace(full, folder=folder, legend=legend)
    for scene in full.scenes:
        with Raster(full.target(scene.name), nodata="none") as file:
            window = file.grid.window
            target = file.read(window)[0][0]
        target[~np.isin(target, [0, *codes])] = IGNORED
        with raster.create(made.target(scene.name), scene.grid, dtype="uint8", nodata=0) as writer:
            writer.write(target, window)
    count = counter(made)
    tiles = [
        replace(tile, counts=tuple(map(int, count(tile.scene, tile.window))))
        for split in SPLITS
        for tile in full.tiles(split)
    ]
    write_tiles(folder, [tile for tile in tiles if any(tile.counts)], full.scenes, legend)
    made.save()
    return Dataset.load(folder)


def judged(run: Path, test: Dataset) -> dict[str, float]:
    """Mean IoU of the old classes on their own test pixels, of the new and of all on all."""
    network, card = checkpoint.load(run / "best.safetensors")
    names = test.legend.names
    place = torch.tensor([names.index(name) for name in card.legend.names])
    counts = np.zeros((len(names), len(names)), np.int64)
    with torch.inference_mode():
        for image, target in DataLoader(ValTiles(test, "test"), 4):
            found = place[network(image).argmax(1)]
            counts += confusion(target.numpy(), found.numpy(), len(names))
    old = [names.index(name) for name in OLD]
    own = np.zeros_like(counts)
    own[old] = counts[old]
    all_of = Scores.of(counts, names).iou
    return {
        "old": float(np.mean([Scores.of(own, names).iou[n] for n in old])),
        "new": float(np.mean([all_of[names.index(name)] for name in NEW])),
        "all": float(np.nanmean(all_of)),
    }


def trials(out: Path, sets: dict[str, Dataset], seed: int, epochs: int) -> dict[str, Any]:
    """Scores of a seed's trainings by name."""
    first = out / f"first_{seed}"
    fresh = Model(encoder=ENCODER)
    kept = replace(fresh, weights=str(first), keep="network")
    jobs: dict[str, tuple[Dataset, Model, dict[str, Any]]] = {
        "first": (sets["old"], fresh, {}),
        "without": (sets["new"], kept, {}),
        "remember": (sets["new"], fresh, {"remember": str(first)}),
        "at once": (sets["test"], fresh, {}),
    }
    found = {}
    for name, (data, model, extra) in jobs.items():
        run = out / f"{name.replace(' ', '_')}_{seed}"
        fit = Fit(
            epochs=epochs,
            epoch_tiles=EPOCH,
            batch_size=BATCH,
            pictures=0,
            workers=0,
            logger="none",
            **extra,
        )
        train(data, run, model=model, fit=fit, seed=seed)
        found[name] = judged(run, sets["test"])
        cells = "  ".join(f"{key} {value:.3f}" for key, value in found[name].items())
        print(f"seed {seed}, {name:<9} mIoU: {cells}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo/remember"))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--size", type=int, default=384, help="of the demo's scenes")
    parser.add_argument("--epochs", type=int, default=3, help="of 128 tiles, each training")
    options = parser.parse_args()
    out, all_of = options.out, (*OLD, *NEW)
    full = whole(out, options.size)
    sets = {
        "old": step(full, out / "old", OLD, OLD),
        "new": step(full, out / "new", all_of, NEW),
        "test": step(full, out / "test", all_of, all_of),
    }
    rows = [trials(out, sets, seed, options.epochs) for seed in options.seeds]
    (out / "remember.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"\nmean over {len(rows)} seeds   old classes   new classes   all five")
    for name in rows[0]:
        cells = [mean(row[name][key] for row in rows) for key in ("old", "new", "all")]
        print(f"{name:<20}" + "".join(f"{cell:>14.3f}" for cell in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
