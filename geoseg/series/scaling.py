"""Bring files of a series to one scale and offset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import (
    NO_CHANGE,
    UNTAGGED,
    BandTags,
    Change,
    change,
    describe,
    told,
    unknown,
)
from geoseg.geo.band_tags import usual as usual_of
from geoseg.geo.raster import RasterInfo
from geoseg.outputs.counted import counted
from geoseg.scenes.bands import Bands
from geoseg.series.dates import some


@dataclass(frozen=True)
class Tagged:
    """What one file says of one band, at a date."""

    day: date
    band: str
    tags: BandTags


def tags_in(fact: RasterInfo, number: int, bands: Bands) -> BandTags:
    """What a file says of its band of that number, as far as the settings heed it."""
    place = fact.bands.index(number) if number in fact.bands else None
    return bands.told(BandTags() if place is None else fact.band_tags[place])


def common(found: Iterable[Tagged]) -> dict[str, BandTags]:
    """By band what most files say, of what equally many say the offset nearest to 0.

    Raises: InputError if some files say a scale and others nothing, naming their dates.
    """
    by_band: dict[str, list[Tagged]] = {}
    for one in found:
        by_band.setdefault(one.band, []).append(one)
    faults = Faults()
    for band, all_ in by_band.items():
        said = [one for one in all_ if one.tags.pair != UNTAGGED]
        bare = [one for one in all_ if one.tags.pair == UNTAGGED]
        if said and bare and unknown(said[0].tags, bare[0].tags):
            faults.add(
                f"band {band}: files of {_dates(said)} say {told(said[0].tags)}, those of"
                f" {_dates(bare)} say nothing of scale and offset: whether their numbers mean the"
                " same can't be known; write the same tags into all (gdal_edit.py -scale …"
                " -offset … FILE), or set bands.tags=false if the numbers are all in one unit as"
                " they are"
            )
    faults.raise_if_any()
    return {band: usual_of([(one.tags,) for one in all_])[0] for band, all_ in by_band.items()}


def check_offset(
    found: Iterable[Tagged], reference: Mapping[str, BandTags], offset: float
) -> list[str]:
    """What is to be said of files whose numbers are changed.

    Raises: InputError if they are told to get an offset by hand as well.
    """
    days: dict[Change, set[date]] = {}
    for one in found:
        made = change(one.tags, reference[one.band])
        if made != NO_CHANGE:
            days.setdefault(made, set()).add(one.day)
    if days and offset:
        every = some(set().union(*days.values()))
        raise InputError(
            f"series.offset={offset:g}: the files' scale and offset tags differ between dates too"
            f" ({every}), and are heeded; leave series.offset out, or set bands.tags=false"
        )
    return [
        f"{counted(len(at), 'date')} ({some(at)}): scale and offset in the files are not those"
        f" of the others; their values are brought to these ({describe(made)})"
        for made, at in days.items()
    ]


def _dates(found: list[Tagged]) -> str:
    return some({one.day for one in found})
