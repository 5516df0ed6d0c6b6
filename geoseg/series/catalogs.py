"""Read the dated images of STAC catalogs and cubes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.outputs.counted import counted
from geoseg.scenes.bands import Bands
from geoseg.series.dates import some
from geoseg.series.entry import SILENT, Entries, Entry
from geoseg.stac import sources
from geoseg.stac.bands import (
    NOT_CLEAR,
    choose,
    cloud_assets,
    cloud_mask,
    nodata_for_all,
    offset_is_applied,
)
from geoseg.stac.catalog import Item

if TYPE_CHECKING:
    from geoseg.series.settings import Series

TILES = ("grid:code", "s2:mgrs_tile", "mgrs:grid_id")
"""Properties that name the place of an item."""


def entries_of_catalogs(paths: Sequence[str], series: Series, bands: Bands) -> Entries:
    """Image files of catalogs with date, place and band, each with the scene classes of its item.

    Raises: InputError with all faults.
    """
    faults = Faults()
    if series.dates is not None:
        faults.add("series.dates: a STAC catalog or a cube says its dates; leave it out")
    if bands.names:
        faults.add("bands.names: a STAC catalog or a cube names its bands; choose with bands.order")
    if series.mask_pattern is not None and series.masks is None:
        faults.add("series.mask_pattern: needs series.masks")
    faults.raise_if_any()
    images: list[Entry] = []
    own_masks = series.masks is None and bands.masks
    applied = set()
    unread: dict[str, None] = {}
    for item in sources.read_items(paths):
        with faults.collect():
            found = _entries(item, series, bands, masked=own_masks)
            images += found
            if offset_is_applied(item):
                applied.add(found[0].when.date())
            if own_masks and found[0].mask is None:
                unread |= dict.fromkeys(cloud_assets(item))
    faults.raise_if_any()
    notes = []
    if unread:
        notes.append(
            f"assets {', '.join(unread)} would tell clouds, but what their values mean is not known"
            " here: all that these items show counts as clear; set series.masks=<folder> and"
            " series.mask_values=[…]"
        )
    if applied:
        notes.append(
            f"{counted(len(applied), 'date')} whose items say that Sentinel-2's offset has been"
            f" applied already ({some(applied)}): their values are taken without"
        )
    _check_alike(images)
    start, end = series.period
    inside = [image for image in images if start <= image.when.date() < end]
    values = NOT_CLEAR if any(image.mask for image in images) else ()
    return Entries(images, notes, mask_values=values, nodata=_nodata(inside, bands))


def _entries(item: Item, series: Series, bands: Bands, *, masked: bool) -> list[Entry]:
    """Of one item. Raises: InputError."""
    when, tile = item.when(), _tile(item, series)
    mask = cloud_mask(item) if masked else None
    made = []
    for file in choose(item, bands.order):
        if not file.bands:
            made.append(Entry(file.path, when, tile, None, mask=mask))
            continue
        for name, place, said in zip(file.bands, file.places, file.said, strict=True):
            made.append(Entry(file.path, when, tile, name, place + 1, mask=mask, said=said))
    return made


def _check_alike(images: Sequence[Entry]) -> None:
    """Raises: InputError if only some items say what the bands of their files are."""
    bare = next((image for image in images if image.band is None), None)
    told = next((image for image in images if image.band is not None), None)
    if bare is not None and told is not None:
        raise InputError(
            f"series.path: the item of {told.path} says which bands it holds, that of {bare.path}"
            " does not; give items of one kind"
        )


def _tile(item: Item, series: Series) -> str | None:
    """Name of the place: by series.pattern in the item's id, or by a property that names it."""
    if series.pattern is not None:
        found = re.search(series.pattern, item.id)
        if found is None or "tile" not in found.groupdict():
            raise InputError(
                f"{item.name}: series.pattern={series.pattern} finds no tile in its id; of a STAC"
                " catalog or a cube it is asked for the group (?P<tile>…) only"
            )
        return str(found["tile"])
    for key in TILES:
        value = item.properties.get(key)
        if isinstance(value, str) and re.fullmatch(r"[\w.-]+", value):
            return value.removeprefix("MGRS-")
    path, row = (item.properties.get(f"landsat:wrs_{key}") for key in ("path", "row"))
    if path is not None and row is not None and re.fullmatch(r"\w+", f"{path}{row}"):
        return f"{path}_{row}"
    return None


def _nodata(images: Sequence[Entry], bands: Bands) -> float | None:
    """The value that means nodata by the items only. Raises: InputError if it differs."""
    if bands.nodata is not None:
        return None
    pairs = []
    for image in images:
        if image.said != SILENT:
            facts = raster.info(image.path)
            place = 0 if image.number is None else image.number - 1
            if place >= len(facts.bands):
                raise InputError(
                    f"{image.path}: its STAC item tells of {place + 1} bands, it has"
                    f" {len(facts.bands)}"
                )
            pairs.append((image.said, facts.band_tags[place]))
    return nodata_for_all(pairs, "series.path")
