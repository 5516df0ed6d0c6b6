"""Describe an image file of a series: date, place, band."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.raster import RasterInfo
from geoseg.outputs.counted import counted
from geoseg.stac.bands import Said

SILENT = Said()


@dataclass(frozen=True)
class Entry:
    """An image file, or a band of one, at a date."""

    path: str
    when: datetime
    """Midnight where only the day is known."""
    tile: str | None
    """None where the pattern names no places."""
    band: str | None
    """That the file holds; None: as the file says."""
    number: int | None = None
    """Of the band, from 1, among those with data: in a file of many dates, or as a catalog says."""
    add: float = 0.0
    mask: str | None = None
    """Of the same product."""
    said: Said = SILENT
    """What a catalog says of its numbers."""


@dataclass(frozen=True)
class Entries:
    """All that was found."""

    images: list[Entry]
    notes: list[str]
    products: bool = False
    """Whether they are Sentinel-2 products, which say their bands, nodata and offset."""
    masks: tuple[str, ...] = ()
    """Files, not yet matched to dates."""
    mask_values: tuple[int, ...] = ()
    """Values that mean not clear in the masks that the images came with; empty = there are none."""
    nodata: float | None = None
    """Value that means nodata by what describes the images, where they do not say so themselves."""


Ends = tuple[int, int, int, int]
"""Pixels above and to the left of a grid's corner, and the bottom and right ends below it."""
SAME = 0.5
"""Share of the smaller of two footprints that must be common to count as one place."""


def common_grid(
    name: str, images: list[Entry], facts: dict[str, RasterInfo], *, fewest: int
) -> tuple[Grid, list[str]]:
    """The most common of the finest grids, as far as half of the dates reach on it, and at least
    `fewest`, and what is to be said of files that lie otherwise.

    Raises: InputError if files lie in different places.
    """
    counts: Counter[Grid] = Counter()
    example: dict[Grid, str] = {}
    for path in dict.fromkeys(image.path for image in images):
        grid = facts[path].grid
        assert grid is not None  # image_info refuses such files
        counts[grid] += 1
        example.setdefault(grid, path)
    first = next(iter(counts))
    sizes = {grid: grid.pixel_size_near(first) for grid in counts}
    finest = min(sizes.values())
    # Sizes that differ by a hair are one: which is finest must not hang on rounding.
    fine = [grid for grid in counts if sizes[grid] < finest * 1.01]
    common = max(fine, key=lambda grid: counts[grid])
    for grid, path in example.items():
        if grid != common and share(grid, common) < SAME:
            raise InputError(
                f"series {name}: {example[common]} and {path} lie in different places; name the"
                " place in series.pattern with the group (?P<tile>…), or give one place only"
            )
    notes, others = [], [grid for grid in counts if common.offset(grid) is None]
    if others:
        count = sum(counts[grid] for grid in others)
        notes.append(
            f"series {name}: {counted(count, 'file')} on another grid, such as"
            f" {example[others[0]]}, warped onto that of {example[common]} (pixels of"
            f" {common.pixel_size_m:.3g} m)"
        )
    days = len({image.when.date() for image in images})
    fewest = min(max(fewest, -(-days // 2)), days)
    whole = _reached(common, images, facts, fewest)
    if whole != common:
        notes.append(
            f"series {name}: footprints differ from date to date; taken is what"
            f" {counted(fewest, 'date')} or more show, {whole.height} × {whole.width} pixels, of"
            f" which {example[common]} has {common.height} × {common.width}"
        )
    return whole, notes


def _reached(common: Grid, images: list[Entry], facts: dict[str, RasterInfo], fewest: int) -> Grid:
    """The grid, extended to where so many dates reach with files on its pixels.

    Not to where any does: a few wide images among small ones would make a large map of little.
    """
    reach: dict[Grid, Ends | None] = {}
    by_day: dict[date, Ends] = {}
    for image in images:
        grid, day = facts[image.path].grid, image.when.date()
        assert grid is not None
        if grid not in reach:
            reach[grid] = _ends(common, grid)
        own = reach[grid]
        if own is not None:
            before = by_day.get(day, own)
            a, b, c, d = map(max, before, own)
            by_day[day] = a, b, c, d
    far = _nth_ends(by_day.values(), fewest)
    up, back, bottom, right = map(max, far, (0, 0, common.height, common.width))
    if (up, back, bottom, right) == (0, 0, common.height, common.width):
        return common
    return common.crop(Window(-up, -back, bottom + up, right + back))


def _ends(common: Grid, grid: Grid) -> Ends | None:
    """How far a grid reaches, in pixels of another; None if its pixels are others."""
    corner = common.offset(grid)
    if corner is None:
        return None
    top, left = corner
    return -top, -left, top + grid.height, left + grid.width


def _nth_ends(ends: Iterable[Ends], fewest: int) -> Ends:
    """Of each side, how far at least so many of the ends reach, or all if there are fewer."""
    up, back, bottom, right = (sorted(side, reverse=True) for side in zip(*ends, strict=True))
    place = min(fewest, len(up)) - 1
    return up[place], back[place], bottom[place], right[place]


def share(a: Grid, b: Grid) -> float:
    """Common area as a share of the smaller."""
    one, two = a.bounds_in(b.crs), b.bounds
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return max(width, 0.0) * max(height, 0.0) / min(areas)
