"""Mosaicking many overlapping maps against rasterio.merge and against a VRT with gdal_translate.

`python -m benchmarks.mosaic`: makes maps in a temporary folder, joins them in turn with each, every
time in a process of its own, and prints seconds (median), the ratio to geoseg within a run, and
peak memory. All write one deflated COG with 512-pixel blocks and overviews of the mode, with all
cores, and must hold the same pixels. GDAL's command line tools are used where they are there
(Debian: gdal-bin); the GDAL that rasterio brings is measured in any case.
Peak memory of mosaics of growing size, with gaps as between islands, comes after it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import rasterio.merge
import rasterio.shutil
from affine import Affine
from rasterio.windows import Window as RioWindow
from scipy import ndimage

from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.outputs.summary import table

CLASSES = 8
PERIOD = 2048
"""Side in pixels of the landscape that repeats."""
COG = {
    "compress": "deflate",
    "level": 1,
    "blocksize": 512,
    "overview_resampling": "mode",
    "num_threads": "ALL_CPUS",
    "bigtiff": "IF_SAFER",
}
PLAIN = {
    "driver": "GTiff",
    "compress": "deflate",
    "zlevel": 1,
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "num_threads": "ALL_CPUS",
    "bigtiff": "IF_SAFER",
}
LEGEND = Legend.parse(
    [{"code": k, "name": f"class {k}", "color": f"#{k:02x}8000"} for k in range(1, CLASSES + 1)],
    "benchmark",
)
LAUNCH = """
import resource, subprocess, sys, time
begin = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command: a process inherits the peak of the one that starts it, so that one is small."""


@dataclass(frozen=True)
class Spent:
    """What a process took."""

    seconds: float
    megabytes: float
    """Of memory at its peak."""

    @classmethod
    def by(cls, *command: str | Path) -> Spent:
        """Run a command to its end. Raises: RuntimeError with what it said if it fails."""
        call = [sys.executable, "-c", LAUNCH, *map(str, command)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
        seconds, peak = done.stdout.split()
        return cls(float(seconds), float(peak) / (1e6 if sys.platform == "darwin" else 1e3))

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, max(self.megabytes, other.megabytes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512, help="side of a map in pixels")
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--largest", type=int, default=40_000, help="side of the sparse mosaic")
    parser.add_argument("--skip", nargs="*", default=[], help="words of contestants to leave out")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        WORK[given.work[0]](*map(Path, given.work[1:]))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(compare(Path(folder), given))
    with tempfile.TemporaryDirectory() as folder:
        print(memory(Path(folder), given.largest))


def compare(folder: Path, given: argparse.Namespace) -> str:
    """Table of the contestants."""
    maps = make_maps(folder / "maps", given)
    plain = sorted((maps / "plain").iterdir())
    bare = folder / "bare.tif"
    out = {name: folder / f"{name}.tif" for name in ("geoseg", "merge", "tools", "inside")}
    contestants: dict[str, Callable[[], Spent]] = {
        "geoseg mosaic": partial(run_geoseg, maps / "plain", out["geoseg"]),
        "geoseg mosaic, by confidence": partial(run_geoseg, maps, folder / "confident.tif"),
        "rasterio.merge, plain GeoTIFF only": partial(work, "merge", maps / "plain", bare),
        "… and then a COG": partial(work, "to_cog", bare, out["merge"]),
        "VRT, GDAL in rasterio": partial(work, "vrt_to_cog", maps / "plain", out["inside"]),
    }
    if shutil.which("gdalbuildvrt") and shutil.which("gdal_translate"):
        tools = partial(run_tools, plain, out["tools"], "MODE")
        contestants["VRT, gdal_translate"] = tools
        nearest = partial(run_tools, plain, folder / "nearest.tif", "NEAREST")
        contestants["VRT, gdal_translate, nearest"] = nearest
    chosen = {k: v for k, v in contestants.items() if not any(word in k for word in given.skip)}
    rows: list[dict[str, Spent]] = []
    for _ in range(given.runs):
        row = {}
        for name, contestant in chosen.items():
            row[name] = contestant()
            if name.startswith("…"):
                row[name] += row["rasterio.merge, plain GeoTIFF only"]
            print(f"{name}: {row[name].seconds:.1f} s", file=sys.stderr, flush=True)
        rows.append(row)
    grid = raster.info(out["geoseg"]).grid
    assert grid is not None
    same = [
        name for name, path in out.items() if path.exists() and same_pixels(path, out["geoseg"])
    ]
    head = (
        f"{given.maps} maps of {given.size}², {given.overlap} pixels of overlap: {grid.height} ×"
        f" {grid.width}, {os.cpu_count()} cores, median of {given.runs};"
        f" the same pixels and overviews: {', '.join(same)}"
    )
    return f"{head}\n{describe(rows)}"


def describe(rows: list[dict[str, Spent]]) -> str:
    lines = []
    for name in rows[0]:
        spent = [row[name] for row in rows]
        ratio = statistics.median(row[name].seconds / row["geoseg mosaic"].seconds for row in rows)
        seconds = statistics.median(s.seconds for s in spent)
        most = max(s.megabytes for s in spent)
        lines.append((name, f"{seconds:.1f}", f"{ratio:.2f}", f"{most:.0f}"))
    return table(("", "seconds", "geoseg = 1", "peak MB"), lines)


# Maps


def make_maps(folder: Path, given: argparse.Namespace) -> Path:
    """landcover/ and confidence/ as predict writes them; plain/ with the same class maps."""
    size, step = given.size, given.size - given.overlap
    columns = round(given.maps**0.5 * 1.25)
    land, sure = landscape()
    for number in range(given.maps):
        top, left = number // columns * step, number % columns * step
        rows, cols = (np.arange(start, start + size) % PERIOD for start in (top, left))
        # Neighbours do not agree everywhere: their borders lie some pixels apart.
        codes = land[np.ix_((rows + number % 5) % PERIOD, cols)]
        add_map(folder, f"{number:04}", grid(top, left, size), codes, sure[np.ix_(rows, cols)])
    (folder / "plain").mkdir()
    for path in (folder / "landcover").iterdir():
        os.link(path, folder / "plain" / path.name)
    return folder


def add_map(folder: Path, name: str, at: Grid, codes: np.ndarray, sure: np.ndarray) -> None:
    tags = landcover.tags(LEGEND, "0" * 16)
    for kind, pixels in (("landcover", codes), ("confidence", sure)):
        colors = LEGEND.colors() if kind == "landcover" else None
        path = folder / kind / f"{name}.tif"
        options = {"dtype": "uint8", "nodata": 0, "colors": colors, "tags": tags}
        with raster.create(path, at, **options) as file:  # type: ignore[arg-type]
            file.write(pixels, at.window)


def grid(top: int, left: int, size: int) -> Grid:
    transform = Affine(0.5, 0, 500_000 + left / 2, 0, -0.5, 5_000_000 - top / 2)
    return Grid("EPSG:32632", transform, size, size)


def landscape() -> tuple[np.ndarray, np.ndarray]:
    """Codes and confidence (PERIOD, PERIOD) uint8: patches of many sizes, less sure at borders."""
    random = np.random.default_rng(0)
    best, second = (np.full((PERIOD, PERIOD), -np.inf, np.float32) for _ in range(2))
    codes = np.zeros((PERIOD, PERIOD), np.uint8)
    for code in LEGEND.codes:
        field = np.zeros((PERIOD, PERIOD), np.float32)
        for step in (4, 16, 64, 256):
            coarse = random.normal(size=(PERIOD // step,) * 2).astype(np.float32)
            field += ndimage.zoom(coarse, step, order=1, mode="grid-wrap") * step**0.6
        wins = field > best
        second = np.where(wins, best, np.maximum(second, field))
        best[wins], codes[wins] = field[wins], code
    noise = random.normal(scale=2, size=best.shape)
    return codes, np.clip(40 + 4 * (best - second) + noise, 1, 100).astype(np.uint8)


# Contestants


def run_geoseg(maps: Path, out: Path) -> Spent:
    for stray in out.parent.glob(f".{out.name}*"):
        stray.unlink()
    out.unlink(missing_ok=True)
    call = (sys.executable, "-m", "geoseg.mosaic", f"maps={maps}", f"out={out}")
    return Spent.by(*call, "overwrite=true")


def run_tools(paths: list[Path], out: Path, resampling: str) -> Spent:
    # The last map of a VRT is the uppermost, the first of ours.
    listed, vrt = out.with_suffix(".txt"), out.with_suffix(".vrt")
    listed.write_text("\n".join(map(str, reversed(paths))))
    out.unlink(missing_ok=True)
    options = COG | {"overview_resampling": resampling}
    pairs = [("-co", f"{key.upper()}={value}") for key, value in options.items()]
    call = ["-of", "COG", *(word for pair in pairs for word in pair)]
    return Spent.by("gdalbuildvrt", "-overwrite", "-input_file_list", listed, vrt) + Spent.by(
        "gdal_translate", *call, vrt, out
    )


def work(name: str, *paths: Path) -> Spent:
    paths[-1].unlink(missing_ok=True)
    return Spent.by(sys.executable, "-m", "benchmarks.mosaic", "--work", name, *paths)


def merge(maps: Path, out: Path) -> None:
    paths = sorted(maps.iterdir())
    rasterio.merge.merge(paths, dst_path=out, dst_kwds=PLAIN)
    with rasterio.open(out, "r+") as file:
        file.write_colormap(1, LEGEND.colors())


def to_cog(source: Path, out: Path) -> None:
    rasterio.shutil.copy(source, out, driver="COG", **COG)


def vrt_to_cog(maps: Path, out: Path) -> None:
    """What gdalbuildvrt and gdal_translate do, by the GDAL in rasterio: the VRT is written here."""
    paths = sorted(maps.iterdir(), reverse=True)
    grids = []
    for path in paths:
        with rasterio.open(path) as file:
            grids.append((file.transform, file.height, file.width))
            crs = file.crs.to_wkt()
    left, top = min(t.c for t, _, _ in grids), max(t.f for t, _, _ in grids)
    side = grids[0][0].a
    places = [(round((t.c - left) / side), round((top - t.f) / side)) for t, _, _ in grids]
    sources = "".join(
        f"<ComplexSource><SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand>"
        f'<SourceProperties RasterXSize="{w}" RasterYSize="{h}" DataType="Byte"'
        f' BlockXSize="256" BlockYSize="256"/>'
        f'<SrcRect xOff="0" yOff="0" xSize="{w}" ySize="{h}"/>'
        f'<DstRect xOff="{x}" yOff="{y}" xSize="{w}" ySize="{h}"/>'
        "<NODATA>0</NODATA></ComplexSource>"
        for path, (_, h, w), (x, y) in zip(paths, grids, places, strict=True)
    )
    colors = LEGEND.colors()
    entries = "".join(
        '<Entry c1="{}" c2="{}" c3="{}" c4="{}"/>'.format(*colors.get(code, (0, 0, 0, 255)))
        for code in range(256)
    )
    width = max(x + w for (x, _), (_, _, w) in zip(places, grids, strict=True))
    height = max(y + h for (_, y), (_, h, _) in zip(places, grids, strict=True))
    vrt = out.with_suffix(".vrt")
    vrt.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{left}, {side}, 0, {top}, 0, {-side}</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><NoDataValue>0</NoDataValue>'
        f"<ColorInterp>Palette</ColorInterp><ColorTable>{entries}</ColorTable>"
        f"{sources}</VRTRasterBand></VRTDataset>"
    )
    to_cog(vrt, out)


WORK: dict[str, Callable[[Path, Path], None]] = {
    "merge": merge,
    "to_cog": to_cog,
    "vrt_to_cog": vrt_to_cog,
}


def same_pixels(a: Path, b: Path) -> bool:
    """Whether two COGs hold the same at full size, and the same where overviews are whole."""
    with rasterio.open(a) as first, rasterio.open(b) as second:
        if first.shape != second.shape or first.overviews(1) != second.overviews(1):
            return False
        for top in range(0, first.height, 2048):
            place = RioWindow(0, top, first.width, min(2048, first.height - top))
            if not np.array_equal(first.read(1, window=place), second.read(1, window=place)):
                return False
    return True


# Memory


def memory(folder: Path, largest: int) -> str:
    """Table of peak memory: mosaics of growing size, of which a share is mapped."""
    lines = []
    for side in (largest // 10, largest):
        maps = folder / str(side)
        land, sure = landscape()
        step = side // 8
        for number in range(64):
            row, column = divmod(number, 8)
            # The last reach to the edges: the mosaic has just this size.
            top, left = (min(k * step + step // 4, side - 500) if k else 0 for k in (row, column))
            at = grid(top, left, 500)
            add_map(maps, f"{number:02}", at, land[:500, :500], sure[:500, :500])
        spent = run_geoseg(maps, folder / f"{side}.tif")
        file = (folder / f"{side}.tif").stat().st_size / 1e6
        lines.append((f"{side}²", f"{spent.seconds:.1f}", f"{spent.megabytes:.0f}", f"{file:.1f}"))
    return table(("sparse mosaic", "seconds", "peak MB", "file MB"), lines)


if __name__ == "__main__":
    main()
