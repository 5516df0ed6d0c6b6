"""What a network for points is worth on the demo's LiDAR, beside a forest on rasters of heights.

    python -m benchmarks.points [--work work/points] [--size 500] [--epochs 20] [--seeds 0]

Both learn from three of the demo's five clouds (made up, 4 pulses per m², no colours) and map the
other two on the same pixels of half a metre. The network is trained by geoseg.pointnet; the forest
(100 extremely randomised trees) sees each pixel by itself: height above the ground, intensity,
returns and density, by geoseg.height, whose ground comes from the points' classes. Five minutes of
one core for each seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from geoseg.commands.conf import CONF
from geoseg.demo.__main__ import demo
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import IGNORED, Legend
from geoseg.heights.height import height
from geoseg.heights.settings import HeightSettings
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.labels.source import LabelSource
from geoseg.points.classify import classify
from geoseg.points.settings import PointNetSettings
from geoseg.points.train import train

HERE, THERE = ("north_west", "north_east", "south_west"), ("south_east", "east")
"""Clouds to learn from, and to judge by."""
LAYERS = ["ndsm", "intensity", "returns", "density"]


def labels_of(folder: Path) -> Labels:
    return Labels(
        path=str(folder / "labels.gpkg"), field="class", width_field="width_m",
        background="grassland", area=str(folder / "labelled_area.gpkg"),
    )  # fmt: skip


def read(path: Path) -> tuple[np.ndarray, Grid]:
    """Values (H, W) of a raster, and its grid."""
    with raster.Raster(path) as file:
        return file.read(file.grid.window)[0][0], file.grid


def pixels(folder: Path, name: str, source: LabelSource, legend: Legend) -> tuple[np.ndarray, ...]:
    """Heights (N, F) of all pixels of a cloud, and their classes (N,)."""
    layers = [read(folder / layer / f"{name}.tif") for layer in LAYERS]
    truth = legend.encode(source.burn(layers[0][1], scene=name))
    return np.stack([values for values, _ in layers], axis=-1).reshape(-1, len(LAYERS)), truth


def by_network(
    work: Path, source: LabelSource, legend: Legend, settings: PointNetSettings, seed: int
) -> np.ndarray:
    """Labels by map (K, K) of the network's maps."""
    clouds = work / "demo" / "lidar"
    out = work / f"network_{settings.epochs}_{seed}"
    labels = labels_of(work / "demo")
    train([str(clouds / f"{n}.laz") for n in HERE], out, labels, legend, settings=settings,
          seed=seed)  # fmt: skip
    maps = out / "maps"
    classify(out, [str(clouds / f"{name}.laz") for name in THERE], maps, settings=settings)
    matrix = np.zeros((len(legend), len(legend)), np.int64)
    for name in THERE:
        codes, grid = read(maps / "landcover" / f"{name}.tif")
        truth = legend.encode(source.burn(grid, scene=name))
        matrix += confusion(truth, legend.encode(codes), len(legend))
    return matrix


def by_forest(work: Path, source: LabelSource, legend: Legend, seed: int) -> np.ndarray:
    """Labels by map (K, K) of the forest's maps."""
    heights = work / "heights"
    height(work / "demo" / "lidar", heights, settings=HeightSettings(LAYERS))
    known = [pixels(heights, name, source, legend) for name in HERE]
    x = np.concatenate([told for told, _ in known])
    y = np.concatenate([truth.ravel() for _, truth in known])
    kept = y != IGNORED
    forest = ExtraTreesClassifier(100, min_samples_leaf=20, random_state=seed)
    forest.fit(x[kept], y[kept])
    matrix = np.zeros((len(legend), len(legend)), np.int64)
    for name in THERE:
        told, truth = pixels(heights, name, source, legend)
        found = forest.predict(told).astype(np.uint8).reshape(truth.shape)
        matrix += confusion(truth, found, len(legend))
    return matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work/points"))
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    legend = Legend.load(CONF / "legend" / "demo.yaml")
    demo(given.work / "demo", size=given.size, lidar=True)
    settings = PointNetSettings(epochs=given.epochs)
    with open_labels(labels_of(given.work / "demo"), legend) as source:
        for seed in given.seeds:
            ways = {
                "points": by_network(given.work, source, legend, settings, seed),
                "pixels": by_forest(given.work, source, legend, seed),
            }
            for way, matrix in ways.items():
                scores = Scores.of(matrix, legend.names)
                each = "  ".join(
                    f"{n} {v:.3f}" for n, v in zip(scores.names, scores.iou, strict=True)
                )
                print(f"seed {seed}, {way}: mean IoU {scores.miou:.3f}  {each}", flush=True)


if __name__ == "__main__":
    main()
