"""What a network makes of another sensor's scenes: as they are, adapted to, and translated.

    python -m geoseg.demo && python -m geoseg.prepare && python -m geoseg.train
    python -m benchmarks.translate --run runs/demo [--steps 1000] [--seeds 0] [--work …]

A network that was trained on the demo maps two scenes of a landscape that it has not seen (another
size, so other ground): as they were taken, and as two made-up sensors would have taken them.
`gain`: gain 1.4 and an offset of 0.3 deviations in each band, as in docs/adapt.md. `mixed`: bands
that see a quarter of their neighbours, a curve (power 0.7), and a blur of one pixel. Each is mapped
as it is; by the network adapted to it (geoseg.adapt); and by the network as it was, of scenes that
geoseg.translate has made look like those of three other places by the own sensor: by mean and
deviation only (translate.steps=0), and by the CycleGAN. No labels of the other sensor are used but
to judge. Ten minutes of one core for each seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.points import labels_of, read
from geoseg.adaptation.adapt import adapt
from geoseg.demo.__main__ import demo
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo import raster
from geoseg.labels.find import open_labels
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.translation.settings import TranslateSettings
from geoseg.translation.translate import Source, translate

OWN, OTHER = ("north_west", "north_east", "south_west"), ("south_east", "east")
"""Scenes that show the own sensor, and those that the other one takes."""
SENSORS = ("gain", "mixed")
MIX = 0.25
POWER = 0.7


def retaken(image: np.ndarray, valid: np.ndarray, sensor: str) -> np.ndarray:
    """An image (C, H, W) as another sensor would have taken it."""
    values = image.astype(float)
    mean, std = (f(values[:, valid], axis=1)[:, None, None] for f in (np.mean, np.std))
    if sensor == "gain":
        return np.asarray(1.4 * values + 0.3 * std)
    mixed = (1 - MIX) * values + MIX * np.roll(values, 1, axis=0)
    curved = mean * np.maximum(mixed / mean, 0) ** POWER
    return np.stack([ndimage.gaussian_filter(band, 1.0) for band in curved])


def take(folder: Path, out: Path, sensor: str) -> None:
    """Write the scenes of OTHER as a sensor would take them."""
    for name in OTHER:
        path = folder / "scenes" / f"{name}.tif"
        with raster.Raster(path) as file:
            grid, names = file.grid, raster.info(path).names
            image, valid = file.read(grid.window)
        made = np.where(valid, np.clip(np.rint(retaken(image, valid, sensor)), 1, 65535), 0)
        with raster.create(
            out / f"{name}.tif", grid, dtype="uint16", count=len(made), nodata=0,
            names=tuple(map(str, names)),
        ) as writer:  # fmt: skip
            writer.write(made.astype(np.uint16), grid.window)


def score(network: TrainedNetwork, scenes: Path, out: Path, folder: Path) -> Scores:
    """Scores of the network's maps of OTHER by the demo's labels."""
    predict(network, [str(scenes / f"{name}.tif") for name in OTHER], out)
    legend = network.card.legend
    matrix = np.zeros((len(legend), len(legend)), np.int64)
    with open_labels(labels_of(folder), legend) as source:
        for name in OTHER:
            codes, grid = read(out / "landcover" / f"{name}.tif")
            truth = legend.encode(source.burn(grid, scene=name))
            matrix += confusion(truth, legend.encode(codes), len(legend))
    return Scores.of(matrix, legend.names)


def tell(sensor: str, way: str, scores: Scores) -> None:
    each = "  ".join(f"{n} {v:.3f}" for n, v in zip(scores.names, scores.iou, strict=True))
    print(f"{sensor}, {way}: mean IoU {scores.miou:.3f}  {each}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--work", type=Path, default=Path("work/translate"))
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    work, folder = given.work, given.work / "demo"
    demo(folder, size=given.size)
    running = InferenceSettings(backend="torch", precision="32")
    network = TrainedNetwork.open(given.run, running)
    tell("own", "as it is", score(network, folder / "scenes", work / "maps_own", folder))
    own = [str(folder / "scenes" / f"{name}.tif") for name in OWN]
    for sensor in SENSORS:
        there = work / sensor
        take(folder, there, sensor)
        tell(sensor, "as it is", score(network, there, work / f"maps_{sensor}", folder))
        weights = work / f"{sensor}.safetensors"
        adapt(network, there, weights)
        adapted = TrainedNetwork.open(weights, running)
        tell(sensor, "adapted", score(adapted, there, work / f"adapted_{sensor}", folder))
    for steps, seed in [(0, 0), *((given.steps, seed) for seed in given.seeds)]:
        for sensor in SENSORS:
            out = work / f"translated_{sensor}_{steps}_{seed}"
            how = TranslateSettings(steps=steps)
            print(translate(work / sensor, out, Source(own), settings=how, seed=seed))
            scores = score(network, out / "scenes", out / "maps", folder)
            tell(sensor, f"translated, {steps} steps, seed {seed}", scores)


if __name__ == "__main__":
    main()
