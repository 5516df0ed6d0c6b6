"""Suggest which windows of maps are worth a look next: unsure, unlike each other, and apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset
from geoseg.errors import Faults, InputError, shown
from geoseg.geo import extent, raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.layer_styles import ranges, write_styled
from geoseg.geo.legend import NODATA
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.geo.vector import Layer
from geoseg.labels.shapes import project
from geoseg.maps.folder import LANDCOVER, map_paths
from geoseg.maps.landcover import ClassMap
from geoseg.maps.layers import CONFIDENCE, DISAGREEMENT, ENTROPY, MARGIN, NOVELTY
from geoseg.outputs.counted import counted
from geoseg.outputs.lock import held
from geoseg.outputs.progress import follow
from geoseg.outputs.summary import Summary
from geoseg.scenes.scene import find_files

SURE_IS_HIGH = (CONFIDENCE, MARGIN)
"""Layers of which low values are worth a look."""
KINDS = (ENTROPY, MARGIN, DISAGREEMENT, NOVELTY, CONFIDENCE)
"""What may be asked for; without a choice the first that all maps have."""
POOL = 8
"""Times as many windows as are wanted, the highest ones, among which unlike ones are chosen."""
LEAST = 0.25
"""Share of a window that must have a class."""
BINS = (0, 20, 40, 60, 80, 101)
"""Of the layer's values, for what a window is like."""
COLORS = ("#b30000", "#e34a33", "#fc8d59", "#fdcc8a", "#fef0d9")
WGS84 = pyproj.Geod(ellps="WGS84")


@dataclass
class Suggesting:
    """What is worth a look."""

    by: str | None = None
    """entropy, margin, disagreement, novelty or confidence: which layer beside the maps tells what
    is unsure; none = the first of these that all maps have."""
    count: int = 50
    """Windows."""
    size: int = 256
    """Height and width of a window in pixels."""
    apart_m: float | None = None
    """Metres between the centres of two windows at least; none = twice a window's side."""
    diverse: bool = True
    """Take windows that are unlike those before them; false = only the most unsure ones."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.by is not None and self.by not in KINDS:
            faults.add(f"suggest.by={shown(self.by)}: choose from {', '.join(KINDS)}")
        faults.at_least(self, "suggest.", count=1)
        if self.size < 8:
            faults.add(f"suggest.size={self.size}: must be at least 8 pixels")
        faults.at_least(self, "suggest.", apart_m=0)
        faults.raise_if_any()


@dataclass(frozen=True)
class Windows:
    """All windows of all maps: N of them, and F numbers that say what each is like."""

    maps: tuple[ClassMap, ...]
    of: np.ndarray
    """(N,) which map."""
    places: tuple[Window, ...]
    score: np.ndarray
    """(N,) 0..100, high where a look is worth it."""
    shares: np.ndarray
    """(N, K) of the classes."""
    likeness: np.ndarray
    """(N, F)."""

    def __len__(self) -> int:
        return len(self.places)

    def name(self, number: int) -> str:
        return Path(self.maps[int(self.of[number])].path).stem


def suggest(
    maps: Any,
    out: str | Path,
    *,
    settings: Suggesting | None = None,
    dataset: str | None = None,
    overwrite: bool = False,
) -> Summary:
    """Write windows that are worth a look as a GeoPackage, ranked, with the reason for each.

    maps: output folder of predict, or of refine. dataset: folder of prepare, whose tiles are left
    out as they have labels.
    Raises: InputError if a layer that is asked for lies beside no map; nothing to suggest.
    """
    settings, out = settings or Suggesting(), Path(out)
    if out.suffix != ".gpkg":
        raise InputError(f"out={out}: expected a GeoPackage, as next.gpkg")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists; choose another name, or overwrite=true to replace it")
    faults = Faults()
    known: Dataset | None = None
    found: tuple[ClassMap, ...] = ()
    with faults.collect():
        found = _maps(maps)
    with faults.collect():
        known = None if dataset is None else Dataset.load(dataset)
    faults.raise_if_any()
    kind, beside = _layer(found, settings.by)
    with raster.environment():
        windows = _measured(found, beside, kind, settings.size, _labelled(known))
    if not len(windows):
        raise InputError(
            f"maps={maps}: no window of {settings.size} pixels is left to suggest; the data set"
            " covers all, the maps hold no class, or a smaller suggest.size is needed"
        )
    chosen = choose(windows, settings)
    with held(out.parent, "suggest", name=out.name):
        _write(out, windows, chosen, kind)
    summary = Summary()
    rows = [
        [rank, windows.name(n), f"{windows.score[n]:.0f}", _classes(windows, n)]
        for rank, n in enumerate(chosen[:10], 1)
    ]
    summary.table(f"Worth a look, by {kind}", ["rank", "map", "score", "classes"], rows)
    if len(chosen) < settings.count:
        summary.note(
            f"{counted(len(chosen), 'window')}, not {settings.count}: others lie nearer than"
            " suggest.apart_m to these"
        )
    summary.note(f"suggestions: {out} (open it in QGIS: the darker, the more worth a look)")
    return summary


@dataclass(frozen=True)
class Suggestion:
    """A window that is worth a look."""

    map: str
    """Name of the map."""
    window: Window
    reason: str


def ranked(maps: Sequence[ClassMap], settings: Suggesting) -> list[Suggestion]:
    """Windows that are worth a look, the first first; none where the maps hold no class.

    Raises: InputError if the layer that is asked for, or any, is missing beside a map.
    """
    kind, beside = _layer(maps, settings.by)
    with raster.environment():
        windows = _measured(tuple(maps), beside, kind, settings.size, {})
    chosen = choose(windows, settings) if len(windows) else []
    return [
        Suggestion(windows.name(n), windows.places[n], _reason(windows, n, kind, chosen))
        for n in chosen
    ]


def read_suggestions(path: str | Path, maps: Sequence[ClassMap]) -> list[Suggestion]:
    """The windows that `suggest` wrote for maps, by rank.

    Raises: InputError if the file is none of suggest's, or a window lies outside its map.
    """
    columns = ("rank", "map", "reason", "top", "left", "size")
    layer = Layer(str(path), columns=columns, prefix="suggestions.")
    found = [features.columns for features in layer.scan()]
    rows = sorted(
        row for part in found for row in zip(*(part[name] for name in columns), strict=True)
    )
    grids = {Path(one.path).stem: one.grid for one in maps}
    made = []
    for rank, name, reason, top, left, size in rows:
        if name not in grids:
            continue  # of other maps, which were suggested along
        window = Window(int(top), int(left), int(size), int(size))
        inside = grids[name].window.intersect(window)
        if not inside:
            raise InputError(
                f"{path}: number {rank} lies outside the map {name}; make it again for these maps:"
                " python -m geoseg.suggest"
            )
        made.append(Suggestion(str(name), inside, str(reason)))
    if not made:
        raise InputError(
            f"{path}: no window of the maps {', '.join(sorted(grids)[:3])}; it was made for others"
        )
    return made


def _maps(maps: Any) -> tuple[ClassMap, ...]:
    """Class maps of one legend. Raises: InputError."""
    parts = maps if isinstance(maps, (list, tuple)) else [maps]
    spec = [
        str(Path(str(part)) / LANDCOVER) if (Path(str(part)) / LANDCOVER).is_dir() else str(part)
        for part in parts
    ]
    faults = Faults()
    found: list[ClassMap] = []
    for path in find_files(spec, raster.SUFFIXES, "maps"):
        with faults.collect():
            found.append(ClassMap.read(path))
    for one in found[1:]:
        if one.legend.meaning != found[0].legend.meaning:
            faults.add(
                f"{one.path}: another legend than {found[0].path}; suggest for maps of one legend"
            )
    faults.raise_if_any()
    return tuple(found)


def _layer(maps: Sequence[ClassMap], wanted: str | None) -> tuple[str, list[Path]]:
    """Name of the layer that tells what is unsure, and its file beside each map.

    Raises: InputError if it is not there.
    """
    paths = {
        kind: [map_paths(Path(m.path).parent.parent, Path(m.path).stem, (kind,))[1] for m in maps]
        for kind in KINDS
    }
    there = [kind for kind in KINDS if all(path.is_file() for path in paths[kind])]
    if not there or (wanted is not None and wanted not in there):
        missing = wanted or CONFIDENCE
        lacking = [m.path for m, p in zip(maps, paths[missing], strict=True) if not p.is_file()]
        has = f"; all have {', '.join(there)}" if there else ""
        raise InputError(
            f"{lacking[0]}{f' and {len(lacking) - 1} more' * (len(lacking) > 1)}: no {missing}"
            f" beside it{has}; predict with predict.layers=[confidence,{missing}]"
        )
    kind = wanted or there[0]
    faults = Faults()
    for one, path in zip(maps, paths[kind], strict=True):
        facts = raster.info(path)
        if facts.dtype != "uint8" or not (facts.grid and facts.grid.coincides(one.grid)):
            faults.add(f"{path}: not the {kind} of {one.path}; predict anew")
    faults.raise_if_any()
    return kind, paths[kind]


Labelled = dict[str, tuple[Grid, list[Window]]]
"""Scene → its grid, and the windows of it that have labels."""


def _labelled(dataset: Dataset | None) -> Labelled:
    if dataset is None:
        return {}
    found: Labelled = {scene.name: (scene.grid, []) for scene in dataset.scenes}
    for split in SPLITS:
        for tile in dataset.tiles(split):
            found[tile.scene][1].append(tile.window)
    return found


def _done(one: ClassMap, labelled: Labelled) -> list[Window]:
    """Windows of a map that have labels; a scene of its name may be another place."""
    name = Path(one.path).stem
    if name not in labelled:
        return []
    grid, windows = labelled[name]
    if one.grid.coincides(grid):
        return windows
    boxes = [extent.bounds_in(grid.bounds_of(w), grid.crs, one.grid.crs) for w in windows]
    return [one.grid.window_of(box) for box in boxes if box is not None]


def _measured(
    maps: tuple[ClassMap, ...],
    beside: list[Path],
    kind: str,
    size: int,
    labelled: Labelled,
) -> Windows:
    """All windows but those that have labels, or hardly a class."""
    of, places, scores, shares, spreads = [], [], [], [], []
    for number in follow(range(len(maps)), "look"):
        one = maps[number]
        done = _done(one, labelled)
        with Raster(one.path) as codes_file, Raster(beside[number]) as layer_file:
            tiles = [
                tile
                for tile in Tiling(size, 0).tiles(one.grid.window)
                if not any(tile.intersect(other) for other in done)
            ]
            # Row by row: a file is read several times as fast as window by window.
            for top, row in itertools.groupby(tiles, attrgetter("top")):
                strip = Window(top, 0, min(size, one.grid.height - top), one.grid.width)
                codes_there, values_there = (
                    file.read(strip)[0][0] for file in (codes_file, layer_file)
                )
                for window in row:
                    part = window.within(strip)
                    codes = codes_there[part]
                    valid = codes != NODATA
                    if valid.sum() < LEAST * size**2:
                        continue
                    values = values_there[part][valid].astype(float)
                    values = 100 - values if kind in SURE_IS_HIGH else values
                    counts = np.bincount(codes[valid], minlength=256)[one.legend.codes]
                    of.append(number)
                    places.append(window)
                    scores.append(values.mean())
                    shares.append(counts / valid.sum())
                    spreads.append(np.histogram(values, BINS)[0] / valid.sum())
    classes = len(maps[0].legend)
    made = np.array(shares).reshape(-1, classes)
    likeness = np.concatenate([made, np.array(spreads).reshape(-1, len(BINS) - 1)], axis=1)
    return Windows(maps, np.array(of, int), tuple(places), np.array(scores), made, likeness)


def choose(windows: Windows, settings: Suggesting) -> list[int]:
    """Numbers of the windows, the first first.

    The most unsure one, then always that with the largest score × distance² to the nearest of
    those before it: k-means++ (Arthur & Vassilvitskii 2007) without chance, weighted by the score,
    among the highest ones.
    """
    order = np.argsort(-windows.score, kind="stable")
    pool = order[: POOL * settings.count] if settings.diverse else order
    centres = [_centre(windows, int(n)) for n in pool]
    chosen: list[int] = []
    open_ = np.ones(len(pool), bool)
    distance = np.full(len(pool), np.inf)
    while open_.any() and len(chosen) < settings.count:
        worth = windows.score[pool] + 1e-6
        if settings.diverse and chosen:
            worth = worth * (distance + 1e-9)
        place = int(np.where(open_, worth, -1).argmax())
        number = int(pool[place])
        chosen.append(number)
        away = ((windows.likeness[pool] - windows.likeness[number]) ** 2).sum(axis=1)
        distance = np.minimum(distance, away)
        least = settings.apart_m
        if least is None:
            least = 2 * settings.size * windows.maps[int(windows.of[number])].grid.pixel_size_m
        open_[place] = False
        for other in np.flatnonzero(open_).tolist():
            # What is exactly so far apart is apart, but for rounding.
            if _metres(centres[place], centres[other]) < least * 0.999:
                open_[other] = False
    return chosen


def _centre(windows: Windows, number: int) -> tuple[bool, float, float]:
    """Whether it is on the Earth; longitude and latitude, or x and y in metres."""
    grid, window = windows.maps[int(windows.of[number])].grid, windows.places[number]
    x, y = grid.transform @ (window.left + window.width / 2, window.top + window.height / 2)
    box = None if grid.is_local else extent.bounds_in((x, y, x, y), grid.crs, extent.WGS84)
    return (False, x, y) if box is None else (True, box[0], box[1])


def _metres(one: tuple[bool, float, float], two: tuple[bool, float, float]) -> float:
    if one[0] and two[0]:
        return float(WGS84.inv(*one[1:], *two[1:])[2])
    return float(np.hypot(one[1] - two[1], one[2] - two[2]))


def _classes(windows: Windows, number: int) -> str:
    """The classes that a window holds most of."""
    legend, shares = windows.maps[0].legend, windows.shares[number]
    most = np.argsort(-shares, kind="stable")[:3]
    return ", ".join(f"{legend.names[k]} {shares[k]:.0%}" for k in most if shares[k] >= 0.005)


def _reason(windows: Windows, number: int, kind: str, chosen: Sequence[int]) -> str:
    higher = float((windows.score < windows.score[number]).mean())
    value = windows.score[number]
    said = f"{kind} {100 - value if kind in SURE_IS_HIGH else value:.0f} % in the mean"
    said += f", more unsure than {higher:.0%} of {counted(len(windows), 'window')}"
    if kind == NOVELTY:
        said = said.replace(" %", "", 1).replace("more unsure", "more novel")
    said += f"; mapped as {_classes(windows, number) or 'no class'}"
    before = chosen[: chosen.index(number)]
    if before:
        away = ((windows.likeness[before] - windows.likeness[number]) ** 2).sum(axis=1)
        said += f"; most like number {int(away.argmin()) + 1}"
    return said


def _write(out: Path, windows: Windows, chosen: list[int], kind: str) -> None:
    crs = windows.maps[0].grid.crs
    boxes = []
    for number in chosen:
        grid = windows.maps[int(windows.of[number])].grid
        box = np.array([shapely.box(*grid.bounds_of(windows.places[number]))])
        within = extent.widen(grid.bounds, 0.1)
        boxes.append(project(box, grid.crs, crs, pixel=min(grid.resolution), within=within)[0][0])
    columns = {
        "rank": list(range(1, len(chosen) + 1)),
        "map": [windows.name(n) for n in chosen],
        "by": [kind] * len(chosen),
        "score": [round(float(windows.score[n]), 2) for n in chosen],
        "reason": [_reason(windows, n, kind, chosen) for n in chosen],
        "top": [windows.places[n].top for n in chosen],
        "left": [windows.places[n].left for n in chosen],
        "size": [windows.places[n].height for n in chosen],
    }
    step = max(1, -(-len(chosen) // len(COLORS)))
    bounds = [
        (float(first), float(min(first + step - 1, len(chosen))), color)
        for first, color in zip(range(1, len(chosen) + 1, step), COLORS, strict=False)
    ]
    style = ranges(
        "rank", [(low, high, f"{low:.0f} to {high:.0f}", color) for low, high, color in bounds]
    )
    # The image is to be seen through them.
    style = style.replace('alpha="1"', 'alpha="0.35"')
    write_styled(out, columns, geometries=np.array(boxes, object), crs=crs, style=style)
