"""`geoseg.predict` as a person waits for it, from the shell and back, beside a plain loop.

    python -m benchmarks.process [--steps 15] [--runs 5]

In turn: the whole process of `python -m geoseg.predict` on one scene; the same on a scene of a
single window, which is all start and end; and the loop by rasterio of peers.py around the same
network, which lies in memory already. Float32, so that both compute the same. The first process on
a machine also measures which backend is fastest; it is shown by itself, with a cache folder that
begins empty. 15 steps are a scene of 3,136² pixels. To reach: 2.6 times as fast as the loop, with
2.6 s for start and end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import alone, made
from benchmarks.peers import SIZE, STEP, loop
from geoseg.models import checkpoint
from geoseg.models.device import choose
from geoseg.outputs.summary import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15, help="windows along a side, less one")
    parser.add_argument("--runs", type=int, default=5, help="of each, in turn")
    parser.add_argument("--precision", default="32")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), options))


def measure(folder: Path, options: argparse.Namespace) -> str:
    """Table of what each takes, and how they compare within a round."""
    side = SIZE + STEP * options.steps
    scene = made.scene(folder / "scene.tif", made.grid(side, side))
    window = made.scene(folder / "window.tif", made.grid(SIZE, SIZE))
    weights = made.unet(folder / "run" / "best.safetensors")
    network, card = checkpoint.load(weights)
    mean, std = (np.array(v, np.float32) for v in (card.statistics.mean, card.statistics.std))

    def command(of: Path) -> None:
        out = tempfile.mkdtemp(dir=folder)  # what lies in an earlier one would not be done again
        call = [
            sys.executable, "-m", "geoseg.predict", f"checkpoint={weights}", f"scenes={of}",
            f"out={out}", "predict.device=cpu", f"predict.precision={options.precision}",
            f"predict.backend={options.backend}",
        ]  # fmt: skip
        cache = os.environ | {"GEOSEG_CACHE": str(folder / "cache")}
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env=cache)

    first = seconds(lambda: command(scene))
    works: dict[str, Callable[[], None]] = {
        "geoseg.predict": lambda: command(scene),
        "the same, a single window": lambda: command(window),
        "loop by rasterio, in memory": lambda: loop(network, mean, std, scene, folder / "loop.tif"),
    }
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.runs):
        for name, work in works.items():
            took[name].append(seconds(work))
    whole, *_, plain = took.values()
    ratio = statistics.median(p / w for p, w in zip(plain, whole, strict=True))
    rows = [("geoseg.predict, the first time", f"{first:.1f}")]
    rows += [(name, f"{statistics.median(mine):.1f}") for name, mine in took.items()]
    return (
        f"{side}² pixels, median of {options.runs}; {alone.machine(choose('cpu'))}\n"
        f"{table(('what', 'seconds'), rows)}\n"
        f"  The whole process is {ratio:.2f} times as fast as the loop."
    )


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
