"""Find the label files of scenes and open them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.geo import extent, raster, vector
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.labels.corrections import Corrections, open_corrections
from geoseg.labels.raster import RasterLabels
from geoseg.labels.settings import VECTOR_ONLY, Labels
from geoseg.labels.source import LabelFile, LabelSource
from geoseg.labels.values import Meaning
from geoseg.labels.vector import Pages, VectorLabels
from geoseg.received.spelling import expanded, once
from geoseg.scenes.scene import find_files


def open_labels(
    labels: Labels,
    legend: Legend,
    *,
    scenes: Mapping[str, Grid] | None = None,
    corrections: Any = None,
) -> LabelSource:
    """Open and check all label files before any work.

    scenes: grids by name. Given these, labels must touch at least one of them, and of class
    rasters only what lies beneath them is checked. corrections: file of what was drawn over a map,
    which counts more than the labels.
    Returns: the source of targets, a context manager.
    Raises: InputError with the faults of all files: unknown values, no CRS, points, …
    """
    if labels.path is None:
        raise InputError("labels: none given; set labels.path=<file, folder, glob or list>")
    faults = Faults()
    codes: dict[str, int] = {}
    for key in ("name", "background"):
        value = getattr(labels, key)
        with faults.collect():
            if value is not None:
                codes[key] = legend.code_of(value, f"labels.{key}")
    paths = faults.attempt(_find, labels.path) or []
    meaning = Meaning(
        legend.meanings(),
        field=labels.field,
        code=codes.get("name", 1),
        skip_unknown=labels.unknown == "unlabelled",
        width_m=labels.width_m,
        width_field=labels.width_field,
        background=codes.get("background"),
        encoding=labels.encoding,
    )
    vectors, rasters = _sort(paths, labels, faults)
    files: list[LabelFile] = [*_drawn(vectors, labels, meaning, faults)]
    near = partial(_near, match=labels.match, scenes=scenes)
    files += faults.each(lambda path: RasterLabels(path, meaning, near=near(path)), rasters)
    area = _open_area(labels, faults)
    corrected = faults.attempt(_corrections, corrections, legend, scenes)
    faults.raise_if_any()
    background = codes.get("background")
    source = LabelSource(labels, legend, files, area=area, background=background)
    source.corrections = corrected
    if scenes is not None:
        source.check(scenes)
    return source


def open_area(path: Any, grid: Grid, *, key: str, where: str | None = None) -> LabelSource:
    """Polygons that bound a part of a map, which is 1 within them.

    key: the setting that names them. where: OGR SQL condition on them.
    Raises: InputError, also where they lie beside the map.
    """
    faults, meaning = Faults(), Meaning({}, prefix=f"{key}.")
    files = faults.each(
        lambda found: VectorLabels(found, meaning, where=where),
        find_files(path, vector.SUFFIXES, "vector files"),
    )
    faults.raise_if_any()
    one = Legend.parse([{"code": 1, "name": "inside", "color": "#000000"}], key)
    source = LabelSource(Labels(), one, list(files), area=[], background=None)
    if not source.touches(grid):
        own = source.extent_in(extent.WGS84)
        here = extent.bounds_in(grid.bounds, grid.crs, extent.WGS84)
        raise InputError(
            f"{key}={path}: no polygon lies on the map: they are at {extent.degrees(own)}, the map"
            f" at {extent.degrees(here)}; is the CRS of either wrong?"
            if own
            else f"{key}={path}: holds no polygon"
        )
    return source


def _drawn(
    paths: list[str], labels: Labels, meaning: Meaning, faults: Faults
) -> list[VectorLabels]:
    """Vector files, opened; they share what is kept in memory."""
    pages, keep = Pages(), vector.KEEP // max(1, len(paths))
    opened = partial(VectorLabels, layer=labels.layer, where=labels.where, pages=pages, keep=keep)
    return faults.each(lambda path: opened(path, meaning), paths)


def only_corrections(path: Any, legend: Legend, *, scenes: Mapping[str, Grid]) -> LabelSource:
    """Corrections as labels, all else unlabelled. Raises: InputError."""
    source = LabelSource(Labels(), legend, [], area=[], background=None)
    source.corrections = _corrections(path, legend, scenes)
    return source


def _corrections(
    path: Any, legend: Legend, scenes: Mapping[str, Grid] | None
) -> Corrections | None:
    """Opened corrections that touch a scene; None if no file is given. Raises: InputError."""
    found = open_corrections(path, legend)
    if found is not None and scenes is not None:
        found.notes += found.check(scenes)
    return found


def _near(path: str, match: str, scenes: Mapping[str, Grid] | None) -> list[Grid] | None:
    """Grids beneath which a raster is looked at; None = all of it."""
    if scenes is None:
        return None
    if match == "location":
        return list(scenes.values())
    return [grid for name, grid in scenes.items() if name == Path(path).stem]


def _find(spec: Any) -> list[str]:
    """Label files; of a folder its vector files, or where it has none, its rasters."""
    faults = Faults()
    found: list[str] = []
    for part in spec if isinstance(spec, (list, tuple)) else [spec]:
        with faults.collect():
            found += files_of(str(part), raster.SUFFIXES, "label files")
    faults.raise_if_any()
    return once(found)


def files_of(part: str, others: tuple[str, ...], what: str) -> list[str]:
    """Vector files that a part of a spec names, or where a folder has none, its other files.

    Raises: InputError if there are none.
    """
    if part.startswith("/vsi") or part.endswith(".gdb"):
        return [part]
    folder = Path(expanded(part))
    drawn = folder.is_dir() and any(p.suffix.lower() in vector.SUFFIXES for p in folder.iterdir())
    return find_files(part, vector.SUFFIXES if drawn else (*vector.SUFFIXES, *others), what)


def _sort(paths: list[str], labels: Labels, faults: Faults) -> tuple[list[str], list[str]]:
    """Vector files and rasters; faults where the settings don't fit them."""
    rasters = [path for path in paths if _is_raster(path)]
    vectors = [path for path in paths if path not in rasters]
    if vectors and labels.field is None and labels.name is None:
        faults.add(
            f"{vectors[0]}: which class? Set labels.field=<attribute with the class>, or"
            " labels.name=<class of every geometry>"
        )
    if rasters and not vectors:
        for key in VECTOR_ONLY:
            value = getattr(labels, key)
            if value not in (None, False):
                faults.add(
                    f"labels.{key}={value}: is for vector files, but {rasters[0]} is a raster;"
                    " the legend's `values` say what its values mean"
                )
    if labels.match == "name":
        stems: dict[str, str] = {}
        for path in paths:
            other = stems.setdefault(Path(path).stem, path)
            if other != path:
                faults.add(f"{other} and {path}: one scene can't take both; move one away")
    return vectors, rasters


def _is_raster(path: str) -> bool:
    """Whether a label file is a class raster: by its name, else by whether GDAL reads it as one."""
    name = path.lower()
    if name.endswith(raster.SUFFIXES) or name.endswith((*vector.SUFFIXES, ".gdb")):
        return name.endswith(raster.SUFFIXES)
    try:
        raster.info(path)
    except InputError:
        return False
    return True


def _open_area(labels: Labels, faults: Faults) -> list[VectorLabels]:
    if labels.area is None:
        return []
    meaning = Meaning({}, prefix="labels.area_")
    paths = faults.attempt(find_files, labels.area, vector.SUFFIXES, "vector files") or []
    opened = partial(VectorLabels, layer=labels.area_layer, where=labels.area_where)
    return faults.each(lambda path: opened(path, meaning), paths)
