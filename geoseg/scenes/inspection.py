"""Look at the values of scenes for what a person should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from geoseg.geo.grid import Window
from geoseg.geo.raster import info
from geoseg.outputs.counted import few
from geoseg.scenes.bands import BandStatistics, nominal_range
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.fill_values import (
    FRAME_SHARE,
    SHOWN,
    FillCensus,
    Suspect,
    Usual,
    corners,
    frame_note,
    frame_values,
    partial_note,
    said,
    stands_apart,
    touches_edge,
    without,
)
from geoseg.scenes.layers import Mask
from geoseg.scenes.measure_units import BRIGHTER, DARKER, gain, remedy
from geoseg.scenes.stack import observed
from geoseg.stac.bands import KNOWN

THINNED = 1024
"""Height and width to which a mask is thinned to tell how much it hides."""
ENOUGH = 64
"""Valid pixels that tell anything of a scene's units; a handful may all be shadow."""
FEWEST_SCENES = 3
"""Scenes, at least, the others of which tell what is usual."""


@dataclass
class Inspection:
    """Gathers what one scene holds, window by window."""

    scene: AnyScene
    nodata: float | None = None
    """What means nodata in most other scenes; None = no value does, or this scene says its own."""
    census: FillCensus = field(init=False)
    held: int = 0
    """Pixels of which any band holds data."""
    some: int = 0
    """Those among them of which some bands have none."""
    frame: int = 0
    """Those that hold the other scenes' nodata value in all bands."""
    at_edge: bool = False
    undeclared: Counter[float] = field(default_factory=Counter)
    """Pixels that hold one of the values of frames in all bands, where the file declares none, or
    one of those that are `replaced`."""
    in_corner: set[float] = field(default_factory=set)
    """Those of these values that a corner of the scene holds."""
    fill: dict[str, list[Suspect]] = field(default_factory=dict)
    """What looks like fill, by band; known once it was said."""
    replaced: tuple[float, ...] = field(init=False)
    """Values that its files declare as nodata and that count as data."""

    def __post_init__(self) -> None:
        self.replaced = replaced_nodata(self.scene)
        area = self.scene.grid.window.area * max(1, len(self.scene.dates))
        self.census = FillCensus.for_pixels(self.scene.bands_of_a_date, area)

    @classmethod
    def of(cls, scene: AnyScene, scenes: Sequence[AnyScene]) -> Inspection:
        """That of one scene among others."""
        return cls(scene, None if scene.dates else _others_nodata(scene, scenes))

    def add(self, image: np.ndarray, holds: np.ndarray, window: Window) -> None:
        """Add a window of a scene: image (C, H, W), holds (C, H, W) or (H, W)."""
        self.census.add(image, holds)
        held = holds if holds.ndim == 2 else holds.any(axis=0)
        self.held += int(held.sum())
        if holds.ndim == 3:
            self.some += int((held & ~holds.all(axis=0)).sum())
        if self.nodata is not None:
            equal = held & (image == self.nodata).all(axis=0)
            self.frame += int(equal.sum())
            self.at_edge |= touches_edge(equal, window, self.scene.grid)
        suspects: Sequence[float] = self.replaced
        if self.scene.nodata is None:
            suspects = frame_values(self.scene.dtype, others=self.nodata)
        for value in suspects:
            equal = (image == value).all(axis=0) & held
            self.undeclared[value] += int(equal.sum())
            if corners(equal, window, self.scene.grid):
                self.in_corner.add(value)

    def add_dates(self, image: np.ndarray) -> None:
        """Add a window of a dated scene (T · C, H, W)."""
        values = image.reshape(len(self.scene.dates), -1, *image.shape[1:])
        flat = np.concatenate(list(values), axis=1)
        self.census.add(flat, observed(flat))

    def said(self, others: Sequence[Inspection]) -> list[str]:
        """What a person must know of the scene, one sentence each."""
        name = self.scene.name
        self.fill = self.census.found(self._usual(others))
        shares = {
            value: self.undeclared[value] / max(1, self.scene.grid.window.area)
            for value in self.replaced
        }
        shares = {
            value: share
            for value, share in shares.items()
            if share >= FRAME_SHARE and value in self.in_corner
        }
        told = said(name, without(self.fill, shares), len(self.census.bands))
        if self.scene.dates:
            told += self.census.said_of_zeros(name)
        if self.some:
            told.append(partial_note(name, self.some / self.held, self.scene.partial))
        told += [
            f"{replaced_note(self.scene, value, share)}: these pixels get labels; write one nodata"
            f" value into all files (gdalwarp -srcnodata {value:g} -dstnodata … IN.tif OUT.tif)"
            for value, share in shares.items()
        ]
        share = self.frame / max(1, self.scene.grid.window.area)
        if self.at_edge and share >= FRAME_SHARE:
            told.append(
                f"{name}: {self.nodata:g} stands in all bands of {share:.1%} of the pixels, at its"
                " edge: nodata in other scenes, but not declared here; if it means nodata, set"
                f" bands.nodata={self.nodata:g}"
            )
        return told

    def highs(self) -> list[float]:
        """A high value of each band (98 %: clouds are brighter than all else); [] without data."""
        held = self.values()
        return [float(np.percentile(values, 98)) for values in held] if all(map(len, held)) else []

    def values(self) -> list[np.ndarray]:
        """Some values (n,) of each band, without what looks like fill."""
        held = []
        for place, band in enumerate(self.census.bands):
            values = self.census.values(place)
            fill = [one.value for one in self.fill.get(band, [])]
            held.append(values[~np.isin(values, fill)])
        return held

    def _usual(self, others: Sequence[Inspection]) -> list[Usual | None]:
        """Of bands that hold next to nothing but one value: what is usual in the others."""
        rest = [one.census for one in others if one is not self]
        bands = range(len(self.census.bands))
        if len(rest) + 1 < FEWEST_SCENES:
            return [None for _ in bands]
        return [
            _range([census.values(band) for census in rest])
            if _is_constant(self.census.values(band))
            else None
            for band in bands
        ]


def replaced_nodata(scene: AnyScene) -> tuple[float, ...]:
    """The values that a scene's files declare as nodata, in whose place `bands.nodata` stands."""
    if scene.nodata in (None, "none") or scene.dates:
        return ()
    declared = {tags.nodata for path in scene.paths for tags in info(path).band_tags}
    return tuple(sorted(v for v in declared if v is not None and v == v and v != scene.nodata))


def replaced_note(scene: AnyScene, value: float, share: float) -> str:
    """The beginning of what is said of such a value. share: of the pixels, in all bands."""
    return (
        f"{scene.name}: {value:g} stands in all bands of {share:.1%} of the pixels, and the file"
        f" declares it as nodata, but bands.nodata={scene.nodata:g} counts in its place"
    )


def said_of_frames(looks: Sequence[Inspection]) -> list[str]:
    """What a person must know of frames that nobody declares; `said` was called of each before."""
    found: dict[float, dict[str, float]] = {}
    for look in looks:
        known = {one.value for ones in look.fill.values() for one in ones} | {*look.replaced}
        for value in look.in_corner - known:
            # Of one band alone, it may be a measurement.
            if len(look.census.bands) == 1 and not stands_apart(look.census.values(0), value):
                continue
            share = look.undeclared[value] / look.scene.grid.window.area
            if FRAME_SHARE <= share < 1:
                found.setdefault(value, {})[look.scene.name] = share
    return [frame_note(value, shares) for value, shares in sorted(found.items())]


def said_of_clouds(scenes: Sequence[AnyScene]) -> list[str]:
    """What a person must know of scenes whose sources tell clouds, which nothing looks at."""
    found = [scene for scene in scenes if scene.unheeded]
    if not found:
        return []
    names = few([scene.name for scene in found], SHOWN)
    what = ", ".join(dict.fromkeys(key for scene in found for key in scene.unheeded))
    return [
        f"{names}: {what} would tell clouds, but is not at hand or not understood: these images"
        " are taken as they are, clouds included; fetch it if it was left out, leave cloudy images"
        " out, or give all as a series with masks (series.path=, series.masks=)"
    ]


def said_of_masks(scenes: Sequence[AnyScene]) -> list[str]:
    """What a person must know of scenes of which a mask hides something: how much it is."""
    shares: dict[str, float] = {}
    hidden = shown = 0
    strange: dict[str, str] = {}
    for scene in scenes:
        if scene.mask is None:
            continue
        mask = Mask(scene.mask, scene.grid, scene.mask_values)
        grid = scene.grid
        shape = min(grid.height, THINNED), min(grid.width, THINNED)
        values, inside = mask.thinned(grid.window, shape)
        there = (values != 0) | ~inside  # without an image there is nothing to hide
        mine = int((there & ~mask.clear(values, inside)).sum())
        of = int(there.sum())
        hidden, shown = hidden + mine, shown + of
        shares[scene.name] = mine / max(1, of)
        found = np.unique(values[inside]).tolist()
        strange |= {f"{v:g}": scene.mask for v in found if v not in KNOWN}
    if not shares:
        return []
    worst = sorted(shares, key=lambda name: -shares[name])
    names = ", ".join(f"{name} {shares[name]:.0%}" for name in worst[:SHOWN])
    names += f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    told = [
        f"clouds, cirrus, shadow, snow and defects by the scene classes (scl) count as nodata:"
        f" {hidden / max(1, shown):.0%} of the pixels ({names}); bands.masks=false takes the images"
        " as they are"
    ]
    if strange:
        value, path = next(iter(strange.items()))
        told.append(
            f"{path}: holds {value}, which is none of the scene classes (0 to 11), and counts as"
            " clear like all that are not known; if it is no scene classification, set"
            " bands.masks=false"
        )
    return told


def said_of_units(looks: Sequence[Inspection]) -> list[str]:
    """What a person must know of scenes whose values are of other units than those of most.

    `said` was called of each before: what looks like fill is no measurement.
    """
    highs = [(look, high) for look in looks if len(high := look.highs())]
    if len(highs) < 2:
        return []
    ranges = np.array([[nominal_range(value) for value in high] for _, high in highs])
    levels = np.median(ranges, axis=1)
    # Of one level it is not the first that counts, but the one in the middle.
    bright = [float(np.median(high)) for _, high in highs]
    most = int(np.lexsort((bright, levels))[len(levels) // 2])
    usual, theirs = highs[most]
    statistics = BandStatistics.of(usual.values())
    told = []
    for (look, mine), span in zip(highs, ranges, strict=True):
        ratio = float(np.median(span / ranges[most]))
        factor = DARKER if _is_alike(look.scene.dtype, usual.scene.dtype) else BRIGHTER
        if 1 / factor < ratio < factor:
            told += _said_of_gain(look, usual, statistics)
            continue
        here, there = (max(mine), look.scene.dtype), (max(theirs), usual.scene.dtype)
        told.append(
            f"{look.scene.name}: {here[1]} values up to {here[0]:.4g}, those of"
            f" {usual.scene.name} are {there[1]} up to {there[0]:.4g}: other units? A network takes"
            f" them for the same; bring all scenes to one unit ({remedy(here, there)}?)"
        )
    if len(told) > SHOWN:
        told[SHOWN:] = [f"{len(told) - SHOWN} more scenes seem to be in other units"]
    return told


def _said_of_gain(look: Inspection, usual: Inspection, statistics: BandStatistics) -> list[str]:
    """What is to be said of a scene that is far brighter or darker in all bands, as of 10 bits
    among those of 8. statistics: of the usual scene."""
    values = look.values()
    factor = gain(dict(enumerate(values)), statistics) if min(map(len, values)) >= ENOUGH else None
    if factor is None:
        return []
    times, how = (factor, "brighter") if factor > 1 else (1 / factor, "darker")
    return [
        f"{look.scene.name}: all bands are about {times:.2g} times {how} than those of"
        f" {usual.scene.name}: other bits, units or level of processing, or all of it water or"
        " shadow? A network takes the values for the same; bring all scenes to one unit"
    ]


def _is_alike(dtype: str, other: str) -> bool:
    """Whether two types are made for numbers of one size."""
    one, two = np.dtype(dtype), np.dtype(other)
    return one.itemsize == two.itemsize and (one.kind == "f") == (two.kind == "f")


def _others_nodata(scene: AnyScene, scenes: Sequence[AnyScene]) -> float | None:
    """The value that means nodata in most scenes that say one, if this one says none."""
    if scene.nodata is not None or any(tags.nodata is not None for tags in scene.tags):
        return None
    values = [
        tags.nodata
        for other in scenes
        for tags in other.tags[:1]
        if tags.nodata is not None and tags.nodata == tags.nodata
    ]
    return max(sorted(set(values)), key=values.count) if values else None


def _is_constant(values: np.ndarray) -> bool:
    return len(values) > 0 and bool(np.median(values == np.median(values)) > 0)


def _range(parts: list[np.ndarray]) -> Usual | None:
    values = np.concatenate([part[:: max(1, len(part) // 20_000)] for part in parts])
    if not len(values):
        return None
    low, inner, outer, high = np.percentile(values, (0.1, 2, 98, 99.9))
    return (float(low), float(high), float(outer - inner)) if outer > inner else None
