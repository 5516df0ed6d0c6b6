"""Find scenes in folders, lists, catalogs and cubes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.band_tags import (
    BandTags,
    same_pair,
    told,
)
from geoseg.geo.grid import Grid
from geoseg.geo.legend import composed
from geoseg.outputs.counted import counted
from geoseg.received.spelling import by_pattern, expanded, matches, once, unfound
from geoseg.scenes import alpha
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene.band_files import said_of_lone_bands
from geoseg.scenes.scene.catalogs import Files, check_settings, files_of_items, told_by
from geoseg.scenes.scene.image import Scene, Source
from geoseg.stac import sources as described
from geoseg.stac.bands import ChosenFile, Said, nodata_for_all
from geoseg.stac.catalog import Item

_REAL = "uif"
_COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class SceneFiles:
    """Where scenes lie, and what their files do not say of their bands."""

    spec: Any
    """Folder, glob, file, list, catalog or cube."""
    bands: Bands = field(default_factory=Bands)

    @classmethod
    def of(cls, given: Any) -> SceneFiles:
        """What was given, or files that are given alone."""
        return given if isinstance(given, cls) else cls(given)


def find_files(spec: Any, suffixes: tuple[str, ...], what: str) -> list[str]:
    """Files named by a folder, a glob, a file or a list of these, sorted, each once.

    Raises: InputError if a part of the spec finds nothing.
    """
    faults = Faults()
    found: dict[str, None] = {}
    for part in spec if isinstance(spec, (list, tuple)) else [spec]:
        text = expanded(str(part))
        if os.path.isdir(text):
            names = sorted(os.listdir(text))
            paths = [os.path.join(text, n) for n in names if n.lower().endswith(suffixes)]
            paths = [p for p in paths if not os.path.basename(p).startswith(".")]
            if not paths:
                faults.add(
                    f"{text}: no {what} ({', '.join(suffixes)}) in this folder{by_pattern(names)}"
                )
        elif os.path.exists(text):
            paths = [text]
        else:
            paths = matches(text)
            if not paths:
                faults.add(unfound(text, what))
        found.update(dict.fromkeys(paths))
    faults.raise_if_any()
    return once(found)


def find_scenes(
    spec: Any,
    bands: Bands | None = None,
    *,
    refused: dict[str, InputError] | None = None,
) -> list[Scene]:
    """Scenes of a folder, glob, file, list, catalog or cube, with their bands named and ordered.

    refused: a dictionary that takes scenes with faults by name, for whoever goes on without them.
    Raises: InputError with the faults of all files: no CRS, rotated, palette, bands missing …
    """
    bands = bands or Bands()
    if spec is None:
        raise InputError("scenes: none given; set scenes=<folder, glob or list of GeoTIFFs>")
    catalogs, others = described.split(spec)
    paths = find_files(others, raster.SUFFIXES, "rasters") if others else []
    extras = {
        name: find_files(where, raster.SUFFIXES, "rasters") for name, where in bands.extra.items()
    }
    faults = Faults()
    for path, other in _twice(paths):
        faults.add(f"{path} and {other} are one file: it would be two scenes; give it once")
    if bands.pattern is None and not bands.names:
        faults.found.extend(said_of_lone_bands(paths))
        faults.raise_if_any()
    groups = _group(paths, bands) if paths else []
    chosen: list[tuple[str, Files]] = []
    items: dict[str, Item] = {}
    if catalogs:
        with faults.collect():
            check_settings(bands)
            read = described.read_items(catalogs)
            items = {item.id: item for item in read}
            chosen = files_of_items(read, bands, refused)
    groups += chosen
    for name, count in Counter(name for name, _ in groups).items():
        if count > 1:
            faults.add(f"{count} scenes are called {name}; maps are named so: rename the files")
    faults.raise_if_any()
    held = {band for _, files in groups for band, _ in files if isinstance(band, str)}
    wanted = [band for band in bands.order or sorted(held) if band not in bands.extra]
    scenes = []
    for name, files in groups:
        try:
            if bands.pattern is not None:  # then there is no catalog
                files = _one_per_band(name, files, wanted)
            scene = _scene(name, files, bands, extras)
            scenes.append(told_by(items[name], scene, bands) if name in items else scene)
        except InputError as error:
            faults.found.extend(error.faults)
            if refused is not None:
                refused[name] = error
    if refused is None:
        faults.raise_if_any()
    return scenes


def _twice(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Files that a link gives a second name."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(os.path.realpath(path), path), path) for path in paths]
    return [pair for pair in pairs if pair[0] != pair[1]]


def match_names(wanted: Iterable[Any], scenes: Iterable[str]) -> tuple[list[str], list[str]]:
    """Scene names among `scenes` that were asked for, and what was asked for and isn't there.

    A scene may be named by its file; é is é in whichever form of Unicode it is written. A number
    (22978945_15 in YAML is one) counts as a name if it can mean one scene only.
    """
    names = {composed(name): name for name in scenes}
    found, missing = [], []
    for entry in wanted:
        text = composed(str(entry))
        file = Path(text).stem if text.lower().endswith(raster.SUFFIXES) else text
        name = names.get(text, names.get(file))
        if name is None and isinstance(entry, int | float):
            alike = [own for own in names.values() if _as_number(own) == entry]
            name = alike[0] if len(alike) == 1 else None
        (found.append(name) if name else missing.append(str(entry)))
    return found, missing


def _as_number(name: str) -> float | None:
    """What YAML makes of a name."""
    try:
        return float(name)
    except ValueError:
        return None


def _group(paths: list[str], bands: Bands) -> list[tuple[str, Files]]:
    """Scene name → its files. Raises: InputError if bands.pattern matches none."""
    if bands.pattern is None:
        return [(Path(path).stem, [(None, path)]) for path in paths]
    groups: dict[str, Files] = {}
    for path in paths:
        if match := re.search(bands.pattern, Path(path).name):
            groups.setdefault(match["scene"], []).append((match["band"], path))
    if not groups:
        names = ", ".join(Path(path).name for path in paths[:3])
        raise InputError(
            f"bands.pattern={bands.pattern}: matches none of {len(paths)} files ({names} …)"
        )
    return list(groups.items())


def _one_per_band(name: str, files: Files, wanted: list[str]) -> Files:
    """The files of the wanted bands. Raises: InputError if one has none, or several."""
    faults = Faults()
    held = Counter(str(band) for band, _ in files)
    missing = [band for band in wanted if band not in held]
    if missing:
        faults.add(f"scene {name}: no file for band {', '.join(missing)}")
    for band, count in held.items():
        if count > 1:
            faults.add(f"scene {name}: {count} files for band {band}; bands.pattern is too wide")
    faults.raise_if_any()
    return [(band, path) for band, path in files if band in wanted]


def _scene(name: str, files: Files, bands: Bands, extras: dict[str, list[str]]) -> Scene:
    faults = Faults()
    infos = faults.each(image_info, (path for _, path in files))
    faults.raise_if_any()
    if not infos:
        raise InputError(f"scene {name}: no file")
    # The finest file gives the grid: warping it onto a coarser one would lose what it shows.
    grids = [facts.grid for facts in infos if facts.grid]
    sizes = [g.pixel_size_near(grids[0]) for g in grids]
    # Those that differ by a hair are alike, and the first counts.
    grid = next(g for g, size in zip(grids, sizes, strict=True) if size < min(sizes) * 1.01)
    names: list[str] = []
    tags: list[BandTags] = []
    sources = []
    told_of: list[tuple[Said, BandTags]] = []
    for (band, path), facts in zip(files, infos, strict=True):
        numbers, said = _held(facts, band, bands)
        sources.append(Source((path,), numbers))
        names += said
        own = [
            facts.band_tags[facts.bands.index(n)] if n in facts.bands else BandTags()
            for n in numbers
        ]
        if isinstance(band, ChosenFile):
            told_of += zip(band.said, own, strict=True)
            own = [one.over(mine) for one, mine in zip(band.said, own, strict=True)]
        tags += map(bands.told, own)
    nodata = bands.nodata
    if nodata is None and told_of:
        with faults.collect():
            nodata = nodata_for_all(told_of, f"scene {name}")
    for extra, paths in extras.items():
        with faults.collect():
            headers = _near(name, extra, paths, grid)
            source, said_of = _added(headers, extra, bands)
            sources.append(source)
            names.append(extra)
            infos += headers
            tags.append(said_of)
    faults.raise_if_any()
    dtype = str(np.result_type(*(facts.dtype for facts in infos)))
    # Networks compute in float32; wider types only cost memory.
    dtype = "float32" if np.dtype(dtype).itemsize > 4 else dtype
    if bands.partial:  # what a mean stands for must be the mean exactly
        dtype = "float32"
    order = tuple(range(len(names)))
    scene = Scene(
        name, grid, tuple(sources), tuple(names), dtype, nodata, order,
        tags=tuple(tags), partial=bool(bands.partial),
    )  # fmt: skip
    return scene.select(bands.order) if bands.order else scene


def _held(
    facts: raster.RasterInfo, band: str | ChosenFile | None, bands: Bands
) -> tuple[tuple[int, ...], list[str]]:
    """Numbers and names of the bands that are taken of a file."""
    if isinstance(band, ChosenFile):
        return band.numbers(facts), list(band.bands)
    if band is None:
        return bands_of(facts, bands)
    _check_single(facts, "bands.pattern")
    return facts.bands, [band]


def _check_single(facts: raster.RasterInfo, key: str) -> None:
    """Raises: InputError if a file has several bands where it is to give one."""
    if len(facts.bands) > 1:
        raise InputError(
            f"{facts.path}: {len(facts.bands)} bands; {key} takes files of one band each: write the"
            " one that is meant into a file of its own (gdal_translate -b 1 IN.tif OUT.tif)"
        )


def _near(name: str, extra: str, paths: list[str], grid: Grid) -> list[raster.RasterInfo]:
    """Those of an added band's rasters that lie on a scene. Raises: InputError if none does, or
    one can't be placed, or is no measurement."""
    headers = map(image_info, paths)
    near = [facts for facts in headers if facts.grid is not None and grid.overlaps(facts.grid)]
    for facts in near:
        _check_single(facts, f"bands.extra.{extra}")
    if not near:
        raise InputError(
            f"scene {name}: none of {len(paths)} rasters of bands.extra.{extra} covers any of"
            f" it ({paths[0]}{' …' if len(paths) > 1 else ''}); give those that do"
        )
    return near


def _added(headers: list[raster.RasterInfo], extra: str, bands: Bands) -> tuple[Source, BandTags]:
    """The files of an added band, and what they say of it.

    What replaces the images' nodata, as the 0 of a black frame, may be a height: files that declare
    a value of their own keep it.
    """
    own = bands.nodata is None or all(facts.nodata is not None for facts in headers)
    mine = _tags_of_mosaic(headers, extra)
    source = Source(tuple(facts.path for facts in headers), headers[0].bands, own)
    said = bands.told(mine)
    return source, replace(said, nodata=mine.nodata) if own else said


def _tags_of_mosaic(headers: list[raster.RasterInfo], extra: str) -> BandTags:
    """Tags of the first band of files that make up one. Raises: InputError if they differ."""
    first = headers[0]
    for facts in headers[1:]:
        if not same_pair(first.band_tags[0], facts.band_tags[0]):
            raise InputError(
                f"bands.extra.{extra}: {first.path} says {told(first.band_tags[0])}, {facts.path}"
                f" {told(facts.band_tags[0])}; bring them to one scale first"
            )
    return first.band_tags[0]


def image_info(path: str) -> raster.RasterInfo:
    """What an image says of itself. Raises: InputError for what is none."""
    facts = raster.info(path)
    if facts.problem:
        raise InputError(facts.problem)
    if not facts.bands:
        raise InputError(f"{path}: no band but alpha")
    if facts.palette:
        raise InputError(
            f"{path}: its values are indices into a colour table, not measurements;"
            " expand it to red, green, blue first"
        )
    if np.dtype(facts.dtype).kind not in _REAL:
        raise InputError(f"{path}: data type {facts.dtype}; expected whole or real numbers")
    return facts


def bands_of(facts: raster.RasterInfo, bands: Bands) -> tuple[tuple[int, ...], list[str]]:
    """Numbers and names of a file's bands."""
    numbers = facts.bands
    if facts.alpha and len(bands.names) == len(numbers) + 1:
        # Many programs call the fourth band of bytes alpha; who names it says that it is data.
        numbers = tuple(sorted((*numbers, facts.alpha)))
    count = len(numbers)
    if facts.alpha and not bands.names and alpha.is_data(facts):
        names = dict(zip(numbers, _names(facts), strict=True))
        names[facts.alpha] = alpha.name_of(facts.alpha)
        return tuple(sorted(names)), [names[number] for number in sorted(names)]
    if bands.names:
        if len(bands.names) != count:
            raise InputError(
                f"{facts.path}: {counted(count, 'band')}{' and alpha' if facts.alpha else ''},"
                f" but bands.names gives {len(bands.names)} ({', '.join(bands.names)})"
            )
        return numbers, list(bands.names)
    return numbers, _names(facts)


def _names(facts: raster.RasterInfo) -> list[str]:
    """Of a file's bands without alpha: as it calls them, or numbers.

    Of a file that describes some only, or two alike, those that it describes keep their names: who
    takes its bands as they come must see that these are others.
    """
    said, count = facts.names, Counter(facts.names)
    numbers = [f"band_{number}" for number in range(1, len(said) + 1)]
    if all(said) and len(count) == len(said):
        return [str(name) for name in said]
    if not set(said) - {None, *_COLORS}:
        return numbers  # red, green, blue and more
    mixed = [
        name if name and name not in _COLORS and count[name] == 1 else number
        for name, number in zip(said, numbers, strict=True)
    ]
    return mixed if len(set(mixed)) == len(mixed) else numbers
