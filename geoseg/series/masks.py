"""Match masks to the images of a series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.outputs.counted import counted, first
from geoseg.series import dates
from geoseg.series.entry import SAME, Entry, share
from geoseg.series.naming import match, tile_of
from geoseg.stac.bands import NOT_CLEAR

if TYPE_CHECKING:
    from geoseg.geo.raster import RasterInfo
    from geoseg.series.settings import Series


CLEAR_BANDS = ("clear", "valid", "datamask", "data_mask", "valid_mask", "clear_mask")
"""Names, in small letters, of bands that hold 1 where all is clear, as those of Planet do."""


@dataclass(frozen=True)
class DatedMask:
    """A mask file, with what its name says."""

    path: str
    when: datetime
    tile: str | None


def dated(paths: tuple[str, ...], series: Series) -> list[DatedMask]:
    """Masks with their dates. Raises: InputError with all names that hold none."""
    faults, found = Faults(), []
    for path in paths:
        with faults.collect():
            found.append(_dated(path, series))
            _check_file(raster.info(path), told=bool(series.mask_values))
    faults.raise_if_any()
    return found


def _check_file(facts: RasterInfo, *, told: bool) -> None:
    """Raises: InputError for a mask without a place, or of which nobody knows what it says.

    told: whether it is known which values mean not clear.
    """
    if facts.problem:
        raise InputError(facts.problem)
    names = [name or f"band {number}" for number, name in enumerate(facts.names, 1)]
    if len(names) > 1 and not told:
        raise InputError(
            f"{facts.path}: {len(names)} bands ({first(names, 10)}), a mask has one; write the one"
            " that tells what is not clear into a file of its own (gdal_translate -b N IN.tif"
            " OUT.tif), with series.mask_values=[0] if 1 means clear in it; with"
            " series.mask_values the first band is taken"
        )
    if not told and names and names[0].lower() in CLEAR_BANDS:
        raise InputError(
            f"{facts.path}: its band is called {names[0]}, so that 0 seems to mean not clear;"
            " without series.mask_values all but 0 would; set series.mask_values=[0], or"
            " series.mask_values=[1] if 1 means it"
        )


def _dated(path: str, series: Series) -> DatedMask:
    groups = match(series.mask_pattern, path) if series.mask_pattern else None
    if series.mask_pattern is None and series.pattern is not None:
        groups = match(series.pattern, path)
    name = Path(path).name
    said = groups.get("date") if groups else None
    when = dates.parse(said) if said else None
    if when is None and series.mask_pattern is None:
        when = dates.find(name)
    if when is None:
        pattern = series.mask_pattern or series.pattern
        raise InputError(
            f"{path}: no date in the mask's name {name} (series.mask_pattern={pattern}); set"
            r" series.mask_pattern with the group date, as in 'CLM_(?P<date>\d{8})'"
        )
    return DatedMask(path, when, tile_of(groups or {}))


def matched(
    images: list[Entry], masks: list[DatedMask], *, grid: Grid, several: bool
) -> tuple[list[Entry], set[str]]:
    """The images of one place, each with the mask of its time or else of its day.

    several: whether there are other places; a mask whose name tells no place must then lie on this.
    Returns: images, and the masks that were used.
    """
    common = lru_cache(maxsize=None)(partial(_share, grid))
    by_day: dict[date, list[DatedMask]] = {}
    for mask in masks:
        by_day.setdefault(mask.when.date(), []).append(mask)
    found, used = [], set()
    for image in images:
        near = []
        for mask in by_day.get(image.when.date(), []):
            if mask.tile and image.tile:
                fits = mask.tile == image.tile
            else:
                fits = not several or common(mask.path) >= SAME
            if fits:
                near.append(mask)
        if not near:
            found.append(image)
            continue
        best = min(near, key=lambda mask: (abs(mask.when - image.when), mask.path))
        if not common(best.path):
            raise InputError(
                f"{best.path}: lies elsewhere than the image of its date, {image.path}; give the"
                " masks of these images, or name the place in series.mask_pattern: (?P<tile>…)"
            )
        found.append(replace(image, mask=best.path))
        used.add(best.path)
    return found, used


def check_match(images: list[Entry], masks: list[DatedMask], used: set[str]) -> list[str]:
    """What is to be said of masks without an image. Raises: InputError if that is all of them."""
    if not used:
        mine = dates.some({image.when.date() for image in images})
        theirs = dates.some({mask.when.date() for mask in masks})
        raise InputError(
            "series.masks: dates of the images and the masks do not match: images have"
            f" {mine}; masks have {theirs}; give the masks of these images, or name the date (and"
            " the tile) in series.mask_pattern"
        )
    idle = [mask for mask in masks if mask.path not in used]
    if not idle:
        return []
    days = dates.some({mask.when.date() for mask in idle})
    return [f"{counted(len(idle), 'mask')} without an image, not used: {days}"]


def _share(grid: Grid, path: str) -> float:
    other = raster.info(path).grid
    return share(other, grid) if other else 0.0


SCL = tuple(range(12))
"""The scene classes of Sentinel-2 L2A."""
CLEAR_CLASSES = (4, 5, 6, 7)
"""Vegetation, bare soil, water, unclassified: most of any scene that shows something."""
LOOKED = 5
"""Masks that are looked at, spread over all."""
SIDE = 256
"""Height and width in pixels to which these are thinned out."""
MOST = 0.7
"""Share of masks from which on it is asked whether they tell what is clear, instead."""
KINDS = 16
"""Values besides 0 from which on a mask holds no classes of what is not clear, but a measure."""


def shares(paths: Sequence[str]) -> dict[float, float]:
    """Values that masks hold, with their share of the pixels, the most frequent first.

    Raises: InputError if a mask is damaged.
    """
    step = max(1, len(paths) // LOOKED)
    counts: Counter[float] = Counter()
    for path in paths[::step]:
        with raster.Raster(path, bands=(1,), nodata="none") as mask:
            shape = min(mask.grid.height, SIDE), min(mask.grid.width, SIDE)
            values, inside = mask.read(mask.grid.window, shape=shape)
        for value, count in zip(*np.unique(values[0][inside], return_counts=True), strict=True):
            counts[float(value)] += int(count)
    total = max(1, counts.total())
    return {value: count / total for value, count in counts.most_common()}


def told(found: dict[float, float]) -> str:
    """Values of masks with their shares, for people."""
    return first([f"{value:.6g} ({share:.0%})" for value, share in found.items()], 8)


def said_of_values(paths: Sequence[str], wanted: Sequence[int]) -> list[str]:
    """What is to be said of values that mean not clear, if none of them is in the masks."""
    found = shares(paths)
    if not found or set(wanted) & set(found):
        return []
    values = ",".join(map(str, wanted))
    return [
        f"series.mask_values=[{values}]: none of these is in the masks that were looked at, which"
        f" hold {told(found)}; so all there counts as clear"
    ]


def check_values(paths: Sequence[str]) -> list[str]:
    """What is to be said of masks that hide most of what there is.

    Raises: InputError if masks whose values nobody has explained hold a measure, as how probable
    clouds are, or scene classes.

    All but 0 would be taken as not clear, and that is nearly all there is.
    """
    found = shares(paths)
    numbers = {value for value in found if value == value}
    whole = all(value.is_integer() for value in numbers)
    if not whole or len(numbers - {0.0}) >= KINDS:
        listed = ", or name those that mean it: series.mask_values=[…]" if whole else ""
        raise InputError(
            f"series.masks: the masks hold {len(numbers)} different values, from"
            f" {min(numbers):.6g} to {max(numbers):.6g}, such as a probability of clouds or flags"
            " in single bits; without"
            " series.mask_values all but 0 would count as not clear; give masks of 1 = not clear"
            ' and 0 = clear (gdal_calc.py -A CLOUDS.tif --calc="A>40" --outfile=MASK.tif)'
            f"{listed}"
        )
    clear = sum(found.get(value, 0.0) for value in CLEAR_CLASSES)
    if not set(found) <= set(SCL) or clear <= found.get(0, 0.0):
        hidden = 1 - found.get(0.0, 0.0)
        if hidden <= MOST or not found:
            return []
        return [
            f"series.masks: {hidden:.0%} of the masks that were looked at is not 0, and so not"
            " clear; if 0 means not clear in them, set series.mask_values=[0]"
        ]
    raise InputError(
        f"series.masks: the masks hold the values {told(found)}, such as the scene classes (SCL) of"
        " Sentinel-2, where 4 is vegetation and 5 bare soil; without series.mask_values all but 0"
        " would count as not clear; set series.mask_values="
        f"[{','.join(map(str, NOT_CLEAR))}]"
    )
