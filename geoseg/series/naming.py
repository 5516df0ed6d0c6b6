"""Read date, place and band from file names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.outputs.counted import counted, first
from geoseg.received.spelling import expanded, matches, once, unfound
from geoseg.scenes.bands import Bands
from geoseg.series import dates, safe
from geoseg.series.catalogs import entries_of_catalogs
from geoseg.series.entry import Entries, Entry
from geoseg.stac import sources
from geoseg.stac.bands import NOT_CLEAR

if TYPE_CHECKING:
    from geoseg.series.settings import Series

DATE_TAG = "TIFFTAG_DATETIME"
SHOWN = 5
"""Files whose faults are told one by one: an archive has thousands."""


def entries_of(series: Series, bands: Bands) -> Entries:
    """Image files with date, place and band. Raises: InputError with all that can't be told."""
    faults = Faults()
    catalogs, others = sources.split(series.path)
    if catalogs and others:
        raise InputError(
            f"series.path={series.path}: STAC catalogs or cubes, and other files; give either"
        )
    masks: list[str] = []
    files: list[str] = []
    products: list[str] = []
    if not catalogs:
        with faults.collect():
            files, products = search(series.path, "path")
    if series.masks is not None:
        with faults.collect():
            masks, _ = search(series.masks, "masks")
    faults.raise_if_any()
    kept, notes = tuple(masks), []
    if catalogs:
        found = entries_of_catalogs(catalogs, series, bands)
        return replace(found, masks=kept) if series.masks is not None else found
    if products:
        if files:
            notes.append(
                f"{counted(len(files), 'raster')} beside the .SAFE folders left out: {_few(files)}"
            )
        images, more = safe.entries_of_products(products, series, bands)
        values: tuple[int, ...] = NOT_CLEAR
        if masks or not bands.masks:  # instead of the products' own
            images = [replace(image, mask=None) for image in images]
            values = NOT_CLEAR if masks else ()
        return Entries(images, notes + more, True, kept, mask_values=values, nodata=0.0)
    files = [path for path in files if path not in set(masks)]
    if not files:
        raise InputError(f"series.path={series.path}: holds nothing but the masks")
    if series.dates is not None or (not bands.names and _holds_dates(files[0], series)):
        images = _of_bands(files, series)
    else:
        images, notes = _of_dates(files, series)
    return Entries(images, notes, False, kept)


def match(pattern: str | None, path: str) -> dict[str, str] | None:
    """Groups of the pattern in a file's name, or in its path; None if it doesn't match."""
    if pattern is None:
        return {}
    text = Path(path).as_posix() if "/" in pattern else Path(path).name
    found = re.search(pattern, text)
    return None if found is None else {k: v for k, v in found.groupdict().items() if v is not None}


def _of_dates(files: list[str], series: Series) -> tuple[list[Entry], list[str]]:
    """Entries of files that each hold one date, and what is to be said."""
    faults, entries, strays = Faults(), [], []
    for path in files:
        groups = match(series.pattern, path)
        if groups is None and dates.find(Path(path).name):
            strays.append(path)
            continue
        with faults.collect():
            when = _when(path, groups, series.pattern)
            groups = groups or {}
            _check_groups(path, groups, series.pattern)
            entries.append(Entry(path, when, tile_of(groups), groups.get("band")))
    if strays and not entries:
        raise InputError(
            f"series.pattern={series.pattern}: matches none of {len(files)} files ({_few(files)})"
        )
    more = len(faults.found) - SHOWN
    if more > 0:
        faults.found[SHOWN:] = [f"{more} more of {len(files)} files have such faults"]
    faults.raise_if_any()
    if "(?P<band>" not in (series.pattern or ""):
        _check_one_file_per_date(entries, series)
    many = counted(len(strays), "file", "do")
    said = f"{many} not match series.pattern; left out: {_few(strays)}"
    return entries, [said] if strays else []


def tile_of(groups: dict[str, str]) -> str | None:
    """Name of the place; files will be named so."""
    return groups["tile"].replace("/", "_") if "tile" in groups else None


def _check_groups(path: str, groups: dict[str, str], pattern: str | None) -> None:
    """Groups may not come and go: a file without a band is no further band of the others."""
    for group in ("band", "tile"):
        if f"(?P<{group}>" in (pattern or "") and group not in groups:
            raise InputError(
                f"{path}: the group {group} of series.pattern={pattern} finds nothing in it; every"
                " file must have one"
            )


def _when(path: str, groups: dict[str, str] | None, pattern: str | None) -> datetime:
    name = Path(path).name
    if groups is None:
        raise InputError(
            f"{path}: no date: series.pattern={pattern} does not match {name}, nor is there another"
            " date in it; widen the pattern, or narrow series.path with a glob"
        )
    if "date" in groups:
        when = dates.parse(groups["date"])
        if when is None:
            raise InputError(
                f"{path}: no date: {groups['date']!r}, the group date of series.pattern={pattern}"
                f" in {name}, is none; expected {dates.FORMS}"
            )
        return when
    when = dates.find(name) if pattern is None else None
    tag = "" if when else raster.tags(path).get(DATE_TAG, "")
    when = when or dates.parse(tag)
    if when is None:
        said = "there is no series.pattern" if pattern is None else f"series.pattern={pattern}"
        raise InputError(
            f"{path}: no date in the name {name} ({said}), nor in the tag {DATE_TAG}; set"
            r" series.pattern with the group date, as in 'S2_(?P<date>\d{8})', or series.dates for"
            " files with many dates"
        )
    return when


def _check_one_file_per_date(entries: list[Entry], series: Series) -> None:
    """Two files on each date are hardly ever two acquisitions: one band each, or two places.

    Nor are two files of one band on most dates, where a date may lack a band.
    """
    count = Counter((entry.tile, entry.when) for entry in entries)
    several = {key: files for key, files in count.items() if files > 1}
    if len(count) < 2 or len(several) <= len(count) / 2:
        return
    key, files = next(iter(several.items()))
    same = [entry.path for entry in entries if (entry.tile, entry.when) == key]
    if len(several) < len(count) and any(len(raster.info(path).bands) > 1 for path in same):
        return
    where = "each date" if len(several) == len(count) else f"{len(several)} of {len(count)} dates"
    raise InputError(
        f"series.path={series.path}: {files} files on {where} ({', '.join(same[:3])}); name what"
        " they differ in with (?P<band>…) or (?P<tile>…) in series.pattern; a pattern with a /"
        r" is searched in the whole path: '(?P<band>\w+)/(?P<date>\d{8})'"
    )


def _of_bands(files: list[str], series: Series) -> list[Entry]:
    """Entries of files that each hold one band at all dates."""
    listed = None if series.dates is None else dates.listed(series.dates)
    faults, entries, strays = Faults(), [], []
    for path in files:
        groups = match(series.pattern, path)
        if groups is None:
            strays.append(path)
            continue
        with faults.collect():
            facts = raster.info(path)
            count, named = len(facts.bands), dates.of_names(facts.names)
            times = listed or named
            if times is None:
                raise InputError(
                    f"{path}: its bands are not called by one date each, as those of {files[0]}"
                    " are; name them so, or give series.dates"
                )
            if count != len(times):
                raise InputError(
                    f"{path}: {count} bands, but series.dates gives {len(times)} dates; each of its"
                    " bands must be one date"
                )
            _check_order(path, times, named)
            band = groups.get("band", Path(path).stem)
            entries += [
                Entry(path, when, tile_of(groups), band, number)
                for number, when in enumerate(times, 1)
            ]
    if strays:
        faults.add(
            f"series.pattern={series.pattern}: does not match {len(strays)} of {len(files)} files"
            f" ({_few(strays)}); widen it, or narrow series.path with a glob"
        )
    faults.raise_if_any()
    return entries


def _holds_dates(path: str, series: Series) -> bool:
    """Whether a file's bands are called by one date each, which then are the dates."""
    if "(?P<date>" in (series.pattern or ""):
        return False
    try:
        return dates.of_names(raster.info(path).names) is not None
    except InputError:
        return False  # to be told with the faults of all files


def _check_order(path: str, times: list[datetime], named: list[datetime] | None) -> None:
    """Raises: InputError if a file calls its bands by other dates than the list gives them."""
    pairs = enumerate(zip(times, named or times, strict=True), 1)
    for number, (when, own) in pairs:
        if when.date() != own.date():
            raise InputError(
                f"{path}: its band {number} is called by the date {own.date()}, and series.dates"
                f" gives it {when.date()}; list the dates in the order of the bands, or leave"
                " series.dates out: then they are what the bands are called by"
            )


def _few(paths: list[str]) -> str:
    return first([Path(path).name for path in paths], 3)


PRODUCT = ".safe"
"""End of the folder of a Sentinel product, in small letters."""


def search(spec: Any, key: str) -> tuple[list[str], list[str]]:
    """Rasters and product folders of a folder, glob, file or list, each sorted and once.

    key: of the settings, for faults.
    Raises: InputError if a part of the spec finds nothing.
    """
    faults = Faults()
    files: dict[str, None] = {}
    products: dict[str, None] = {}
    for part in spec if isinstance(spec, list | tuple) else [spec]:
        text = os.path.normpath(expanded(str(part)))
        if os.path.exists(text):
            hits = [text]
        else:
            hits = matches(text)
            # A text file beside the rasters is none of them; without any, names don't tell.
            hits = [h for h in hits if os.path.isdir(h) or _is_raster(h)] or hits
        paths = [p for hit in hits for p in (_walk(hit) if os.path.isdir(hit) else [hit])]
        for path in paths:
            (products if path.lower().endswith(PRODUCT) else files)[path] = None
        if not hits:
            faults.add(f"series.{key}={unfound(str(part), 'rasters')}")
        elif not paths:
            endings = ", ".join(raster.SUFFIXES)
            faults.add(f"series.{key}={part}: no rasters ({endings}) in it or below it")
    faults.raise_if_any()
    return once(sorted(files)), once(sorted(products))


def _walk(folder: str) -> Iterator[str]:
    """Rasters and product folders at and below a folder; hidden ones aside."""
    if folder.lower().endswith(PRODUCT):
        yield folder
        return
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [name for name in folders if name.lower().endswith(PRODUCT)]:
            folders.remove(name)
            yield os.path.join(here, name)
        for name in names:
            if _is_raster(name) and not name.startswith("."):
                yield os.path.join(here, name)


def _is_raster(name: str) -> bool:
    return name.lower().endswith(raster.SUFFIXES)
