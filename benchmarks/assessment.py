"""Sampling a large map against reading it by rasterio.

`python -m benchmarks.assessment`: writes a class map of made-up land into a temporary folder, then
in turn reads it once block by block with rasterio, and counts and draws a sample from it, as
geoseg.sample does. Prints seconds by the clock and of all cores (medians), their ratios within a
run, and the peak of Python's and numpy's memory while sampling. Exit status 1 if the ratio by the
clock is above --most.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from geoseg.assessment.sampling.count import Lattice, count
from geoseg.assessment.sampling.draw import random_points
from geoseg.assessment.sampling.population import Frame, Population
from geoseg.assessment.sampling.settings import Sampling
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.summary import table

PERIOD = 2048
"""Side in pixels of the landscape that repeats."""
LEGEND = Legend.parse(
    [{"code": k, "name": f"class {k}", "color": f"#{k:02x}8000"} for k in range(1, 9)],
    "benchmark",
)
POINTS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=16_000, help="of the map in pixels")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--most", type=float, default=1.5, help="ratio that is allowed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = write(Path(folder) / "map.tif", given.side)
        pairs = [(read(found), sample(found)) for _ in range(given.runs)]
        tracemalloc.start()
        sample(found)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    clock, cores = (
        statistics.median(ours[k] / theirs[k] for theirs, ours in pairs) for k in (0, 1)
    )
    rows = []
    for place, name, ratios, memory in (
        (0, "read by rasterio", (1.0, 1.0), ""),
        (1, f"sample of {POINTS} points", (clock, cores), f"{peak:.0f}"),
    ):
        cells = [name]
        for k, ratio in enumerate(ratios):
            cells += [f"{statistics.median(pair[place][k] for pair in pairs):.2f}", f"{ratio:.2f}"]
        rows.append([*cells, memory])
    head = (f"{given.side}² pixels", "seconds", "ratio", "of all cores", "ratio", "peak MB")
    print(table(head, rows))
    return int(clock > given.most)


def write(path: Path, side: int) -> ClassMap:
    """A map of patches with ragged edges, as networks draw them."""
    random = np.random.default_rng(0)
    coarse = random.integers(1, 9, (PERIOD // 64,) * 2).repeat(64, 0).repeat(64, 1)
    rows, columns = np.indices((PERIOD, PERIOD))
    shift = random.normal(scale=6, size=(2, PERIOD // 4, PERIOD // 4)).repeat(4, 1).repeat(4, 2)
    rows = (rows + shift[0]).astype(int) % PERIOD
    columns = (columns + shift[1]).astype(int) % PERIOD
    codes = coarse[rows, columns].astype(np.uint8)
    place = Grid("EPSG:32632", Affine(10, 0, 500_000, 0, -10, 5_000_000), side, side)
    tags = landcover.tags(LEGEND, "0" * 16)
    with raster.create(
        path, place, dtype="uint8", nodata=0, colors=LEGEND.colors(), tags=tags
    ) as file:
        for top in range(0, side, PERIOD):
            for left in range(0, side, PERIOD):
                height, width = min(PERIOD, side - top), min(PERIOD, side - left)
                file.write(codes[:height, :width], Window(top, left, height, width))
    return ClassMap.read(path)


def read(found: ClassMap) -> tuple[float, float]:
    """Seconds, and seconds of all cores, to read it once."""
    begin = time.perf_counter(), time.process_time()
    with rasterio.open(found.path) as file:
        for _, window in file.block_windows(1):
            file.read(1, window=window)
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def sample(found: ClassMap) -> tuple[float, float]:
    """Seconds, and seconds of all cores, to count its strata and to draw points from them."""
    begin = time.perf_counter(), time.process_time()
    with Population(Frame(found), Sampling()) as population:
        counts = count(population, Lattice.of(found.grid))
        each = POINTS // len(counts.strata)
        random_points(population, counts, dict.fromkeys(counts.strata, (each, 0)), seed=0)
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


if __name__ == "__main__":
    raise SystemExit(main())
