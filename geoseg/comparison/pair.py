"""Open two maps of the same ground, and bring their legends together by the names of classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo import extent, raster
from geoseg.geo.legend import IGNORED, NODATA, UNLABELLED, Legend, LegendClass, composed
from geoseg.maps.folder import check_beside
from geoseg.maps.landcover import LEGEND_TAG, ClassMap
from geoseg.maps.layers import CONFIDENCE
from geoseg.outputs.counted import few

SHOWN = 20
"""Classes that a message names."""
MOST = 254
"""Classes of both maps together."""
COARSER = 1.2
"""How many times larger pixels may be before a note says so."""


@dataclass(frozen=True)
class MapPair:
    """Two maps, the classes of both, and where the confidence of each lies."""

    before: ClassMap
    after: ClassMap
    classes: tuple[LegendClass, ...]
    """Of both maps, each name once: those of `before`, then those that only `after` has."""
    notes: tuple[str, ...]
    """What people must know of the two."""
    confidences: tuple[str, str] | None = None
    """Rasters of percent, of before and after; None = not asked for."""

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.classes]

    @property
    def same_pixels(self) -> bool:
        """Whether the pixels of `after` lie on those of `before`, so that none is moved."""
        return self.before.grid.offset(self.after.grid) is not None

    def indices(self, found: ClassMap) -> np.ndarray:
        """Place in `classes` of each code (256,) uint8 of one of the maps; IGNORED = none."""
        places = {c.name: i for i, c in enumerate(self.classes)}
        table = np.full(256, IGNORED, np.uint8)
        for c in found.legend.classes:
            table[c.code] = places[c.name]
        return table

    @classmethod
    def open(
        cls,
        before: str | Path,
        after: str | Path,
        *,
        legend: Legend | None = None,
        confidence: bool = False,
    ) -> MapPair:
        """Read the headers of two maps.

        legend: of maps that bring none. confidence: whether the confidence beside each is needed.
        Raises: InputError, with all faults, for maps that are none, do not overlap, or have no
        class in common.
        """
        faults = Faults()
        paths = (before, after)
        maps = faults.each(lambda path: ClassMap.read(path, _own_legend(path, legend)), paths)
        faults.raise_if_any()
        classes = _joined(maps[0], maps[1], faults)
        if not maps[0].grid.overlaps(maps[1].grid):
            faults.add(_apart(maps[0], maps[1]))
        confidences = faults.each(_confidence_of, maps if confidence else ())
        faults.raise_if_any()
        pair = cls(maps[0], maps[1], classes, _notes(maps[0], maps[1]))
        if not confidence:
            return pair
        return cls(pair.before, pair.after, classes, pair.notes, (confidences[0], confidences[1]))


def _own_legend(path: str | Path, legend: Legend | None) -> Legend | None:
    """The given legend, if the map has none of its own."""
    return legend if legend is not None and LEGEND_TAG not in raster.info(path).tags else None


def _joined(before: ClassMap, after: ClassMap, faults: Faults) -> tuple[LegendClass, ...]:
    names = {composed(c.name) for c in before.legend.classes}
    more = [c for c in after.legend.classes if composed(c.name) not in names]
    if len(more) == len(after.legend):
        faults.add(
            f"legends differ: {before.path} has {', '.join(before.legend.names)}, {after.path} has"
            f" {', '.join(after.legend.names)}: no class has the same name in both, so nothing is"
            " comparable; give maps of one legend (classes are matched by name, codes may differ)"
        )
    classes = (*before.legend.classes, *more)
    if len(classes) > MOST:
        faults.add(
            f"{before.path} and {after.path} have {len(classes)} different classes together, at"
            f" most {MOST} can be compared; give maps of one legend"
        )
    return classes


def _apart(before: ClassMap, after: ClassMap) -> str:
    here, there = (
        extent.degrees(extent.bounds_in(m.grid.bounds, m.grid.crs, extent.WGS84))
        for m in (before, after)
    )
    return (
        f"the maps do not overlap: {before.path} lies at {here}, {after.path} at {there}; give two"
        " maps of the same ground"
    )


def _confidence_of(found: ClassMap) -> str:
    """The confidence that predict wrote with a map. Raises: InputError."""
    path = Path(found.path)
    beside = path.absolute().parent.parent / CONFIDENCE / path.name
    if not beside.is_file():
        raise InputError(
            f"{found.path}: no confidence beside it, expected {beside}; compare the maps of single"
            " scenes, in the folders that geoseg.predict wrote, or leave confidence=… out"
        )
    check_beside(beside, CONFIDENCE, found.path, found.grid)
    return str(beside)


def _notes(before: ClassMap, after: ClassMap) -> tuple[str, ...]:
    said = []
    own, other = before.legend.names, after.legend.names
    for names, others, which in ((own, other, "before"), (other, own, "after")):
        only = [name for name in names if name not in others]
        if only:
            said.append(
                f"only the map {which} has {', '.join(only)}: what changes from or to it may be"
                " the legend and not the ground"
            )
    grid, there = before.grid, after.grid
    if grid.offset(there) is None:
        sizes = there.pixel_size_m, grid.pixel_size_m
        ratio = max(sizes) / min(sizes)
        if ratio > COARSER:
            said.append(
                f"pixels of the map after are {sizes[0]:.3g} m wide, those of the map before"
                f" {sizes[1]:.3g} m: what one of them can show and the other cannot looks like"
                " change; better compare maps of one pixel size"
            )
        said.append(
            "the maps do not share pixels: each pixel of the map before was compared with the"
            " nearest of the map after, which moves edges by up to half a pixel"
        )
    return tuple(said)


def check_codes(codes: np.ndarray, table: np.ndarray, found: ClassMap) -> None:
    """Raises: InputError if codes hold something that is no class, nodata or no decision."""
    strange = (table[codes] == IGNORED) & (codes != NODATA) & (codes != UNLABELLED)
    if strange.any():
        remedy = "the file or its legend is damaged: make the map anew"
        if LEGEND_TAG not in found.tags:
            remedy = "set legend.path=<the legend of this map>"
        raise InputError(
            f"{found.path}: holds code {int(codes[strange][0])}, which its legend"
            f" ({few([f'{c.code} {c.name}' for c in found.legend.classes], SHOWN)}) does not know;"
            f" {remedy}"
        )
