"""Scale: whether memory grows with the map, and what a scene costs beside its pixels.

`python -m benchmarks.scale memory [--sides 4000 40000]`: peak resident memory of predicting a map
of ten classes by a network of single pixels, each in a process of its own: full of data, and all
but empty. The memory of a panel is set so low that the smaller scene takes several too.
To reach: 1.15 times the memory of the smaller scene, and 2 GB.

`python -m benchmarks.scale scenes [--count 2000]`: a folder of scenes of 512² pixels; milliseconds
per scene beyond the network's own time, and beyond what as many windows of a large scene take;
and where they go. To reach: 15 ms.

`python -m benchmarks.scale planning [--counts 1000 10000 100000]`: folders of so many scenes of 16²
pixels; processor time per scene and peak memory of all that predict does but the network: finding
them, planning, keeping the record, and finding that all is done. To reach: 1 ms a scene, at 100,000
as at 1,000.

`python -m benchmarks.scale vrt [--vrt-sides 10000 100000]`: one VRT of 400 sparse files; processor
time and memory of finding and planning it. To reach: memory that does not grow.

`python -m benchmarks.scale parcels [--parcels 10000 100000 1000000]`: so many parcels of 4² pixels
on three dates; processor time per parcel and peak memory of reading and preparing them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import shutil
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import rasterio

from benchmarks import alone, made
from benchmarks.plans import many_parcels, virtual
from benchmarks.resident import peak_resident
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.tiling import Tiling
from geoseg.models.card import ModelCard
from geoseg.outputs.progress import Progress
from geoseg.outputs.summary import table
from geoseg.prediction.bands import scenes_for
from geoseg.prediction.driver import Ledger, Prediction
from geoseg.prediction.images import predict
from geoseg.prediction.maps import Maps
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.panels import SceneJob
from geoseg.scenes.scene import SceneFiles

T = TypeVar("T")

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
TINY = 16
"""Height and width of a scene that is only planned."""
TINY_TILING = Tiling(TINY, TINY // 4)
"""Windows of these, so that each scene sees the eight around it."""
OPENING = "rasterio alone: open, read"
PARTS = (OPENING, "finding", "planning", "recording", "finding all done")
EMPTY = 16
"""Of so many blocks of the sparse map, one along the diagonal holds data."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help=f"{', '.join(WHAT)}; by default all")
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
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1000, 10_000, 100_000], help="scenes to plan"
    )
    parser.add_argument(
        "--vrt-sides", type=int, nargs="+", default=[10_000, 100_000], help="of the VRT"
    )
    parser.add_argument("--files-across", type=int, default=20, help="of the VRT")
    parser.add_argument(
        "--parcels", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="how many"
    )
    options = parser.parse_args()  # fmt: skip
    if unknown := set(options.what) - {*WHAT}:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(WHAT)}")
    for name, measure in WHAT.items():
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


def planning(folder: Path, options: argparse.Namespace) -> str:
    """Table of processor time per scene and peak memory, by the number of scenes."""
    rows = []
    for count in options.counts:
        scenes = folder / f"scenes{count}"
        write_tiny(scenes, count)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(planned, (scenes, folder / f"maps{count}")))
        shutil.rmtree(scenes)
        shutil.rmtree(folder / f"maps{count}")
    head = ("scenes", *(f"{part}, ms" for part in PARTS), "peak MB")
    lines = [
        (f"{count:,}", *(f"{1e3 * row[part] / count:.2f}" for part in PARTS), f"{row['peak']:.0f}")
        for count, row in zip(options.counts, rows, strict=True)
    ]
    return f"scenes of {TINY}² pixels, processor time per scene\n{table(head, lines)}"


def write_tiny(folder: Path, count: int) -> None:
    """Scenes side by side: one file again and again, with another corner."""
    folder.mkdir(parents=True)
    grid, image = made.grid(TINY, TINY), made.texture(TINY, TINY)
    # In strips: a whole block of geoseg's files would cost the pixels that the scene has not.
    profile = {"driver": "GTiff", "count": len(image), "dtype": "uint16", "nodata": 0}
    profile |= {"height": TINY, "width": TINY, "crs": grid.crs, "transform": grid.transform}
    with rasterio.MemoryFile() as memory_file:
        with memory_file.open(**profile) as dataset:
            dataset.write(image)
            dataset.descriptions = made.BANDS
        content = bytes(memory_file.getbuffer())
    corner = struct.pack("<2d", made.LEFT_M, made.TOP_M)
    assert corner in content
    for number in range(count):
        row, column = divmod(number, 1000)
        step = TINY * made.PIXEL_M
        place = struct.pack("<2d", made.LEFT_M + column * step, made.TOP_M - row * step)
        (folder / f"scene{number:06}.tif").write_bytes(content.replace(corner, place))


def planned(scenes: Path, out: Path) -> dict[str, float]:
    """Processor time of each part in seconds, and this process's peak memory in MB."""
    network = made.pointwise(made.card(), InferenceSettings("cpu", "32"))
    seconds: dict[str, float] = {}
    paths = sorted(scenes.iterdir())
    clocked(seconds, OPENING, lambda: open_and_read(paths))
    found = clocked(seconds, "finding", lambda: scenes_for(network.card, SceneFiles(scenes)))
    run = begun(network, out)
    jobs = clocked(seconds, "planning", lambda: run.product.plan(list(found.scenes), run))
    assert len(jobs) == len(found.scenes)
    copy_maps(network, jobs, out)
    clocked(seconds, "recording", lambda: record_all(run, jobs))
    run = begun(network, out)
    left = clocked(seconds, "finding all done", lambda: run.product.plan(list(found.scenes), run))
    assert not left
    assert len(run.report.before) == len(jobs)
    return seconds | {"peak": peak_resident()}


def open_and_read(paths: Sequence[Path]) -> None:
    """What cannot be done without."""
    for path in paths:
        with rasterio.open(path) as dataset:
            dataset.read()


def copy_maps(network: TrainedNetwork, jobs: Sequence[SceneJob], out: Path) -> None:
    """Lay the map of the first scene, with all beside it, where the network would write maps."""
    first = jobs[0].scene
    alone_there = out.with_name("first")
    with contextlib.redirect_stdout(io.StringIO()):
        predict(network, first.paths[0], alone_there, tiling=TINY_TILING, overwrite=True)
    for path in (p for p in alone_there.glob("*/*") if p.name.startswith(first.name)):
        folder = out / path.parent.name
        folder.mkdir(exist_ok=True)
        content, end = path.read_bytes(), path.name.removeprefix(first.name)
        for job in jobs:
            (folder / f"{job.scene.name}{end}").write_bytes(content)


def begun(network: TrainedNetwork, out: Path) -> Prediction:
    """A prediction that takes up its record."""
    maps = Maps(network, TINY_TILING)
    return maps.begin(out, {}, products=("predict.json",), overwrite=False)


def record_all(run: Prediction, jobs: Sequence[SceneJob]) -> None:
    """Note each scene as done, as if its maps had just been written."""
    run.record.backend = "torch"
    with contextlib.redirect_stdout(io.StringIO()), Progress(len(jobs), 1) as progress:
        ledger = Ledger(run, progress, {job.scene.name: job.stamp for job in jobs})
        for job in jobs:
            ledger.done(job.scene, 1.0)
    run.record.save()


def clocked(seconds: dict[str, float], part: str, work: Callable[[], T]) -> T:
    """What work returns; its processor time is noted."""
    start = time.process_time()
    result = work()
    seconds[part] = time.process_time() - start
    return result


WHAT = {
    "memory": memory,
    "scenes": small_scenes,
    "planning": planning,
    "vrt": virtual,
    "parcels": many_parcels,
}


if __name__ == "__main__":
    main()
