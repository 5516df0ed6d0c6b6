"""Comparing two maps against only reading them with rasterio.

`python -m benchmarks.comparison`: makes two maps of a landscape of which 5 % changed, and takes, in
turn and in a process of its own each time, the seconds that rasterio needs to read both by strips,
that rasterio needs to read both and to write a third one, deflated, without and with overviews,
that geoseg needs to count what became of what, and that it needs for the whole comparison with the
map of changes (with overviews) and the page. Prints medians, ratios within a run, seconds of all
cores, and peak memory, for two sizes of map: memory must not grow with the height.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window as RioWindow
from scipy import ndimage

from geoseg.comparison.compare import compare
from geoseg.comparison.count import Counter
from geoseg.comparison.pair import MapPair
from geoseg.comparison.strips import HEIGHT, Reader
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.outputs.summary import table

CLASSES = 8
PERIOD = 2048
"""Side in pixels of the landscape that repeats."""
LEGEND = Legend.parse(
    [{"code": k, "name": f"class {k}", "color": f"#{k:02x}8000"} for k in range(1, CLASSES + 1)],
    "benchmark",
)
MOST = 1.5
"""Times what reading takes that counting may take."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=16_000, help="width of the maps in pixels")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        name, *paths = given.work
        begin, cores = time.perf_counter(), time.process_time()
        WORK[name](*map(Path, paths))
        seconds = time.perf_counter() - begin
        used = resource.getrusage(resource.RUSAGE_SELF)
        peak = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        print(seconds, time.process_time() - cores, peak)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), given.side, given.runs))


def measure(folder: Path, side: int, runs: int) -> str:
    """Tables of two heights of map."""
    parts = []
    for height in (side // 2, side):
        paths = make_maps(folder, height, side)
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WORK}
        for _ in range(runs):
            for name in WORK:
                rows[name].append(work(name, *paths, folder / "out"))
        entries = []
        for name, found in rows.items():
            seconds, cores = (statistics.median(one[k] for one in found) for k in (0, 1))
            ratios = [
                [one[k] / other[k] for one, other in zip(found, rows[rival], strict=True)]
                for rival in ("reading", "writing")
                for k in (0, 1)
            ]
            memory = max(m for *_, m in found)
            said = [f"{statistics.median(ratio):.2f}" for ratio in ratios]
            entries.append([name, f"{seconds:.2f}", f"{cores:.2f}", *said, f"{memory:.0f}"])
        head = f"{height} × {side} pixels, {os.cpu_count()} cores, median of {runs}"
        columns = ["what", "seconds", "of cores", "× reading", "of cores", "× writing", "of cores"]
        parts.append(f"{head}\n{table([*columns, 'MB'], entries)}")
        reached = float(entries[list(WORK).index("counting")][3]) <= MOST
    verdict = "reached" if reached else "MISSED"
    parts.append(f"{verdict}: counting takes at most {MOST} × what reading both maps takes")
    return "\n\n".join(parts)


def work(name: str, *paths: Path) -> tuple[float, float, float]:
    """Seconds, seconds of all cores, and megabytes of a contestant in a process of its own."""
    call = [sys.executable, "-m", "benchmarks.comparison", "--work", name, *map(str, paths)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, cores, memory = map(float, done.stdout.split()[-3:])
    return seconds, cores, memory


def make_maps(folder: Path, height: int, width: int) -> tuple[Path, Path]:
    """Two maps, as geoseg.mosaic writes them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(1, CLASSES + 1, (PERIOD // 32, PERIOD // 32), dtype=np.uint8)
    before = ndimage.zoom(coarse, 32, order=0, mode="grid-wrap")
    jitter = rng.integers(-6, 7, (2, PERIOD // 8, PERIOD // 8)).repeat(8, 1).repeat(8, 2)
    rows, columns = np.indices(before.shape) + jitter
    before = before[rows % PERIOD, columns % PERIOD]
    changed = (rng.random((PERIOD // 16, PERIOD // 16)) < 0.05).repeat(16, 0).repeat(16, 1)
    after = np.where(changed, before % CLASSES + 1, before).astype(np.uint8)
    grid = Grid("EPSG:32632", Affine(10, 0, 300_000, 0, -10, 5_500_000), height, width)
    paths = []
    for name, codes in (("before", before), ("after", after)):

        def read(window: Window, codes: np.ndarray = codes) -> np.ndarray:
            down = np.arange(window.top, window.bottom) % PERIOD
            across = np.arange(window.left, window.right) % PERIOD
            return codes[np.ix_(down, across)]

        path = folder / f"{name}.tif"
        landcover.write(path, grid, LEGEND, read, tags=landcover.tags(LEGEND, None))
        paths.append(path)
    return paths[0], paths[1]


def reading(before: Path, after: Path, out: Path) -> None:
    """What nobody can do without."""
    with rasterio.open(before) as one, rasterio.open(after) as two:
        for top in range(0, one.height, HEIGHT):
            window = RioWindow(0, top, one.width, min(HEIGHT, one.height - top))
            for dataset in (one, two):
                dataset.read(1, window=window)


def writing(before: Path, after: Path, out: Path) -> None:
    """What a new raster of the same size costs besides: read, add up, write, deflated."""
    with rasterio.open(before) as one, rasterio.open(after) as two:
        profile = {
            **{key: one.profile[key] for key in ("height", "width", "crs", "transform", "dtype")},
            **{"driver": "GTiff", "count": 1, "nodata": 0, "compress": "deflate", "tiled": True},
            **{"blockxsize": HEIGHT, "blockysize": HEIGHT},
        }
        with rasterio.open(out.with_name("written.tif"), "w", **profile) as made:
            for top in range(0, one.height, HEIGHT):
                window = RioWindow(0, top, one.width, min(HEIGHT, one.height - top))
                first, second = (dataset.read(1, window=window) for dataset in (one, two))
                made.write((first - 1) * CLASSES + second, 1, window=window)


def with_overviews(before: Path, after: Path, out: Path) -> None:
    """The same with the overviews that a Cloud Optimized GeoTIFF has."""
    writing(before, after, out)
    with rasterio.open(out.with_name("written.tif"), "r+") as made:
        factors = [2**k for k in range(1, 12) if max(made.shape) > HEIGHT * 2 ** (k - 1)]
        made.build_overviews(factors, Resampling.mode)


def counting(before: Path, after: Path, out: Path) -> None:
    """All figures, without a map of changes."""
    reader = Reader(MapPair.open(before, after), confidence=None)
    counter = Counter(reader.grid, reader.pairs, None)
    for strip in reader.read():
        counter.add(strip)
    assert counter.finish().changed[0]


def comparing(before: Path, after: Path, out: Path) -> None:
    """The command."""
    compare(MapPair.open(before, after), out, overwrite=True)


WORK: dict[str, Callable[[Path, Path, Path], None]] = {
    "reading": reading,
    "writing": writing,
    "with overviews": with_overviews,
    "counting": counting,
    "comparing": comparing,
}

if __name__ == "__main__":
    main()
