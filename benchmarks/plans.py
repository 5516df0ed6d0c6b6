"""What planning a large VRT, and preparing many parcels, takes: for `benchmarks.scale`."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import shapely

from benchmarks import made
from benchmarks.resident import peak_resident
from geoseg.dataset.sample_split import SampleSplit
from geoseg.dataset.settings import SampleSettings
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.legend import Legend
from geoseg.geo.vector import write_layer
from geoseg.labels.settings import Labels
from geoseg.models import suitability
from geoseg.outputs.summary import table
from geoseg.parcels.prepare import FromStacks, prepare_series
from geoseg.prediction.bands import scenes_for
from geoseg.prediction.panels import cut
from geoseg.scenes.bands import Bands
from geoseg.scenes.neighbours import places
from geoseg.scenes.scene import SceneFiles
from geoseg.series.settings import Series

PARCEL = 5
"""Pixels from corner to corner of parcels, the last of which belongs to none."""
BLOCK_M = 4 * PARCEL * made.PIXEL_M
"""Of the split: small, so that few parcels make several."""
MEMORY = 1.0
"""GB for the buffers of a panel."""


def virtual(folder: Path, options: argparse.Namespace) -> str:
    """Table of processor time and memory of planning a VRT, by its side."""
    lines = []
    for side in options.vrt_sides:
        path = write_vrt(folder / f"vrt{side}", side, options.files_across)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, more, panels = pool.apply(planned_vrt, (path,))
        lines.append((f"{side:,}²", f"{seconds:.2f}", f"{more:.0f}", f"{panels}"))
    head = ("pixels", "finding and planning, s", "MB more than before", "panels")
    return f"one VRT of {options.files_across**2} files, processor time\n{table(head, lines)}"


def write_vrt(folder: Path, side: int, across: int) -> Path:
    """A VRT of so many sparse files in a row and in a column, each with a corner full of data."""
    folder.mkdir()
    step = side // across
    bands: list[list[str]] = [[] for _ in made.BANDS]
    for row, column in np.ndindex(across, across):
        top, left = row * step, column * step
        name = f"{row}_{column}.tif"
        place = made.grid(step, step, top=top, left=left)
        names = made.BANDS
        with raster.create(
            folder / name, place, dtype="uint16", count=len(names), nodata=0, names=names
        ) as file:
            corner = min(step, 256)
            file.write(
                np.full((len(names), corner, corner), 2000, np.uint16), Window(0, 0, corner, corner)
            )
        size = f'xSize="{step}" ySize="{step}"'
        for number, sources in enumerate(bands, 1):
            sources.append(
                f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>'
                f'<SourceBand>{number}</SourceBand><SourceProperties RasterXSize="{step}"'
                f' RasterYSize="{step}" DataType="UInt16" BlockXSize="{raster.BLOCK}"'
                f' BlockYSize="{raster.BLOCK}"/><SrcRect xOff="0" yOff="0" {size}/>'
                f'<DstRect xOff="{left}" yOff="{top}" {size}/></SimpleSource>'
            )
    t = made.grid(side, side).transform
    text = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{number}"><Description>{name}</Description>'
        f"<NoDataValue>0</NoDataValue>{''.join(sources)}</VRTRasterBand>"
        for number, (name, sources) in enumerate(zip(made.BANDS, bands, strict=True), 1)
    )
    path = folder / "all.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>{t.c},{t.a},0,{t.f},0,{t.e}</GeoTransform>{text}</VRTDataset>"
    )
    return path


def planned_vrt(path: Path) -> tuple[float, float, int]:
    """Processor time (s) of finding and planning a scene, MB that it took, and its panels."""
    card = made.card()
    before, start = peak_resident(), time.process_time()
    with raster.environment():
        (found,) = scenes_for(card, SceneFiles(path)).scenes
        scene = suitability.check_values(suitability.fit(found, card), card).scene
        (place,) = places([scene], made.TILING)
        panels = list(
            cut(scene, place, made.TILING.size, classes=made.CLASSES, memory=MEMORY, maps=2)
        )
    return time.process_time() - start, peak_resident() - before, len(panels)


def many_parcels(folder: Path, options: argparse.Namespace) -> str:
    """Table of processor time per parcel and peak memory, by the number of parcels."""
    lines = []
    for count in options.parcels:
        there = folder / f"parcels{count}"
        write_parcels(there, count)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            reading, preparing, peak = pool.apply(prepared, (there,))
        shutil.rmtree(there)
        each = (f"{1e3 * seconds / count:.3f}" for seconds in (reading, preparing))
        lines.append((f"{count:,}", *each, f"{peak:.0f}"))
    head = ("parcels", "reading, ms", "prepare_series, ms", "peak MB")
    return f"parcels of 4² pixels, 3 dates, processor time per parcel\n{table(head, lines)}"


def write_parcels(folder: Path, count: int) -> None:
    """Square parcels of two classes in rows, and three images of two bands that show them."""
    across = math.ceil(math.sqrt(count))
    side = across * PARCEL
    place = made.grid(side, side)
    for day, path in enumerate(f"2026-0{month}-01.tif" for month in (4, 6, 8)):
        stripe = made.texture(min(made.STRIPE, side), side, bands=2, seed=day, steps=(16, 64))
        made.write(folder / "images" / path, stripe, place)
    row, column = np.divmod(np.arange(count), across)
    left = made.LEFT_M + column * PARCEL * made.PIXEL_M
    top = made.TOP_M - row * PARCEL * made.PIXEL_M
    inside = (PARCEL - 1) * made.PIXEL_M
    columns = {"id": np.arange(count), "crop": np.where(row % 2, "maize", "wheat")}
    squares = shapely.box(left, top - inside, left + inside, top)
    write_layer(
        folder / "parcels.gpkg", columns, layer="parcels", geometries=squares, crs=place.crs
    )


def prepared(folder: Path) -> tuple[float, float, float]:
    """Processor time (s) of reading the parcels and of preparing them, and peak memory (MB)."""
    classes = ({"code": 1, "name": "maize"}, {"code": 2, "name": "wheat"})
    legend = Legend.parse([one | {"color": "#336699"} for one in classes], "benchmark")
    start = time.process_time()
    source = FromStacks.open(
        Series(path=str(folder / "images")),
        Labels(path=str(folder / "parcels.gpkg"), field="crop"),
        bands=Bands(names=["red", "nir"]),
        samples=SampleSettings(id="id"),
    )
    read = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        prepare_series(source, legend, folder / "dataset", split=SampleSplit(block_m=BLOCK_M))
    return read - start, time.process_time() - read, peak_resident()
