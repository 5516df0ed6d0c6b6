"""How well the novelty raster tells new ground from known, on real drone images.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.novelty [--minutes 2] [--run … --dataset …]

A U-Net learns buildings on kampala_1 and catanduanes_0, with kampala_0 as val; catanduanes_1 is
known ground. New are two scenes of Nairobi, and catanduanes_1 under haze, with red and blue
swapped, and without any contrast: AUROC of the raster, which share is at 99 or more, and the mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import rasterio
from sklearn.metrics import roc_auc_score

from benchmarks.little import geoseg
from benchmarks.real import BUILDINGS, real_data

KNOWN = "catanduanes_1"
HAZE, WHITE = 0.45, 230
"""Share of the haze, and its brightness."""


def main() -> int:
    options = parsed()
    out, images = options.out, real_data() / "buildings"
    run, dataset = options.run, options.dataset
    if run is None:
        run, dataset = out / "run", out / "dataset"
        keys = (key.format(data=real_data()) for key in BUILDINGS)
        geoseg("prepare", *keys, f"dataset={dataset}")
        geoseg("train", f"dataset={dataset}", f"run={run}", f"fit.max_minutes={options.minutes}")
    weights, maps = out / "calibrated.safetensors", out / "maps"
    geoseg("calibrate", f"checkpoint={run}", f"dataset={dataset}", f"out={weights}",
           "novelty=true", "overwrite=true")  # fmt: skip
    made = strange(images / f"{KNOWN}.tif", out / "made")
    scenes = [images / f"{name}.tif" for name in (KNOWN, "nairobi_0", "nairobi_1")] + made
    geoseg("predict", f"checkpoint={weights}", f"scenes=[{','.join(map(str, scenes))}]",
           f"out={maps}", "predict.layers=[confidence,novelty]", "overwrite=true")  # fmt: skip
    known = ranks(maps, KNOWN)
    print(f"| new ground | AUROC | at 99 or more | mean rank |\n|---|---|---|---|\n"
          f"| {KNOWN}, known | – | {(known >= 99).mean():.1%} | {known.mean():.0f} |")  # fmt: skip
    for path in scenes[1:]:
        new = ranks(maps, path.stem)
        truth = np.repeat([0, 1], [len(known), len(new)])
        area = roc_auc_score(truth, np.concatenate([known, new]))
        print(f"| {path.stem} | {area:.2f} | {(new >= 99).mean():.1%} | {new.mean():.0f} |")
    return 0


def strange(source: Path, folder: Path) -> list[Path]:
    """The scene in ways that no training saw."""
    folder.mkdir(parents=True, exist_ok=True)
    with rasterio.open(source) as file:
        image, profile = file.read(), {**file.profile, "compress": "deflate"}
    profile.pop("photometric", None)
    ways = {
        "haze": image * (1 - HAZE) + WHITE * HAZE,
        "swapped": image[::-1],
        "flat": np.broadcast_to(image.mean(axis=(1, 2), keepdims=True), image.shape),
    }
    paths = []
    for name, values in ways.items():
        paths.append(folder / f"{name}.tif")
        with rasterio.open(paths[-1], "w", **profile) as file:
            file.write(values.astype(image.dtype))
    return paths


def ranks(maps: Path, name: str) -> np.ndarray:
    """Of the pixels that have an image."""
    with rasterio.open(maps / "novelty" / f"{name}.tif") as file:
        values = file.read(1)
    return np.asarray(values[values > 0])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="of the training")
    parser.add_argument("--run", type=Path, help="one that is there, in place of a training")
    parser.add_argument("--dataset", type=Path, help="of that run")
    parser.add_argument("--out", type=Path, default=Path("real/novelty"))
    options = parser.parse_args()
    if (options.run is None) != (options.dataset is None):
        parser.error("--run, --dataset: give both or none")
    return options


if __name__ == "__main__":
    sys.exit(main())
