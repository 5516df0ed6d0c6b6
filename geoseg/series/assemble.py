"""Assemble entries into one stack per place."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import BandTags, Change, change
from geoseg.geo.grid import Grid
from geoseg.geo.raster import RasterInfo
from geoseg.outputs.counted import counted
from geoseg.received.cube_slices import is_cube
from geoseg.scenes.bands import Bands, is_nameless, tells_clouds
from geoseg.scenes.layers import Layer
from geoseg.scenes.scene import bands_of, image_info
from geoseg.scenes.stack import Stack
from geoseg.series import masks as masking
from geoseg.series import safe
from geoseg.series.dates import some
from geoseg.series.entry import SILENT, Entries, Entry, common_grid
from geoseg.series.scaling import Tagged, check_offset, common, tags_in

if TYPE_CHECKING:
    from geoseg.series.settings import Series


def assemble(found: Entries, series: Series, bands: Bands) -> list[Stack]:
    """One stack per place, sorted by name. Raises: InputError with the faults of all."""
    images, notes = _in_period(found, series)
    masks = masking.dated(found.masks, series)
    if images[0].band is None:
        facts = _facts(images)
        wanted, said = _common_bands(images, facts, bands)
        notes += said
    else:
        wanted = _named_bands(images, bands, products=found.products)
        images = [image for image in images if image.band in wanted]
        facts = _facts(images)
        _check_single(images, facts)
    if not bands.order and (told := [band for band in wanted if tells_clouds(band)]):
        rest = ",".join(band for band in wanted if band not in told)
        notes.append(
            f"series.path={series.path}: {', '.join(told)} taken as"
            f" {'a band' if len(told) == 1 else 'bands'}, though called as what tells clouds, and"
            " no mask; "
            + (f"choose the bands with bands.order=[{rest}], and " if rest else "")
            + "give masks with series.masks=… and series.mask_values=[…]"
        )
    found_tags = [
        Tagged(image.when.date(), band, _tags(image, facts[image.path], number, bands))
        for image in images
        for number, band in _numbered(image, facts[image.path], bands)
        if band in wanted
    ]
    tags = common(found_tags)
    notes += check_offset(found_tags, tags, series.offset)
    by_tile: dict[str, list[Entry]] = {}
    for image in images:
        by_tile.setdefault(image.tile or _name(series.path), []).append(image)
    faults, stacks, used = Faults(), [], set()
    for name, mine in sorted(by_tile.items()):
        with faults.collect():
            grid, place_notes = common_grid(name, mine, facts, fewest=series.fewest())
            if masks:
                mine, here = masking.matched(mine, masks, grid=grid, several=len(by_tile) > 1)
                used |= here
            mine.sort(key=lambda image: (image.when, _size(facts[image.path]), image.path))
            stack = _Tile(name, grid, mine, facts, series, tags).stack(wanted, bands, found)
            stacks.append(replace(stack, notes=(*place_notes, *stack.notes)))
    faults.raise_if_any()
    if used and not series.mask_values:
        notes += masking.check_values(sorted(used))
    elif used:
        notes += masking.said_of_values(sorted(used), series.mask_values)
    since = series.offset_from
    last = max(image.when.date() for image in images)
    if series.offset and since and last < date.fromisoformat(since):
        notes.append(
            f"series.offset_from={since}: no date lies on it or after it, so that"
            f" series.offset={series.offset:g} is added to none"
        )
    if masks:
        notes += masking.check_match(images, masks, used)
    first = stacks[0]
    stacks[0] = replace(first, notes=(*notes, *first.notes))
    return stacks


def _in_period(found: Entries, series: Series) -> tuple[list[Entry], list[str]]:
    start, end = series.period
    images = [image for image in found.images if start <= image.when.date() < end]
    dropped = {image.when.date() for image in found.images} - {i.when.date() for i in images}
    if not images:
        raise InputError(
            f"series.start={series.start}, series.end={series.end}: no date lies in this period;"
            f" the files have {some(dropped)}"
        )
    notes = list(found.notes)
    if dropped:
        notes.append(
            f"{counted(len(dropped), 'date')} outside the period left out: {some(dropped)}"
        )
    return images, notes


def _facts(images: list[Entry]) -> dict[str, RasterInfo]:
    """Headers of all files. Raises: InputError with every file that can't be used."""
    faults, facts = Faults(), {}
    for path in dict.fromkeys(image.path for image in images):
        with faults.collect():
            facts[path] = image_info(path)
    faults.raise_if_any()
    return facts


def _named_bands(images: list[Entry], bands: Bands, *, products: bool) -> tuple[str, ...]:
    """Names of the stacks' bands in their order, where each file holds one."""
    if bands.names:
        raise InputError("bands.names: each band has its own file here, which names it; leave it")
    held = tuple(sorted({str(image.band) for image in images}))
    return _ordered(safe.BANDS if products and not bands.order else held, held, bands)


def _ordered(
    usual: tuple[str, ...], held: tuple[str, ...], bands: Bands, *, remedy: str = ""
) -> tuple[str, ...]:
    """bands.order, or the usual bands. Raises: InputError if one of them is on no date."""
    missing = [band for band in bands.order if band not in held]
    if missing:
        raise InputError(
            f"bands.order: no band {', '.join(missing)} on any date; the files hold"
            f" {', '.join(held)}{remedy}"
        )
    return tuple(bands.order) or usual


def _common_bands(
    images: list[Entry], facts: dict[str, RasterInfo], bands: Bands
) -> tuple[tuple[str, ...], list[str]]:
    """Bands of files that hold all of a date's, and what is to be said of files that hold them in
    another order. Raises: InputError naming two that differ."""
    faults, held = Faults(), {}
    for image in images:
        with faults.collect():
            held[image.path] = tuple(bands_of(facts[image.path], bands)[1])
    faults.raise_if_any()
    common = Counter(held.values()).most_common(1)[0][0]
    usual = next(path for path, names in held.items() if names == common)
    turned = [path for path, names in held.items() if names != common]
    for path in turned:
        names = held[path]
        if set(names) != set(common) or any(map(is_nameless, names)):
            raise InputError(
                f"{path}: {counted(len(names), 'band')} ({', '.join(names)}), but {usual} has"
                f" {len(common)} ({', '.join(common)}); bands must not change between dates: leave"
                " such files out, or set bands.names if only the names differ"
            )
    remedy = "; if these are they, say which: bands.names=[…]"
    wanted = _ordered(common, common, bands, remedy=remedy)
    if not turned:
        return wanted, []
    return wanted, [
        f"{counted(len(turned), 'file')} with the bands in another order than {usual}, such as"
        f" {turned[0]} ({', '.join(held[turned[0]])}): taken by their names"
    ]


def _check_single(images: list[Entry], facts: dict[str, RasterInfo]) -> None:
    faults = Faults()
    for image in images:
        count = len(facts[image.path].bands)
        if image.number is None and count != 1:
            faults.add(
                f"{image.path}: {count} bands, but (?P<band>…) in series.pattern names one per"
                " file; leave that group out, or give series.dates if its bands are dates"
            )
    faults.raise_if_any()


def _name(spec: Any) -> str:
    """What a series without tiles in its pattern is called: as its cube, or the folder it is in."""
    first = spec[0] if isinstance(spec, list | tuple) else spec
    path = Path(os.path.abspath(os.path.expanduser(str(first))))
    while path.parent != path and (not path.is_dir() or any(c in path.name for c in "*?[")):
        if is_cube(path):  # a file
            break
        path = path.parent
    return (path.stem if is_cube(path) else path.name) or "series"


@dataclass(frozen=True)
class _Tile:
    """The images of one place."""

    name: str
    grid: Grid
    images: list[Entry]
    """In order of time."""
    facts: dict[str, RasterInfo]
    series: Series
    tags: dict[str, BandTags]
    """By band: what the numbers of all files are brought to."""

    def stack(self, wanted: tuple[str, ...], bands: Bands, found: Entries) -> Stack:
        """Raises: InputError if there is one date only."""
        layers = [layer for image in self.images for layer in self._layers(image, wanted, bands)]
        days = tuple(sorted({layer.day for layer in layers}))
        if len(days) < 2:
            raise InputError(
                f"series {self.name}: one date ({', '.join(map(str, days))}), a series needs at"
                f" least 2; check series.pattern, series.start and series.end ({layers[0].path})"
            )
        values = tuple(self.series.mask_values)
        own_masks = self.series.masks is None and bool(found.mask_values)
        if own_masks:
            values = values or found.mask_values
        facts = [self.facts[layer.path] for layer in layers]
        fine = [fact for fact in facts if fact.grid == self.grid]
        masked = own_masks or self.series.masks is not None
        return Stack(
            name=self.name,
            grid=self.grid,
            dates=days,
            bands=wanted,
            dtype=_dtype([fact.dtype for fact in facts], layers),
            layers=tuple(layers),
            notes=tuple(
                self._notes(layers, days, wanted=wanted, masked=masked, partial=bool(bands.partial))
            ),
            nodata=found.nodata if bands.nodata is None else bands.nodata,
            mask_values=values,
            block=Counter(fact.block for fact in fine or facts).most_common(1)[0][0],
            tags=tuple(self.tags[band] for band in wanted),
            partial=bool(bands.partial),
        )

    def _layers(self, image: Entry, wanted: tuple[str, ...], bands: Bands) -> list[Layer]:
        """One, or as many as its bands are scaled in different ways."""
        fact = self.facts[image.path]
        since = self.series.offset_from
        day = image.when.date()
        add = image.add
        if since is None or day >= date.fromisoformat(since):
            add += self.series.offset
        by_change: dict[Change, list[tuple[int, str]]] = {}
        for number, band in _numbered(image, fact, bands):
            if band in wanted:
                made = change(_tags(image, fact, number, bands), self.tags[band])
                by_change.setdefault(made, []).append((number, band))
        layers = []
        for (factor, more), pairs in by_change.items():
            numbers, names = zip(*pairs, strict=True)
            layers.append(Layer(image.path, day, numbers, names, image.mask, add + more, factor))
        return layers

    def _notes(
        self,
        layers: list[Layer],
        days: tuple[date, ...],
        *,
        wanted: tuple[str, ...],
        masked: bool,
        partial: bool,
    ) -> list[str]:
        notes = []
        held: dict[date, Counter[str]] = {day: Counter() for day in days}
        for layer in layers:
            held[layer.day].update(layer.bands)
        dropped = "they do not count (with bands.partial=true they do)"
        rule = "it is missing there" if partial else dropped
        twice = [day for day in days if max(held[day].values()) > 1]
        if twice:
            notes.append(
                f"series {self.name}: several acquisitions of one day count as one date, the"
                f" earlier first, its holes filled from the later ({len(twice)}: {some(twice)})"
            )
        for band in wanted:
            lacking = [day for day in days if not held[day][band]]
            if lacking:
                notes.append(
                    f"series {self.name}: no file for band {band} on"
                    f" {counted(len(lacking), 'date')} ({some(lacking)}); {rule}"
                )
        if masked:
            bare = {layer.day for layer in layers if not layer.mask}
            if bare:
                notes.append(
                    f"series {self.name}: no mask for {len(bare)} of {len(days)} dates"
                    f" ({some(bare)}); all is taken as clear there"
                )
        return notes


def _tags(image: Entry, fact: RasterInfo, number: int, bands: Bands) -> BandTags:
    """What a file, and a catalog, say of a band, as far as the settings heed it."""
    if image.said == SILENT:
        return tags_in(fact, number, bands)
    place = fact.bands.index(number) if number in fact.bands else None
    own = BandTags() if place is None else fact.band_tags[place]
    return bands.told(image.said.over(own))


def _size(fact: RasterInfo) -> float:
    """Of a pixel: of two files of one time the finer counts."""
    return fact.grid.resolution[0] if fact.grid else 0.0


def _numbered(image: Entry, fact: RasterInfo, bands: Bands) -> list[tuple[int, str]]:
    """Numbers and names of the bands that an image holds."""
    if image.number is not None:
        return [(fact.bands[image.number - 1], str(image.band))]
    if image.band is not None:
        return [(fact.bands[0], image.band)]
    numbers, names = bands_of(fact, bands)
    return list(zip(numbers, names, strict=True))


def _dtype(dtypes: list[str], layers: list[Layer]) -> str:
    """uint16, int16 or float32: the narrowest that holds what the files hold."""
    whole = all(float(layer.add).is_integer() and layer.factor == 1 for layer in layers)
    common = np.result_type(*dtypes)
    if whole and np.can_cast(common, np.uint16):
        return "uint16"
    if whole and np.can_cast(common, np.int16):
        return "int16"
    return "float32"
