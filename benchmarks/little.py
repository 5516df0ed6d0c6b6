"""What pretraining and unlabelled scenes are worth where labels are few, on the buildings.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.little [--out real/little] [--epochs 15]

A U-Net learns from 5, 25 and 100 % of the train tiles (kampala_1, catanduanes_0; val kampala_0),
and is judged on catanduanes_1, which nothing has seen. Pretraining, by filling in what is hidden
and by self-distillation, and the mean teacher see the pixels of kampala_1, catanduanes_0, nairobi_0
and nairobi_1, never those of val and test. Equal numbers of steps, three seeds each; a network that
starts from a pretraining learns by the defaults for that. What is done is kept: started again, it
goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.real import BUILDINGS, real_data
from geoseg.dataset.tiles import Dataset
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.models import checkpoint
from geoseg.models.device import choose
from geoseg.samples.tiles import ValTiles

SHARES = (0.05, 0.25, 1.0)
SEEDS = (0, 1, 2)
UNLABELLED = ("kampala_1", "catanduanes_0", "nairobi_0", "nairobi_1")
SIDE = 128
"""Tiles small enough that 5 % of them are more than none: 32 for training."""


def geoseg(name: str, *arguments: str) -> None:
    """Run a command, quietly. Raises: CalledProcessError."""
    call = [sys.executable, "-m", f"geoseg.{name}", *arguments]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)


def building_iou(run: Path, dataset: Path, split: str = "test") -> float:
    """IoU of the class building over the tiles of a split, seen as in validation."""
    made = Dataset.load(dataset)
    network, card = checkpoint.load(run / "best.safetensors")
    device = choose("auto", "auto")
    network = device.place(network)
    names = card.legend.names
    counts = np.zeros((len(names), len(names)), np.int64)
    with torch.inference_mode(), device.autocast():
        for image, target in DataLoader(ValTiles(made, split), 1):
            found = network(image.to(device.torch)).argmax(1).cpu()
            counts += confusion(target.numpy(), found.numpy(), len(names))
    return Scores.of(counts, names).iou[names.index("building")]


METHODS = {"pretrained": "reconstruct", "distilled": "distil"}
"""Variants that start from an encoder which learnt without labels, and how it did."""


def variants(out: Path, unlabelled: str) -> dict[str, tuple[str, ...]]:
    """Settings of the trainings that are compared. out: where the encoders lie, by variant."""
    return {
        "from scratch": ("model.weights=null",),
        **{name: (f"model.weights={out / name / 'encoder.safetensors'}",) for name in METHODS},
        "mean teacher": ("model.weights=null", f"fit.unlabelled={unlabelled}"),
    }


def parsed(parser: argparse.ArgumentParser, out: str) -> tuple[argparse.Namespace, Path]:
    """Options that trainings on real data share, and where the data lie."""
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--epochs", type=int, default=15, help="of 128 tiles each")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if not real_data().is_dir():
        parser.error(f"{real_data()}: no such folder; set GEOSEG_REAL_DATA to the real data")
    return options, real_data()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretraining", type=int, default=80, help="epochs of 128 tiles each")
    parser.add_argument("--only", nargs="+", choices=variants(Path(), ""), help="variants")
    options, data = parsed(parser, "real/little")
    out = options.out
    dataset = out / "dataset"
    geoseg("prepare", *(key.format(data=data) for key in BUILDINGS), f"tiling.size={SIDE}",
           f"dataset={dataset}")  # fmt: skip
    scenes = ",".join(str(data / "buildings" / f"{name}.tif") for name in UNLABELLED)
    workers = f"fit.workers={options.workers}"
    made = variants(out, f"[{scenes}]")
    wanted = options.only or list(made)
    for name, method in METHODS.items():
        if name in wanted:
            geoseg("pretrain", f"scenes=[{scenes}]", f"run={out / name}", f"tiling.size={SIDE}",
                   f"method={method}", "fit.batch_size=8", f"fit.epochs={options.pretraining}",
                   workers)  # fmt: skip
    found: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        for share in SHARES:
            for name, extra in made.items():
                if name not in wanted:
                    continue
                run = out / f"{name.replace(' ', '_')}_{share:g}_{seed}"
                geoseg("train", f"dataset={dataset}", f"run={run}", f"seed={seed}",
                       f"fit.train_share={share}", f"fit.epochs={options.epochs}",
                       "fit.batch_size=8", "fit.pictures=0", workers, *extra)  # fmt: skip
                score = building_iou(run, dataset)
                found.setdefault(name, {}).setdefault(f"{share:g}", []).append(score)
                print(f"{name:<14} {share:>5.0%} seed {seed}: {score:.3f}", flush=True)
    (out / "little.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print("\nIoU of building on catanduanes_1, mean ± standard deviation over seeds")
    print(f"{'':<14}" + "".join(f"{share:>16.0%}" for share in SHARES))
    for name, by_share in found.items():
        cells = [by_share[f"{share:g}"] for share in SHARES]
        texts = [f"{mean(c):.3f} ± {stdev(c):.3f}" if len(c) > 1 else f"{c[0]:.3f}" for c in cells]
        print(f"{name:<14}" + "".join(f"{text:>16}" for text in texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
