"""Whether bfloat16 makes the same maps as float32, on real scenes by a trained network.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.precision [--run <folder>] [--scenes …]

Share of the valid pixels that get the same class. To reach: 99.9 % of the scenes of buildings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import buildings
from geoseg.geo import raster
from geoseg.geo.legend import NODATA
from geoseg.outputs.summary import table
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork

SCENES = ("kampala_0", "catanduanes_1", "kampala_1", "catanduanes_0", "nairobi_0", "nairobi_1")
"""Validation and test, training, and a place that the network has never seen."""
TARGET = 0.999


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    buildings.add_options(parser, SCENES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16", help="compared with 32: bf16, or 16")
    options = parser.parse_args()
    run, scenes = buildings.chosen(parser, options, SCENES)
    with tempfile.TemporaryDirectory() as folder:
        counts = compare(run, scenes, Path(folder), options)
    lines = [(name, pixels, f"{same / pixels:.3%}") for name, (same, pixels) in counts.items()]
    same, pixels = (sum(values) for values in zip(*counts.values(), strict=True))
    lines.append(("all", pixels, f"{same / pixels:.3%}"))
    print(table(("scene", "valid pixels", f"{options.precision} as float32"), lines))
    print(f"  to reach: {TARGET:.1%}")
    return int(same / pixels < TARGET)


def compare(
    run: Path, scenes: list[Path], folder: Path, options: argparse.Namespace
) -> dict[str, tuple[int, int]]:
    """Pixels of the same class, and all valid ones, by scene."""
    for precision in ("32", options.precision):
        network = TrainedNetwork.open(run, InferenceSettings(options.device, precision))
        predict(network, [str(path) for path in scenes], folder / precision).raise_if_incomplete()
    counts = {}
    for path in scenes:
        ours, theirs = (codes(folder / p, path.stem) for p in ("32", options.precision))
        valid = ours != NODATA
        counts[path.stem] = int((ours == theirs)[valid].sum()), int(valid.sum())
    return counts


def codes(maps: Path, scene: str) -> np.ndarray:
    """Class map of a scene (H, W) uint8."""
    with raster.Raster(maps / "landcover" / f"{scene}.tif") as file:
        found: np.ndarray = file.read(file.grid.window)[0][0]
    return found


if __name__ == "__main__":
    sys.exit(main())
