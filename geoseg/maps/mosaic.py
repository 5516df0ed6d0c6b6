"""Join maps of many scenes, in any CRS, into one land-cover GeoTIFF."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import NO_DECISION, NODATA, UNDECIDED
from geoseg.maps import landcover
from geoseg.maps.cog.write import Running, Tally
from geoseg.maps.folder import LANDCOVER, beside_of, entries, find_maps
from geoseg.maps.folder import NAME as RECORD
from geoseg.maps.join import Clash, Join, Part
from geoseg.maps.joint_grid import Placement
from geoseg.maps.landcover import MAPS_TAG, MODEL_TAG, UNDECIDED_TAG, ClassMap
from geoseg.maps.layers import CONFIDENCE
from geoseg.maps.mosaic_layers import (
    drop_stale,
    join_layer,
    joinable,
    layer_path,
    side_paths,
    with_layers,
)
from geoseg.maps.mosaic_note import begin, key, note, relative
from geoseg.maps.qgis_layers import beside_layers, map_layer
from geoseg.maps.qgis_project import MOST, Group, ProjectLayer, write_project
from geoseg.maps.stac_item import write_map_item
from geoseg.outputs.claims import read_claim
from geoseg.outputs.counted import counted, first
from geoseg.outputs.files import read_note
from geoseg.outputs.lock import held, holder
from geoseg.outputs.progress import follow
from geoseg.outputs.summary import Summary
from geoseg.outputs.threads import in_order
from geoseg.stac.item import Times, path_of

HEADERS = 4
"""Headers that are read at once: a disk far away takes long to answer."""
FOLLOW = partial(follow, what="joining maps")


def mosaic(
    maps: Any,
    out: str | Path,
    *,
    on: Placement | None = None,
    layers: Sequence[str] = (),
    overwrite: bool = False,
) -> Summary:
    """Join maps into one GeoTIFF with colours; class names and style lie beside it.

    maps: output folder of predict, or a folder, glob or list of class maps. on: where its pixels
    lie. layers: names of rasters beside the maps, such as confidence, of which each is joined into
    <out>_<layer>.tif, every pixel from the map that gives its class.
    Returns: what was done, as a text for people.
    Raises: InputError if legends differ, files are damaged, `out` was made with other settings …
    """
    out, on = Path(out), on or Placement()
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"out={out}: must end in .tif; a mosaic is one GeoTIFF")
    if out.is_dir():
        raise InputError(f"out={out}: is a folder; give the name of the file to write")
    names = joinable(layers)
    told = on.told(out)
    with held(out.parent, "mosaic", name=out.name):
        return _join(maps, out, on, names, told=told, overwrite=overwrite)


def describe(maps: Any, out: str | Path, layers: Sequence[str] = ()) -> list[str]:
    """Write a STAC item beside a mosaic of these maps, if there is none.

    Returns: what was done, for people. Raises: InputError as `write_map_item`.
    """
    out = Path(out)
    with held(out.parent, "mosaic", name=out.name):
        if path_of(out).is_file():
            return []
        own = {name: layer_path(out, name) for name in joinable(layers)}
        made = write_map_item(out, times=_times(_find(maps, out)), layers=own)
        return [f"STAC item: {made}"]


def show(out: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write a QGIS project that shows a mosaic with the layers beside its maps.

    One that is there stays, for somebody may have changed it, unless `overwrite`.
    Returns: what was done, for people.
    """
    out = Path(out)
    path = out.with_suffix(".qgz")
    with held(out.parent, "mosaic", name=out.name):
        if path.exists() and not overwrite:
            return [f"QGIS project: {path} is there already; overwrite=true makes it anew"]
        found = ClassMap.read(out)
        notes: list[str] = []
        parts: list[Group | ProjectLayer] = [map_layer(found), *beside_layers(found, notes)]
        left_out = write_project(path, f"mosaic {out.stem}", found.grid, parts)
    notes.append(f"QGIS project: {path}")
    if left_out:
        notes.append(f"it shows {MOST} maps of a layer; {left_out} more are not in it")
    return notes


def _times(paths: list[str]) -> Times | None:
    """When the images of all maps were taken, by the items beside them; None if one says none."""
    said = [Times.read(path_of(path)) for path in paths]
    known = [times for times in said if times is not None]
    if len(known) < len(said):
        return None
    return Times(min(times.start for times in known), max(times.end for times in known))


def _join(
    maps: Any, out: Path, on: Placement, layers: Sequence[str], *, told: dict[str, Any],
    overwrite: bool,
) -> Summary:  # fmt: skip
    """told: of `on`, for the note of what the mosaic was made with."""
    paths = _find(maps, out)
    parts = _read(paths)
    layered = with_layers(parts, layers)
    grid = on.grid([part.map.grid for part in parts])
    spec = maps if isinstance(maps, (list, tuple)) else [maps]
    where = [relative(os.path.expanduser(str(part)), out) for part in spec]
    folder = _common_folder(paths)
    summary = Summary()
    inputs = [path for part in parts for path in (part.map.path, part.confidence) if path]
    products = (*(path.name for path in landcover.side_files(out)), path_of(out).name, out.name)
    if on.like is not None:
        inputs.append(on.file)
    settings = {"maps": where, **told}
    if begin(out, settings, inputs, products=products, overwrite=overwrite):
        tally, clash = _write(parts, grid, out, folder)
        for gone in drop_stale(out, layers):
            summary.note(f"{gone}: removed, it was of the mosaic before; name it in layers= again")
        _describe(summary, parts, grid, tally)
        _tell_clash(summary, parts, clash)
        _warn_missing(summary, folder, parts)
        summary.note(f"mosaic: {out} (open it in QGIS: class names and colours come with it)")
    else:
        # A run may have been killed between the mosaic and these.
        landcover.finish(out, parts[0].map.legend)
        summary.note(f"{out}: already made of these maps with these settings; nothing to do")
    note(out)
    for name, own in layered.items():
        made = join_layer(own, grid, out, name, overwrite=overwrite, progress=FOLLOW)
        summary.note(f"{name}: {made}")
    return summary


def _find(maps: Any, out: Path) -> list[str]:
    """Files of the maps by name, for ties go to the first; never the mosaic itself."""
    paths = find_maps(maps)
    own = {path.resolve() for path in (out, *side_paths(out))}
    made = read_claim(out.parent, command="mosaic", name=out.name) is not None
    if not made and any(Path(path).resolve() == out.resolve() for path in paths):
        raise InputError(
            f"out={out}: is one of the maps to be joined, which the mosaic would replace; give"
            " another name, or move that file"
        )
    paths = sorted(
        (p for p in paths if Path(p).resolve() not in own), key=lambda p: (Path(p).name, p)
    )
    if not paths:
        raise InputError(f"maps={maps}: only the mosaic itself is there; give the maps to join")
    return paths


def _read(paths: list[str]) -> list[Part]:
    """Raises: InputError with the faults of all maps."""
    faults = Faults()
    parts = []

    def read(path: str) -> Part | InputError:
        try:
            with raster.environment():
                return _read_part(path)
        except InputError as error:
            return error

    for found in in_order(read, paths, threads=HEADERS):
        with faults.collect():
            if isinstance(found, InputError):
                raise found
            parts.append(found)
    for part in parts[1:]:
        first = parts[0].map
        if sorted(part.map.legend.meaning) != sorted(first.legend.meaning):
            faults.add(
                f"{part.map.path}: its legend ({part.map.legend}) differs from that of"
                f" {first.path} ({first.legend}); join maps of one legend"
            )
    faults.raise_if_any()
    return parts


def _read_part(path: str) -> Part:
    found = ClassMap.read(path)
    beside = beside_of(path, found.grid, CONFIDENCE)
    return Part(found, None if beside is None else str(beside))


def _common_folder(paths: Sequence[str]) -> Path:
    """The folder that holds all maps: predict's output folder if they come from it."""
    folders = {Path(path).absolute().parent for path in paths}
    common = Path(os.path.commonpath(folders))
    return common.parent if common.name == LANDCOVER else common


def _write(parts: list[Part], grid: Grid, out: Path, folder: Path) -> tuple[Tally, Clash]:
    """Write the mosaic and what lies beside it.

    Returns: what it holds of each code, and where maps contradict each other.
    """
    legend = parts[0].map.legend
    models = sorted({part.map.tags.get(MODEL_TAG, "unknown") for part in parts})
    said = {part.map.tags[UNDECIDED_TAG] for part in parts if part.map.leaves_open}
    tags = landcover.tags(legend, ",".join(models), undecided="; ".join(sorted(said)))
    tags |= {MAPS_TAG: relative(folder, out)}
    with Join(parts, grid) as join:
        running = Running(key=key(out), progress=FOLLOW)
        tally = landcover.write(out, grid, legend, join.read, tags=tags, running=running)
        return tally, join.clash


def _describe(summary: Summary, parts: list[Part], grid: Grid, tally: Tally) -> None:
    classes = parts[0].map.legend.classes
    counts = tally.pixels
    mapped = np.delete(tally.hectares, NODATA).sum() or 1.0
    rows = [
        (c.name, f"{tally.hectares[c.code]:.2f}", f"{tally.hectares[c.code] / mapped:.1%}")
        for c in classes
    ]
    if any(part.map.leaves_open for part in parts):
        open_ha = tally.hectares[UNDECIDED]
        rows.append((NO_DECISION, f"{open_ha:.2f}", f"{open_ha / mapped:.1%}"))
    summary.table("classes of the mosaic", ("class", "hectares", "share"), rows)
    copied = sum(grid.offset(part.map.grid) is not None for part in parts)
    summary.note(
        f"{counted(len(parts), 'map')}, {copied} copied unchanged, {len(parts) - copied} warped"
        " (nearest);"
        f" {grid.height} × {grid.width} pixels of {grid.pixel_size_m:.3g} m,"
        f" {counts[NODATA] / grid.window.area:.1%} of them without map"
    )
    if grid.is_local:
        summary.note(
            "hectares: by the unit of the maps' CRS, which is local: nobody knows its place on"
            " Earth, and so how true it is there"
        )


def _tell_clash(summary: Summary, parts: list[Part], clash: Clash) -> None:
    """Say how many pixels maps that overlap give different classes."""
    if not clash.differ:
        return
    bare = [part for part in parts if part.confidence is None]
    rule = "the surer map counts" + (", those without confidence beside them last" if bare else "")
    if len(bare) == len(parts):
        rule = "the first map by name counts, as none has its confidence beside it"
    summary.note(
        f"where maps overlap, they give different classes to {counted(clash.differ, 'pixel')} of"
        f" {clash.twice} ({clash.differ / clash.twice:.1%}); {rule}"
    )


def _is_map(name: str) -> bool:
    return name.lower().endswith(raster.SUFFIXES) and not name.startswith(".")


def _warn_missing(summary: Summary, folder: Path, parts: list[Part]) -> None:
    """Say which scenes predict was given but has no map of, and which maps were left out."""
    if busy := holder(folder):
        summary.warn(f"{busy} is still writing to {folder}: maps that come now are not in here")
    if not (folder / RECORD).is_file() or not (folder / LANDCOVER).is_dir():
        return
    scenes = entries(read_note(folder / RECORD) or {}, folder / RECORD)
    have = {Path(part.map.path).stem for part in parts}
    made = {Path(path).stem for path in os.listdir(folder / LANDCOVER) if _is_map(path)}
    others = [name for name in scenes if name in made - have]
    missing = [name for name in scenes if name not in have | made]
    if others:
        summary.note(
            f"{counted(len(others), 'map')} of {folder} not in this mosaic: {first(others)}"
        )
    if missing:
        summary.warn(
            f"{counted(len(missing), 'scene', 'have')} no map: {first(missing)};"
            f" {folder / RECORD} says why"
        )
