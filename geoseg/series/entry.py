"""Describe an image file of a series: date, place, band."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from geoseg.errors import InputError
from geoseg.geo.grid import Grid
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


SAME = 0.5
"""Share of the smaller of two footprints that must be common to count as one place."""


def common_grid(
    name: str, images: list[Entry], facts: dict[str, RasterInfo]
) -> tuple[Grid, list[str]]:
    """The most common of the finest grids, and a note on files that are warped onto it.

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
    others = [grid for grid in counts if common.offset(grid) is None]
    if not others:
        return common, []
    count = sum(counts[grid] for grid in others)
    return common, [
        f"series {name}: {counted(count, 'file')} on another grid, such as {example[others[0]]},"
        f" warped onto that of {example[common]} (pixels of {common.pixel_size_m:.3g} m)"
    ]


def share(a: Grid, b: Grid) -> float:
    """Common area as a share of the smaller."""
    one, two = a.bounds_in(b.crs), b.bounds
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return max(width, 0.0) * max(height, 0.0) / min(areas)
