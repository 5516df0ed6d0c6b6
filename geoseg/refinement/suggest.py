"""Suggest which windows of maps are worth a look next: unsure, unlike each other, and apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from geoseg.dataset.tiles import Dataset
from geoseg.errors import Faults, InputError, shown
from geoseg.geo import extent
from geoseg.geo.grid import Window
from geoseg.geo.layer_styles import ranges, write_styled
from geoseg.geo.vector import Layer
from geoseg.labels.outlines import outlines
from geoseg.maps.landcover import ClassMap
from geoseg.maps.layers import NOVELTY
from geoseg.outputs.counted import counted
from geoseg.outputs.lock import held
from geoseg.outputs.summary import Summary
from geoseg.refinement.uncertainty import KINDS, SURE_IS_HIGH, Windows, read_maps

POOL = 8
"""Times as many windows as are wanted, the highest ones, among which unlike ones are chosen."""
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
    found = faults.attempt(read_maps, maps) or ()
    known = None if dataset is None else faults.attempt(Dataset.load, dataset)
    faults.raise_if_any()
    windows = Windows.of_maps(found, settings.by, settings.size, known)
    if not len(windows):
        raise InputError(
            f"maps={maps}: no window of {settings.size} pixels is left to suggest; the data set"
            " covers all, the maps hold no class, or a smaller suggest.size is needed"
        )
    chosen = choose(windows, settings)
    with held(out.parent, "suggest", name=out.name):
        _write(out, windows, chosen)
    summary = Summary()
    rows = [
        [rank, windows.name(n), f"{windows.score[n]:.0f}", windows.classes(n)]
        for rank, n in enumerate(chosen[:10], 1)
    ]
    summary.table(f"Worth a look, by {windows.kind}", ["rank", "map", "score", "classes"], rows)
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
    windows = Windows.of_maps(maps, settings.by, settings.size)
    chosen = choose(windows, settings) if len(windows) else []
    return [
        Suggestion(windows.name(n), windows.places[n], _reason(windows, n, chosen)) for n in chosen
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
        distance = np.minimum(distance, windows.distances(pool, number))
        least = settings.apart_m
        if least is None:
            least = 2 * settings.size * windows.grid(number).pixel_size_m
        open_[place] = False
        for other in np.flatnonzero(open_).tolist():
            # What is exactly so far apart is apart, but for rounding.
            if _metres(centres[place], centres[other]) < least * 0.999:
                open_[other] = False
    return chosen


def _centre(windows: Windows, number: int) -> tuple[bool, float, float]:
    """Whether it is on the Earth; longitude and latitude, or x and y in metres."""
    grid, window = windows.grid(number), windows.places[number]
    x, y = grid.transform @ (window.left + window.width / 2, window.top + window.height / 2)
    box = None if grid.is_local else extent.bounds_in((x, y, x, y), grid.crs, extent.WGS84)
    return (False, x, y) if box is None else (True, box[0], box[1])


def _metres(one: tuple[bool, float, float], two: tuple[bool, float, float]) -> float:
    if one[0] and two[0]:
        return float(WGS84.inv(*one[1:], *two[1:])[2])
    return float(np.hypot(one[1] - two[1], one[2] - two[2]))


def _reason(windows: Windows, number: int, chosen: Sequence[int]) -> str:
    higher = float((windows.score < windows.score[number]).mean())
    kind, value = windows.kind, windows.score[number]
    said = f"{kind} {100 - value if kind in SURE_IS_HIGH else value:.0f} % in the mean"
    said += f", more unsure than {higher:.0%} of {counted(len(windows), 'window')}"
    if kind == NOVELTY:
        said = said.replace(" %", "", 1).replace("more unsure", "more novel")
    said += f"; mapped as {windows.classes(number) or 'no class'}"
    if before := chosen[: chosen.index(number)]:
        said += f"; most like number {int(windows.distances(before, number).argmin()) + 1}"
    return said


def _write(out: Path, windows: Windows, chosen: list[int]) -> None:
    drawn, crs = outlines([(windows.grid(n), windows.places[n]) for n in chosen])
    columns = {
        "rank": list(range(1, len(chosen) + 1)),
        "map": [windows.name(n) for n in chosen],
        "by": [windows.kind] * len(chosen),
        "score": [round(float(windows.score[n]), 2) for n in chosen],
        "reason": [_reason(windows, n, chosen) for n in chosen],
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
    write_styled(out, columns, geometries=drawn, crs=crs, style=style)
