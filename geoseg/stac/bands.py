"""Choose the files and bands of a STAC item, by the names that bands have in it.

STAC 1.1: `bands` with eo:common_name, raster:scale, raster:offset and nodata, of the asset or of
each band; STAC 1.0: `eo:bands` and `raster:bands`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from geoseg.errors import Faults, InputError, shown
from geoseg.geo import raster
from geoseg.geo.band_tags import UNTAGGED, BandTags
from geoseg.outputs.counted import first
from geoseg.stac.catalog import Item

TYPES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "application/geotiff")
"""Media types of images, the first part of them, the quickest to read first."""
OTHER_TYPES = ("image/png", "image/jpeg")
"""Those that are images only if their role says so; else they are previews."""
DATA = {"data", "reflectance"}
NO_IMAGES = {
    *("thumbnail", "overview", "visual", "metadata", "date", "graphic"),
    *("cloud", "cloud-shadow", "snow-ice", "water-mask", "land-water", "saturation", "data-mask"),
    *("incidence-angle", "azimuth", "sun-azimuth", "sun-elevation", "terrain-shadow"),
}
"""Roles of assets that no network looks at, unless they are asked for by name."""
CLOUDS = {"cloud", "cloud-shadow"}
"""Roles of assets that say where the ground is not seen."""
CLASSES = "classification:classes"
SCENE_CLASSES = "scl"
"""Key, or name, of Sentinel-2's scene classes, in small letters."""
NOT_CLEAR = (0, 1, 3, 8, 9, 10, 11)
"""Those of them that show no ground: nodata, defective, shadow, cloud (medium, high), cirrus,
snow."""
KNOWN = range(12)
"""All of them."""
APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties of items whose values have Sentinel-2's offset taken off already, whatever the raster
extension goes on saying of it."""
SENTINEL2 = {
    "B01": ("coastal",), "B02": ("blue",), "B03": ("green",), "B04": ("red",),
    "B05": ("rededge1", "rededge071"), "B06": ("rededge2", "rededge075"),
    "B07": ("rededge3", "rededge078"), "B08": ("nir",), "B8A": ("nir08",), "B09": ("nir09",),
    "B11": ("swir16",), "B12": ("swir22",),
}  # fmt: skip
"""Names of ESA, and what catalogs call these bands."""


@dataclass(frozen=True)
class Said:
    """What an item says of the numbers of a band; None = nothing."""

    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None

    def over(self, own: BandTags) -> BandTags:
        """What counts: of nodata the file's own word, of scale and offset the item's."""
        nodata = self.nodata if own.nodata is None else own.nodata
        if self.scale is None and self.offset is None:
            return BandTags(nodata, *own.pair)
        scale, offset = UNTAGGED
        return BandTags(
            nodata,
            scale if self.scale is None else self.scale,
            offset if self.offset is None else self.offset,
        )


@dataclass(frozen=True)
class AssetBand:
    """A band of an asset."""

    asset: str
    """Its key."""
    href: str
    place: int
    """Among the bands of its file that hold data, from 0."""
    alone: bool
    """Whether it is the only one of its file, as far as the item says."""
    name: str | None
    common: str | None
    """One of the names that bands of many sensors have in common: red, nir …"""
    said: Said
    rank: int
    """Of several files with one band the lowest counts."""
    plain: bool = True
    """Whether it is an image: neither a preview nor a mask, angles or classes."""

    @property
    def title(self) -> str:
        """What tells bands of an item apart."""
        return self.name or (self.asset if self.alone else f"{self.asset} {self.place + 1}")

    def is_called(self, wanted: str) -> int:
        """How surely it is meant: 3 by its name, 2 by its asset's, 1 by the common one, 0 not."""
        text = wanted.casefold()
        if self.name is not None and self.name.casefold() == text:
            return 3
        if self.alone and self.asset.casefold() == text:
            return 2
        return int(self.common is not None and self.common.casefold() == text)


@dataclass(frozen=True)
class ChosenFile:
    """A file of an item, with those of its bands that are to be read."""

    path: str
    bands: tuple[str, ...]
    """Names; empty: all, as the file names them."""
    places: tuple[int, ...]
    """Of each, among the bands of its file that hold data, from 0."""
    said: tuple[Said, ...]

    def numbers(self, facts: raster.RasterInfo) -> tuple[int, ...]:
        """Numbers of the bands, from 1. Raises: InputError if the file has fewer."""
        most = max(self.places) + 1
        if most > len(facts.bands):
            raise InputError(
                f"{self.path}: its STAC item tells of {most} bands, it has {len(facts.bands)}"
            )
        return tuple(facts.bands[place] for place in self.places)


def choose(item: Item, wanted: Sequence[str] = ()) -> list[ChosenFile]:
    """The files with the wanted bands of an item, in their order; or with all that are images.

    Raises: InputError for bands that are not there, or could be several.
    """
    bands = _bands(item)
    if not bands:
        raise InputError(
            f"{item.name}: no asset is an image ({_keys(item)}); expected one of the type"
            f" {TYPES[0]} or {TYPES[1]}, or a file that ends in {', '.join(raster.SUFFIXES)}"
        )
    faults = Faults()
    chosen: list[tuple[str, AssetBand]] = []
    if wanted:
        whole = _undescribed(bands)
        if whole is not None:
            return [ChosenFile(item.path_of(whole.href), (), (), ())]
        for name in wanted:
            with faults.collect():
                chosen.append((name, _find(item, bands, name)))
        faults.raise_if_any()
    else:
        plain = [band for band in bands if band.plain] or bands
        whole = _undescribed(plain)
        if whole is not None:
            return [ChosenFile(item.path_of(whole.href), (), (), ())]
        # Aerosols and water vapour, which nobody calls by a common name, are no colours.
        best = _each_once([band for band in plain if band.common] or plain)
        chosen = list(zip(_names(best), best, strict=True))
    by_href: dict[str, list[tuple[str, AssetBand]]] = {}
    for name, band in chosen:
        by_href.setdefault(band.href, []).append((name, band))
    made = []
    for href, pairs in by_href.items():
        with faults.collect():
            names, places, said = zip(*((n, b.place, b.said) for n, b in pairs), strict=True)
            made.append(ChosenFile(item.path_of(href), names, places, said))
    faults.raise_if_any()
    return made


def cloud_mask(item: Item) -> str | None:
    """File with Sentinel-2's scene classes, if an asset is that. Raises: InputError."""
    found = [band for band in _bands(item) if band.is_called(SCENE_CLASSES)]
    if not found:
        return None
    return item.path_of(min(found, key=lambda band: band.rank).href)


def cloud_assets(item: Item) -> list[str]:
    """Keys of the assets that say where clouds are."""
    return [
        key
        for key, asset in item.assets.items()
        if key.casefold() == SCENE_CLASSES or _roles(asset) & CLOUDS
    ]


def offset_is_applied(item: Item) -> bool:
    """Whether an item says that Sentinel-2's offset has been taken off its values already."""
    return any(item.properties.get(key) is True for key in APPLIED)


def nodata_for_all(files: Iterable[tuple[Said, BandTags]], source: str) -> float | None:
    """The value that means nodata by the items only, where files say none; None without.

    Raises: InputError if it differs between bands.
    """
    pairs = list(files)
    missing = {
        str(said.nodata) for said, own in pairs if own.nodata is None and said.nodata is not None
    }
    if not missing:
        return None
    values = {str(said.over(own).nodata) for said, own in pairs}
    if len(values) > 1:
        raise InputError(
            f"{source}: nodata is {', '.join(sorted(values))} in bands whose files do not all say"
            " so themselves; set bands.nodata=<value>, or write it into the files"
        )
    return float(missing.pop())


def _undescribed(bands: Sequence[AssetBand]) -> AssetBand | None:
    """The one image of an item that says nothing of its bands."""
    known = [band for band in bands if band.name or band.common]
    plain = [band for band in bands if band.plain]
    return plain[0] if not known and len(plain) == 1 else None


def _find(item: Item, bands: Sequence[AssetBand], wanted: str) -> AssetBand:
    """Raises: InputError."""
    spelt = [wanted]
    if str(item.properties.get("platform", "")).lower().startswith("sentinel-2"):
        spelt += SENTINEL2.get(wanted.upper(), ())
        spelt += [esa for esa, others in SENTINEL2.items() if wanted.casefold() in others]
    for name in spelt:
        called = [band for band in bands if band.is_called(name)]
        if not called:
            continue
        # A picture for the eye names its bands as the measurements do.
        called = [band for band in called if band.plain] or called
        best = max(band.is_called(name) for band in called)
        found = _each_once([band for band in called if band.is_called(name) == best])
        if len(found) > 1:
            raise InputError(
                f"{item.name}: {wanted} could be {', '.join(band.title for band in found)}; give"
                " one of these names in bands.order"
            )
        return found[0]
    named = ", ".join(dict.fromkeys(band.common or band.title for band in bands))
    raise InputError(f"{item.name}: no band {wanted}; it has {named}; set bands.order")


def _each_once(bands: Sequence[AssetBand]) -> list[AssetBand]:
    """Of a band that several files hold, the one of the file that is read most quickly."""
    by_title: dict[str, AssetBand] = {}
    for band in bands:
        before = by_title.get(band.title.casefold())
        if before is None or band.rank < before.rank:
            by_title[band.title.casefold()] = band
    return list(by_title.values())


def _names(bands: Sequence[AssetBand]) -> list[str]:
    """The common names where each is of one band, else their own."""
    common = [band.common for band in bands]
    return [
        band.common if band.common and common.count(band.common) == 1 else band.title
        for band in bands
    ]


def _bands(item: Item) -> list[AssetBand]:
    """Of all assets that are images. Raises: InputError."""
    faults, found = Faults(), []
    for key, asset in item.assets.items():
        rank = _rank(asset)
        if rank is None:
            continue
        with faults.collect():
            found += _of_asset(item, key, asset, rank)
    faults.raise_if_any()
    return found


def _rank(asset: Mapping[str, Any]) -> int | None:
    """None of an asset that is no image."""
    href, kind = asset.get("href"), str(asset.get("type") or "").lower()
    if not isinstance(href, str) or not href:
        return None
    for rank, start in enumerate(TYPES):
        if kind.startswith(start):
            return rank
    if kind.startswith(OTHER_TYPES):
        return len(TYPES) if _roles(asset) & DATA else None
    named = urlsplit(href).path.lower().endswith(raster.SUFFIXES)
    return len(TYPES) + 1 if named and not kind else None


def _roles(asset: Mapping[str, Any]) -> set[str]:
    roles = asset.get("roles")
    return {str(role) for role in roles} if isinstance(roles, list) else set()


def _of_asset(item: Item, key: str, asset: Mapping[str, Any], rank: int) -> list[AssetBand]:
    parts = [_listed(asset, name) for name in ("bands", "eo:bands", "raster:bands")]
    count = max(1, *map(len, parts))
    plain = not _roles(asset) & NO_IMAGES and CLASSES not in asset
    plain = plain and key.casefold() != SCENE_CLASSES
    applied = offset_is_applied(item)
    made = []
    for place in range(count):
        # What each band says goes before what the asset says of all.
        core, eo, pixels = (part[place] if place < len(part) else {} for part in parts)
        where = f"{item.name}, asset {key}"
        scale = _number(_first(core, asset, "raster:scale", pixels.get("scale")), where, "scale")
        offset = _number(
            _first(core, asset, "raster:offset", pixels.get("offset")), where, "offset"
        )
        if scale == 0:
            raise InputError(f"{where}: a scale of 0, which would make all values one")
        nodata = _nodata(_first(core, asset, "nodata", pixels.get("nodata")), where)
        name = core.get("name", eo.get("name"))
        common = _first(core, asset, "eo:common_name", eo.get("common_name"))
        made.append(
            AssetBand(
                key, str(asset["href"]), place, count == 1,
                name if isinstance(name, str) and name else None,
                common if isinstance(common, str) and common else None,
                Said(nodata, scale, 0.0 if applied and offset is not None else offset),
                rank, plain and CLASSES not in core,
            )
        )  # fmt: skip
    return made


def _listed(asset: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = asset.get(name)
    if not isinstance(found, list):
        return []
    return [one if isinstance(one, dict) else {} for one in found]


def _first(core: Mapping[str, Any], asset: Mapping[str, Any], name: str, older: Any) -> Any:
    """Of STAC 1.1 by band, then as in STAC 1.0, then by asset."""
    if name in core:
        return core[name]
    return asset.get(name) if older is None else older


def _number(value: Any, where: str, what: str) -> float | None:
    if value is None:
        return None
    try:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if real and math.isfinite(value):
            return float(value)
    except OverflowError:  # JSON has numbers of any length
        pass
    raise InputError(f"{where}: {what} {shown(value)}, expected a number")


def _nodata(value: Any, where: str) -> float | None:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return _number(value, where, "nodata")


def _keys(item: Item) -> str:
    return first(list(item.assets), 8)
