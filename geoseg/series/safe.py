"""Read Sentinel-2 L2A products (.SAFE) by their metadata.

Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD: names of products and of files,
PROCESSING_BASELINE, BOA_ADD_OFFSET and BOA_QUANTIFICATION_VALUE.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.scenes.bands import Bands
from geoseg.series import dates
from geoseg.series.entry import Entry

if TYPE_CHECKING:
    from geoseg.series.settings import Series

METADATA = "MTD_MSIL2A.xml"
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Of 10 m and 20 m."""
ALL = ("B01", *BANDS[:8], "B09", "B10", *BANDS[8:])
"""In the order of the numbers that the metadata give them."""
NOT_CLEAR = (0, 1, 3, 8, 9, 10, 11)
"""Scene classes: nodata, defective, shadow, cloud (medium, high), cirrus, snow."""
QUANTIFICATION = "10000"
OFFSET = -1000.0
"""Where the metadata of a product with an offset name none."""
SHIFTED = 4.0
"""Baseline since which products have an offset."""
_NAME = re.compile(r"S2[A-D]_MSIL(?P<level>1C|2A)_(?P<date>\d{8}T\d{6})_N(?P<baseline>\d{4})_")
_TILE = re.compile(r"_(T\d{2}[A-Z]{3})(?=_|\.|$)")


@dataclass(frozen=True)
class Product:
    """A .SAFE folder."""

    path: Path
    when: datetime
    """Start of sensing."""
    baseline: float
    offsets: dict[str, float]
    """Of each band."""


def entries_of_products(
    paths: list[str], series: Series, bands: Bands
) -> tuple[list[Entry], list[str]]:
    """Entries of the products' bands, and what is to be said. Raises: InputError with all faults.

    Of two products of one tile and time the one of the higher baseline counts; two of the same
    baseline are parts of one another.
    """
    faults, entries = Faults(), []
    for key in ("pattern", "dates"):
        if getattr(series, key) is not None:
            faults.add(f"series.{key}: not for .SAFE products, which say it themselves")
    if series.offset:
        faults.add(
            f"series.offset={series.offset:g}: .SAFE products say their offset; leave it out"
        )
    if bands.names:
        faults.add("bands.names: .SAFE products name their bands; choose with bands.order")
    products = faults.each(read_product, map(Path, paths))
    granules = [
        (product, granule, _tile(granule) or _tile(product.path))
        for product in products
        for granule in _granules(product.path)
    ]
    newest: dict[tuple[str | None, datetime], float] = {}
    for product, _, tile in granules:
        key_ = tile, product.when
        newest[key_] = max(newest.get(key_, 0.0), product.baseline)
    old = []
    for product, granule, tile in granules:
        if product.baseline < newest[tile, product.when]:
            old.append(product.path.name)
            continue
        with faults.collect():
            entries += _entries(product, granule, tile, tuple(bands.order) or BANDS)
    faults.raise_if_any()
    notes = []
    if old:
        notes.append(
            f"{len(old)} products are there in a later baseline too and left out: {old[0]}"
        )
    shifted = {product.path for product in products if any(product.offsets.values())}
    if shifted:
        notes.append(
            f"{len(shifted)} of {len(products)} products have an offset ({OFFSET:g}), as their"
            " metadata say; it is added"
        )
    return entries, notes


def read_product(path: Path) -> Product:
    """What a product's name and metadata say. Raises: InputError if it is no L2A product."""
    name = _NAME.match(path.name)
    if name and name["level"] == "1C":
        raise InputError(
            f"{path}: a product of level 1C; give level 2A (reflectance at the ground)"
        )
    file = path / METADATA
    if not file.exists() and not name:
        raise InputError(f"{path}: no {METADATA} in it, and not a name of Sentinel-2 L2A")
    values, offsets = _metadata(file) if file.exists() else ({}, {})
    quantification = values.get("BOA_QUANTIFICATION_VALUE", QUANTIFICATION)
    if quantification != QUANTIFICATION:
        raise InputError(f"{file}: BOA_QUANTIFICATION_VALUE {quantification}, expected 10000")
    said = name["date"] if name else values.get("PRODUCT_START_TIME", "")
    when = dates.parse(said)
    if when is None:
        raise InputError(f"{path}: no date in its name, nor PRODUCT_START_TIME in {METADATA}")
    baseline = int(name["baseline"]) / 100 if name else 0.0
    baseline = float(values.get("PROCESSING_BASELINE", baseline))
    if not offsets and baseline >= SHIFTED:
        offsets = dict.fromkeys(ALL, OFFSET)
    return Product(path, when, baseline, offsets)


def _metadata(file: Path) -> tuple[dict[str, str], dict[str, float]]:
    """First texts by tag, and the offset of each band."""
    values: dict[str, str] = {}
    offsets: dict[str, float] = {}
    try:
        for element in ElementTree.parse(file).iter():
            tag = element.tag.rpartition("}")[2]
            text = (element.text or "").strip()
            if tag == "BOA_ADD_OFFSET":
                offsets[ALL[int(element.attrib["band_id"])]] = float(text)
            else:
                values.setdefault(tag, text)
        float(values.get("PROCESSING_BASELINE", 0))
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise InputError(f"{file}: can't be read ({error}); fetch the product again") from None
    return values, offsets


def _granules(product: Path) -> list[Path]:
    return sorted(path for path in product.glob("GRANULE/*") if path.is_dir())


def _tile(path: Path) -> str | None:
    match = _TILE.search(path.name)
    return match[1] if match else None


def _entries(
    product: Product, granule: Path, tile: str | None, wanted: tuple[str, ...]
) -> list[Entry]:

    mask = _file(granule, "SCL")
    found = {band: _file(granule, band) for band in wanted}
    missing = [band for band, path in found.items() if path is None]
    if unknown := [band for band in missing if band not in ALL]:
        raise InputError(
            f"{product.path}: no band {', '.join(unknown)}; Sentinel-2 has {', '.join(ALL)}"
        )
    if len(missing) == len(wanted):
        raise InputError(
            f"{product.path}: no file of {', '.join(wanted)} in GRANULE/*/IMG_DATA/R10m, R20m or"
            " R60m; is the product whole?"
        )
    return [
        Entry(path, product.when, tile, band, None, product.offsets.get(band, 0.0), mask)
        for band, path in found.items()
        if path
    ]


def _file(granule: Path, band: str) -> str | None:
    """The file of a band, in the finest resolution there is."""
    for metres in (10, 20, 60):
        files = sorted(granule.glob(f"IMG_DATA/R{metres}m/*_{band}_{metres}m.*"))
        files = [path for path in files if path.suffix.lower() in raster.SUFFIXES]
        if files:
            return str(files[0])
    return None
