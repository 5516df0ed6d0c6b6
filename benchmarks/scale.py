"""Scale: whether memory grows with the map, and what a scene costs beside its pixels.

`python -m benchmarks.scale memory [--sides 4000 40000]`: peak resident memory of predicting a map
of ten classes by a network of single pixels, each in a process of its own: full of data, and all
but empty. The memory of a panel is set so low that the smaller scene takes several too.
To reach: 1.15 times the memory of the smaller scene, and 2 GB.

`python -m benchmarks.scale scenes [--count 2000]`: a folder of scenes of 512² pixels; milliseconds
per scene beyond the network's own time, and beyond what as many windows of a large scene take;
and where they go. To reach: 15 ms.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import alone, made
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.models.card import ModelCard
from geoseg.outputs.summary import table
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork

CLASSES = 10
SIDE = 512
"""Height and width of a small scene in pixels."""
LARGE = 3136
"""Height and width of the scene whose windows cost their pixels and hardly more."""
TEXTURES = 8
"""Different contents of the small scenes."""
ABREAST = 50
"""Small scenes in a row on the ground."""
IN_LOOP = ("wait", "network", "blend")
EMPTY = 16
"""Of so many blocks of the sparse map, one along the diagonal holds data."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="memory, scenes; by default both")
    parser.add_argument("--sides", type=int, nargs="+", default=[4000, 40_000])
    parser.add_argument("--memory", type=float, default=0.05, help="GB for a panel's buffers")
    parser.add_argument("--count", type=int, default=2000, help="small scenes")
    parser.add_argument(
        "--network",
        choices=("pointwise", "unet"),
        default="pointwise",
        help="for the small scenes: one that costs nothing, or U-Net resnet18",
    )
    parser.add_argument("--adjoining", action="store_true", help="small scenes that touch")
    parser.add_argument("--runs", type=int, default=3, help="of the small scenes")
    options = parser.parse_args()  # fmt: skip
    if unknown := set(options.what) - {"memory", "scenes"}:
        parser.error(f"no {', '.join(unknown)}; there are memory and scenes")
    for name, measure in (("memory", memory), ("scenes", small_scenes)):
        if not options.what or name in options.what:
            with tempfile.TemporaryDirectory() as folder:
                print(measure(Path(folder), options), end="\n\n")


def memory(folder: Path, options: argparse.Namespace) -> str:
    """Table of the peaks."""
    lines = []
    for kind, write in (("full of data", write_full), ("all but empty", write_sparse)):
        first = 0.0
        for side in options.sides:
            path = folder / "scene.tif"
            write(path, side)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peak, seconds = pool.apply(peak_of, (path, folder / "maps", options.memory))
            path.unlink()
            first = first or peak
            lines.append((kind, f"{side}²", f"{side**2 / 1e6 / seconds:.1f}",
                          f"{peak:.0f}", f"{peak / first:.3f}"))  # fmt: skip
    head = ("scene", "pixels", "Mpx/s", "peak MB", "of the first")
    return f"{CLASSES} classes, {options.memory:g} GB for a panel, CPU\n{table(head, lines)}"


def gray() -> ModelCard:
    """Card for one band of bytes."""
    return made.card(("gray",), CLASSES, dtype="uint8", scale=1 / 16)


def peak_of(path: Path, out: Path, panel: float) -> tuple[float, float]:
    """Peak resident memory (MB) of this process once it has predicted a scene; seconds."""
    network = made.pointwise(gray(), InferenceSettings("cpu", "32", memory=panel))
    start = time.perf_counter()
    predict(network, path, out, overwrite=True).raise_if_incomplete()
    seconds = time.perf_counter() - start
    for map_file in out.rglob(f"{path.stem}*"):
        map_file.unlink()
    return peak_resident(), seconds


def peak_resident() -> float:
    """Highest resident memory of this process, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's peak would begin with that of the process that started it
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def write_full(path: Path, side: int) -> None:
    """Bytes of coarse texture, so that the file stays small."""
    stripe = made.texture(made.STRIPE, side, bands=1, steps=(16, 64, 256)) // 16
    with raster.create(path, made.grid(side, side), dtype="uint8", nodata=0) as file:
        for top in range(0, side, made.STRIPE):
            height = min(made.STRIPE, side - top)
            file.write(stripe[:, :height].astype(np.uint8), Window(top, 0, height, side))


def write_sparse(path: Path, side: int) -> None:
    """Nodata but for some blocks on the diagonal."""
    block = (made.texture(raster.BLOCK, raster.BLOCK, bands=1) // 16).astype(np.uint8)
    with raster.create(path, made.grid(side, side), dtype="uint8", nodata=0) as file:
        for start in range(0, side - raster.BLOCK + 1, EMPTY * raster.BLOCK):
            file.write(block, Window(start, start, raster.BLOCK, raster.BLOCK))


def small_scenes(folder: Path, options: argparse.Namespace) -> str:
    """Milliseconds per scene: all of it, the network's own, and where the rest goes."""
    scenes = folder / "scenes"
    write_small(scenes, options.count, apart=SIDE if options.adjoining else 2 * SIDE)
    large = made.scene(folder / "large.tif", made.grid(LARGE, LARGE))
    network = open_network(folder, options.network)
    some = [str(path) for path in sorted(scenes.iterdir())[:TEXTURES]]
    batch = alone.first_batch(network, some, folder / "warm", made.TILING)
    runner = alone.runner_of(network, batch)
    windows = alone.windows_of([made.grid(SIDE, SIDE)], made.TILING)
    share = windows / alone.windows_of([made.grid(LARGE, LARGE)], made.TILING)
    rows = []
    for run in range(options.runs):
        network = open_network(folder, options.network)
        total, seconds = timed(network, scenes, folder / f"maps{run}")
        own = alone.seconds_alone(runner, batch, windows * options.count) / options.count
        at_large = timed(network, large, folder / f"large{run}")[0] * share
        each = {name: value / options.count for name, value in seconds.items()}
        every = total / options.count
        rows.append(
            {"all": every, "network alone": own, "beyond the network": every - own}
            | {"as many windows of a large scene": at_large}
            | {"beyond those": every - at_large}
            | {"before the loop: finding, checking": every - each.get("total", 0.0)}
            | {f"in the loop: {name}": each.get(name, 0.0) for name in IN_LOOP}
            | {f"beside the loop: {name}": each.get(name, 0.0) for name in ("read", "write")}
        )
    lines = [
        (name, f"{statistics.median(row[name] for row in rows) * 1e3:.1f}") for name in rows[0]
    ]
    where = "adjoining" if options.adjoining else "apart"
    return (
        f"{options.count} scenes of {SIDE}² ({where}), {options.network} network,"
        f" {alone.machine(alone.device_of(network))}\n{table(('part', 'ms per scene'), lines)}"
    )


def timed(network: TrainedNetwork, scenes: Path, out: Path) -> tuple[float, dict[str, float]]:
    """Seconds of a prediction, and the report's."""
    start = time.perf_counter()
    report = predict(network, scenes, out, tiling=made.TILING)
    total = time.perf_counter() - start
    report.raise_if_incomplete()
    return total, report.seconds


def open_network(folder: Path, name: str) -> TrainedNetwork:
    """The network for the small scenes, loaded."""
    if name == "pointwise":
        return made.pointwise(made.card(), InferenceSettings("cpu"))
    weights = folder / "run" / "best.safetensors"
    network = TrainedNetwork.open(
        weights if weights.exists() else made.unet(weights), InferenceSettings("cpu")
    )
    network.load()
    return network


def write_small(folder: Path, count: int, *, apart: int) -> None:
    """Small scenes, so many pixels from corner to corner."""
    images = [made.texture(SIDE, SIDE, seed=seed) for seed in range(min(count, TEXTURES))]
    for number in range(count):
        top, left = (apart * place for place in divmod(number, ABREAST))
        place: Grid = made.grid(SIDE, SIDE, top=top, left=left)
        made.write(folder / f"scene{number:05}.tif", images[number % TEXTURES], place)


if __name__ == "__main__":
    main()
