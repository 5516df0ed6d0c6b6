"""Polygons of a large map against gdal_polygonize and a simplification of each polygon by itself.

`python -m benchmarks.vectorize`: makes one map of 10,000 × 10,000 pixels with areas of all sizes in
a temporary folder, and turns it into a GeoPackage with each, in a process of its own: seconds of
processor time, which other work on the machine does not change, the ratio, and peak memory. The
tools of GDAL (Debian: python3-gdal, gdal-bin) neither merge small areas nor keep shared edges:
geoseg is measured as plain as them (`as they do`), and with a minimum of 25 pixels (`all of it`).
Without these tools, rasterio.features.shapes with shapely per polygon stands in for them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from scipy import ndimage

from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.outputs.summary import table

CLASSES = 6
PERIOD = 2000
"""Side in pixels of the landscape that repeats."""
LEGEND = Legend.parse(
    [
        {"code": n, "name": f"class {n}", "color": f"#{n * 40:02x}{250 - n * 35:02x}80"}
        for n in range(1, CLASSES + 1)
    ],
    "benchmark",
)
PLAIN = """
import sys, rasterio, rasterio.features, shapely, geopandas
with rasterio.open(sys.argv[1]) as file:
    found = rasterio.features.shapes(file.read(1), transform=file.transform)
    shapes, codes = zip(*((shapely.geometry.shape(g), v) for g, v in found))
    frame = geopandas.GeoDataFrame({"code": codes}, geometry=list(shapes), crs=file.crs)
frame.geometry = frame.geometry.simplify(1.0)
frame.to_file(sys.argv[2], driver="GPKG")
"""


def made_up(path: Path, side: int) -> None:
    """A map with areas of all sizes, and single pixels among them."""
    random = np.random.default_rng(0)
    ground = sum(
        ndimage.gaussian_filter(random.normal(size=(PERIOD, PERIOD)), s, mode="wrap") * s * w
        for s, w in ((40, 1.0), (8, 0.5), (2, 0.12))
    )
    codes = np.digitize(ground, np.quantile(ground, np.arange(1, CLASSES) / CLASSES)) + 1
    tile = codes.astype(np.uint8)

    def read(window: Window) -> np.ndarray:
        rows = np.arange(window.top, window.bottom) % PERIOD
        columns = np.arange(window.left, window.right) % PERIOD
        return tile[np.ix_(rows, columns)]

    grid = Grid("EPSG:32633", Affine(1, 0, 500_000, 0, -1, 5_000_000), side, side)
    landcover.write(path, grid, LEGEND, read, tags=landcover.tags(LEGEND, "made up"))


def geoseg(path: Path, out: Path, *words: str) -> list[list[str]]:
    command = [sys.executable, "-m", "geoseg.vectorize", f"map={path}", f"out={out}"]
    return [[*command, "vector.simplify_m=1", *words]]


def gdal(path: Path, out: Path) -> list[list[str]]:
    raw = out.with_name("raw.gpkg")
    return [
        ["gdal_polygonize.py", "-q", str(path), "-f", "GPKG", str(raw), "landcover", "code"],
        ["ogr2ogr", "-f", "GPKG", "-simplify", "1", str(out), str(raw), "landcover"],
    ]


def plain(path: Path, out: Path) -> list[list[str]]:
    return [[sys.executable, "-c", PLAIN, str(path), str(out)]]


def run(commands: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Seconds of processor time, and peak memory in GB, of commands one after the other."""
    seconds, peak = 0.0, 0
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{command[0]}: ended with status {os.waitstatus_to_exitcode(status)}")
        seconds += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss)
    return seconds, peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=10_000, help="pixels along each side")
    side = parser.parse_args().side
    tools = shutil.which("gdal_polygonize.py") and shutil.which("ogr2ogr")
    peer, name = (gdal, "gdal_polygonize + ogr2ogr") if tools else (plain, "rasterio + shapely")
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        path = at / "map.tif"
        made_up(path, side)
        ways = {
            "geoseg, as they do": geoseg(path, at / "plain.gpkg"),
            "geoseg, all of it": geoseg(path, at / "whole.gpkg", "vector.minimum_m2=25"),
            name: peer(path, at / "peer.gpkg"),
        }
        rows: list[tuple[str, str, str, str]] = []
        first = 0.0
        for way, commands in ways.items():
            seconds, peak = run(commands)
            first = first or seconds
            rows.append((way, f"{seconds:.1f}", f"{seconds / first:.2f}", f"{peak:.2f}"))
    print(table((f"{side} × {side} pixels", "CPU seconds", "ratio", "GB"), rows))


if __name__ == "__main__":
    main()
