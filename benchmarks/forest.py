"""A forest of pixels: geoseg's model=forest beside OTB's, whole processes in turn.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.forest [--set massachusetts] [--runs 3]

Seconds by the clock and of processor time, which other work on the machine changes less: of the
training, and of the maps of all scenes with a test part. OTB (Debian: otb-bin) is given rasters and
polygons that were written before; geoseg reads the scenes themselves. The forests are not alike:
each is what its defaults make; `python -m benchmarks.quality` says what they are worth.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.arena import otb
from benchmarks.arena.arrays import load_images
from benchmarks.arena.sets import IMAGES, prepared
from benchmarks.real import real_data
from benchmarks.vectorize import run
from geoseg.dataset.tiles import Dataset
from geoseg.outputs.summary import table


def main() -> None:
    sets = {made.name: made for made in IMAGES}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--set", choices=list(sets), default="massachusetts")
    parser.add_argument("--runs", type=int, default=3, help="medians are of so many")
    options = parser.parse_args()
    if reason := otb.why_not():
        raise SystemExit(reason)
    took: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        dataset = Dataset.load(prepared(sets[options.set], real_data(), at, seed=0, inner=False))
        data = load_images(dataset, with_val=True)
        tested = [scene for scene in dataset.scenes if scene.name in data.scenes]
        paths = ",".join(dict.fromkeys(path for scene in tested for path in scene.paths))
        for number in range(options.runs):
            trained = f"{at}/run_{number}"
            geoseg = [sys.executable, "-m"]
            train = ["geoseg.train", "model=forest", f"dataset={dataset.folder}", f"run={trained}"]
            predict = [
                "geoseg.predict", f"checkpoint={trained}", f"scenes=[{paths}]",
                f"out={at}/maps_{number}",
            ]  # fmt: skip
            steps = {
                "geoseg.train model=forest": [[*geoseg, *train]],
                otb.TRAIN: [otb.training(at, data, number)],
                "geoseg.predict": [[*geoseg, *predict]],
                otb.CLASSIFY: (otb.classifying(at, image) for image in data.scenes.values()),
            }
            for name, commands in steps.items():
                each = [run(command, {}) for command in commands]
                wall, cpu = sum(one.wall for one in each), sum(one.cpu for one in each)
                took.setdefault(name, []).append((wall, cpu))
                print(name, f"{cpu:.1f} CPU seconds", flush=True)
    rows = [
        (name, *(f"{statistics.median(each):.1f}" for each in zip(*seconds, strict=True)))
        for name, seconds in took.items()
    ]
    print(table((options.set, "seconds", "CPU seconds"), rows))


if __name__ == "__main__":
    main()
