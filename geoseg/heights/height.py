"""Write rasters of heights, window by window."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.heights.cells import Cells, joined
from geoseg.heights.cloud import Cloud, find_clouds, understood
from geoseg.heights.joint import write_joint
from geoseg.heights.settings import LAYERS, OF_GROUND, HeightSettings
from geoseg.heights.sheets import Gathered, Sheet, halo, sheets_of_clouds, sheets_of_scenes
from geoseg.heights.surface import layers_of
from geoseg.outputs.claims import claim
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted, few
from geoseg.outputs.files import read_note, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import Progress
from geoseg.outputs.summary import Summary
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes

RECORD = "height.json"
WORK = ".points"
"""Folder of sums that are of use while the command runs."""
DONE = ".done"
"""Folder with what was found of each sheet that is whole."""
PRODUCTS = (*LAYERS, *(f"{name}.vrt" for name in LAYERS), RECORD, DONE)
NODATA = -9999.0
SIDE = 1024
"""Height and width in pixels of the windows that are made at once."""
SPARSE = 0.5
"""Share of pixels with a point of their own below which they are said to be too small."""
BARE = 0.01
"""Share of pixels without height above which that is said."""
TALL = 330.0
"""Metres above the ground that few towers reach, but birds, clouds and echoes do."""


@dataclass
class Tally:
    """What a sheet came out as."""

    name: str
    pixels: int = 0
    """Pixels of the sheet that clouds cover."""
    seen: int = 0
    """Those with a point of their own."""
    ground: int = 0
    """Those with a point of the ground."""
    empty: int = 0
    """Those without a value in the first layer."""
    points: int = 0
    highest: float = 0.0
    """Of ndsm in metres, where it is made."""


@alone("height", "out")
def height(
    points: Any,
    out: str | Path,
    *,
    scenes: Any = None,
    settings: HeightSettings | None = None,
    overwrite: bool = False,
) -> Summary:
    """Make rasters out of point clouds: `out`/<layer>/<name>.tif, float32, for bands.extra.

    Where all of them have one lattice of pixels, `out`/<layer>.vrt joins them.

    points: folder, glob or list of LAS or LAZ files. scenes: folder, glob or list of GeoTIFFs on
    whose grids the rasters lie; None = each cloud has one of its own.
    A call that goes on makes only what is missing.
    Returns: what was made, as a text for people.
    Raises: InputError for clouds without CRS, damaged ones, ones without points of the ground …
    """
    settings, out = settings or HeightSettings(), Path(out)
    clouds = find_clouds(points, settings.crs)
    if scenes is None:
        sheets = sheets_of_clouds(clouds, settings)
    else:
        sheets = sheets_of_scenes(_scenes(scenes), clouds, settings)
    made = {
        "height": asdict(settings),
        "points": [fingerprint(cloud.path) for cloud in clouds],
        "sheets": [[sheet.name, sheet.grid.to_dict()] for sheet in sheets],
    }
    claim(out, made, command="height", products=PRODUCTS, overwrite=overwrite)
    work = out / WORK
    shutil.rmtree(work, ignore_errors=True)  # of a call that was killed
    gathered = Gathered(work, clouds, settings, shared=scenes is None)
    todo = [sheet for sheet in sheets if _tally(out, sheet, settings) is None]
    try:
        with Progress(len(todo), sum(s.grid.window.area for s in todo)) as progress:
            for number, sheet in enumerate(todo):
                _make(out, sheet, gathered.of(sheet, todo[number + 1 :]), clouds, settings)
                progress.advance(sheet.grid.window.area)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    tallies = [tally for s in sheets if (tally := _tally(out, s, settings)) is not None]
    names, grids = [sheet.name for sheet in sheets], [sheet.grid for sheet in sheets]
    joint = [out / f"{name}.vrt" for name in settings.layers]
    others = [path for path in joint if not write_joint(path, names, grids, nodata=NODATA)]
    _note(out, clouds, tallies, settings)
    summary = _summary(out, clouds, tallies, settings)
    for path in others:
        summary.warn(f"{path}: is not of this command and stays; remove it to have it made anew")
    return summary


def _scenes(spec: Any) -> list[Any]:
    with raster.environment():
        return find_scenes(spec, Bands())


def _paths(out: Path, sheet: Sheet, settings: HeightSettings) -> dict[str, Path]:
    return {name: out / name / f"{sheet.name}.tif" for name in settings.layers}


def _tally(out: Path, sheet: Sheet, settings: HeightSettings) -> Tally | None:
    """What was found of a sheet; None if it is still to be made."""
    found = read_note(out / DONE / f"{sheet.name}.json")
    if found is None or not all(p.is_file() for p in _paths(out, sheet, settings).values()):
        return None
    return Tally(**found)


def _make(
    out: Path, sheet: Sheet, cells: list[Cells], clouds: Sequence[Cloud], settings: HeightSettings
) -> None:
    """Write the rasters of a sheet."""
    _check_ground(sheet, cells, clouds, settings)
    grid, tally = sheet.grid, Tally(sheet.name)
    around = halo(grid, settings)
    t = grid.transform
    origin = round(t.f / t.e), round(t.c / t.a)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                raster.create(path, grid, dtype="float32", nodata=NODATA, names=(name,))
            )
            for name, path in _paths(out, sheet, settings).items()
        }
        for window in Tiling(SIDE, 0).tiles(grid.window):
            wide = window.grow(around)
            planes, covered = joined(cells, grid, wide)
            made = layers_of(
                planes, covered, pixel_m=grid.pixel_size_m, reach_m=settings.carried_m,
                origin=(origin[0] + wide.top, origin[1] + wide.left),
            )  # fmt: skip
            inside = window.within(wide)
            made = {name: made[name][inside] for name in LAYERS}
            _count(tally, {k: v[inside] for k, v in planes.items()}, covered[inside], made)
            tally.empty += int((covered[inside] & np.isnan(made[settings.layers[0]])).sum())
            for name, writer in writers.items():
                values = np.where(np.isnan(made[name]), np.float32(NODATA), made[name])
                writer.write(values, window)
    write_json(out / DONE / f"{sheet.name}.json", asdict(tally))


def _count(
    tally: Tally, planes: dict[str, np.ndarray], covered: np.ndarray, made: dict[str, np.ndarray]
) -> None:
    tally.pixels += int(covered.sum())
    tally.seen += int((planes["count"] > 0).sum())
    tally.ground += int((planes["ground_count"] > 0).sum())
    tally.points += int(planes["count"].sum())
    rising = made["ndsm"][~np.isnan(made["ndsm"])]
    tally.highest = max(tally.highest, float(rising.max()) if len(rising) else 0.0)


def _check_ground(
    sheet: Sheet, cells: list[Cells], clouds: Sequence[Cloud], settings: HeightSettings
) -> None:
    """Raises: InputError if heights above the ground are wanted, and no point is ground."""
    codes = sum((one.codes for one in cells), np.zeros(256, np.int64))
    wanted = [name for name in settings.layers if name in OF_GROUND]
    if not wanted or codes[settings.ground].any():
        return
    held = ", ".join(f"{code} ({n} points)" for code, n in enumerate(codes.tolist()) if n)
    raise InputError(
        f"{clouds[sheet.clouds[0]].path}: no point on {sheet.name} has a class of the ground"
        f" (height.ground={settings.ground}), without which there is no {' or '.join(wanted)}; its"
        f" classes are {held or 'none'}; set height.ground if one of these is the ground, or have"
        " the ground classified first (PDAL: filters.smrf)"
    )


def _note(
    out: Path, clouds: Sequence[Cloud], tallies: Sequence[Tally], settings: HeightSettings
) -> None:
    """Write what was done for programs."""
    facts = [{"path": c.path, "points": c.count, "bounds": list(c.bounds)} for c in clouds]
    values = {
        "height": asdict(settings), "points": facts, "sheets": [asdict(one) for one in tallies]
    }  # fmt: skip
    write_json(out / RECORD, values)


def _summary(
    out: Path, clouds: Sequence[Cloud], tallies: Sequence[Tally], settings: HeightSettings
) -> Summary:
    summary = Summary()
    rows = [
        [
            one.name, one.points, _percent(one.seen, one.pixels), _percent(one.ground, one.pixels),
            _percent(one.empty, one.pixels), f"{one.highest:.1f}",
        ]
        for one in tallies
    ]  # fmt: skip
    header = ["", "points", "with a point", "with ground", "without value", "highest (m)"]
    summary.table("Pixels", header, rows)
    sparse = [one.name for one in tallies if one.seen < SPARSE * one.pixels]
    if sparse:
        summary.warn(
            f"{few(sparse, 3)}: less than half of the pixels have a point of their own, so that"
            " most heights are those of neighbours; larger pixels suit these clouds better"
            " (height.resolution_m, or coarser scenes)"
        )
    bare = [one.name for one in tallies if one.empty > BARE * one.pixels]
    if bare:
        summary.warn(
            f"{few(bare, 3)}: more than 1 % of the pixels have no height, as no ground lies within"
            f" height.reach_m={settings.reach_m:g} m; raise it, or fill the gaps in the clouds"
        )
    tall = [f"{one.name} ({one.highest:.0f} m)" for one in tallies if one.highest > TALL]
    if tall:
        summary.warn(
            f"{few(tall, 3)}: points higher above the ground than {TALL:g} m, mostly noise that is"
            " not classified as such: have it classified (PDAL: filters.outlier), or name its class"
            " in height.outlier"
        )
    summary.notes(understood(clouds, settings.crs))
    name = settings.layers[0]
    summary.note(
        f"{counted(len(tallies), 'raster')} of each of {', '.join(settings.layers)} out of"
        f" {counted(len(clouds), 'point cloud')}: {out}; as a band of prepare:"
        f" bands.extra.{'height' if name == 'ndsm' else name}={out / name}"
    )
    return summary


def _percent(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.1%}"
