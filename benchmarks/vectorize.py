"""Polygons of a large map against gdal_polygonize and a simplification of each polygon by itself.

`python -m benchmarks.vectorize`: makes one map of 10,000 × 10,000 pixels with areas of all sizes in
a temporary folder, and turns it into a GeoPackage with each, in processes of its own: seconds by
the clock and of processor time (which other work on the machine changes less), how many times as
long GDAL's way takes, and peak memory of the largest process. The tools of GDAL and QGIS (Debian:
python3-gdal, gdal-bin, qgis) neither merge small areas nor keep shared edges: geoseg is measured as
plain as them (`as they do`), and with a minimum of 25 pixels (`all of it`). Without these tools,
rasterio.features.shapes with shapely per polygon stands in for them.

OTB (Debian: otb-bin) is beside them if it is there. None of its programs takes a map alone:
LSMSVectorization asks for an image and for a raster where each area has a number of its own. Given
the map in place of that, it makes one shape of each class. So Segmentation numbers the areas first
(connected components of pixels that do not differ, 4-neighbours as GDAL), and the map is the image,
whose mean in an area is its class: the same polygons as those of gdal_polygonize.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


def peers(path: Path, folder: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """What others do, in steps; the second way goes on from the first one's first step."""
    if not shutil.which("gdal_polygonize.py") or not shutil.which("ogr2ogr"):
        yield (
            "rasterio + shapely",
            [[sys.executable, "-c", PLAIN, str(path), str(folder / "p.gpkg")]],
        )
        return
    raw, simple = folder / "raw.gpkg", folder / "simple.gpkg"
    polygonize = [
        "gdal_polygonize.py",
        "-q",
        str(path),
        "-f",
        "GPKG",
        str(raw),
        "landcover",
        "code",
    ]
    simplify = ["ogr2ogr", "-f", "GPKG", "-simplify", "1", str(simple), str(raw), "landcover"]
    yield "gdal_polygonize + ogr2ogr", [polygonize, simplify]
    # Debian's wrapper hands over an option that qgis_process does not know.
    qgis = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if qgis:
        words = {"INPUT": raw, "METHOD": 2, "TOLERANCE": 1, "OUTPUT": folder / "qgis.gpkg"}
        given = [f"--{key}={value}" for key, value in words.items()]
        run_ = [qgis, "run", "native:simplifygeometries", *given]
        yield "gdal_polygonize + QGIS (Visvalingam)", [polygonize, run_]
    if shutil.which("otbcli_Segmentation") and shutil.which("otbcli_LSMSVectorization"):
        yield "OTB + ogr2ogr", otb(path, folder)


def otb(path: Path, folder: Path) -> list[list[str]]:
    """Numbers of the areas, their outlines as a Shapefile (it fails on a GeoPackage), simpler."""
    areas, raw, simple = folder / "areas.tif", folder / "otb.shp", folder / "otb.gpkg"
    number = ["otbcli_Segmentation", "-in", str(path), "-filter", "cc"]
    number += ["-filter.cc.expr", "distance == 0", "-mode", "raster"]
    number += ["-mode.raster.out", str(areas), "uint32"]
    outline = ["otbcli_LSMSVectorization", "-in", str(path), "-inseg", str(areas)]
    simplify = ["ogr2ogr", "-f", "GPKG", "-simplify", "1", str(simple), str(raw)]
    return [number, [*outline, "-out", str(raw)], simplify]


@dataclass(frozen=True)
class Took:
    """What a command took."""

    wall: float
    cpu: float
    """Seconds, with the processes that it started."""
    peak: float
    """GB, of the largest process."""


def run(command: Sequence[str], known: dict[tuple[str, ...], Took]) -> Took:
    """Run a command, unless it is known what it took."""
    if tuple(command) in known:
        return known[tuple(command)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]}: ended with status {os.waitstatus_to_exitcode(status)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = Took(time.perf_counter() - begin, cpu, usage.ru_maxrss / 1e6)
    known[tuple(command)] = took
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=10_000, help="pixels along each side")
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        path = at / "map.tif"
        made_up(path, side)
        ways = {
            "geoseg, as they do": geoseg(path, at / "plain.gpkg"),
            **dict(peers(path, at)),
            "geoseg, all of it": geoseg(path, at / "whole.gpkg", "vector.minimum_m2=25"),
        }
        rows: list[tuple[str, ...]] = []
        known: dict[tuple[str, ...], Took] = {}
        first = None
        for way, commands in ways.items():
            steps = [run(command, known) for command in commands]
            wall, cpu = sum(step.wall for step in steps), sum(step.cpu for step in steps)
            first = first or (wall, cpu)
            shown = (wall, wall / first[0], cpu, cpu / first[1], max(s.peak for s in steps))
            rows.append(
                (way, *(f"{value:.{d}f}" for value, d in zip(shown, (0, 2, 0, 2, 2), strict=True)))
            )
            print(*rows[-1], flush=True)
    head = (f"{side} × {side} pixels", "seconds", "ratio", "CPU seconds", "ratio", "GB")
    print(table(head, rows))


if __name__ == "__main__":
    main()
