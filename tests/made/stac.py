"""Check STAC with pystac, offline."""

import json
from datetime import datetime
from pathlib import Path

import pystac
from pystac.stac_object import STACObjectType
from pystac.validation.stac_validator import JsonSchemaSTACValidator


def checked(path: Path) -> pystac.Item:
    """The item of a file that holds to the schema of STAC's core, which pystac brings along.

    The schemas of extensions lie on the web; what they ask for is tested by their classes.
    """
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    validator = JsonSchemaSTACValidator()
    validator.validate_core(values, STACObjectType.ITEM, values["stac_version"])
    item = pystac.Item.from_file(str(path))
    for asset in item.assets.values():
        assert Path(asset.get_absolute_href()).is_file()
    return item


def sentinel(
    folder: Path, name: str, when: datetime, images: dict[str, Path], **properties
) -> pystac.Item:
    """An item of files with one band each, as catalogs of Sentinel-2 have them; written by none."""
    box = [9.0, 45.0, 9.1, 45.1]
    properties = {"platform": "sentinel-2b"} | properties
    ring = [[9.0, 45.0], [9.1, 45.0], [9.1, 45.1], [9.0, 45.1], [9.0, 45.0]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    item = pystac.Item(name, shape, box, when, properties)
    for key, path in images.items():
        asset = pystac.Asset(str(path), media_type=pystac.MediaType.COG, roles=["data"])
        if key != "scl":
            asset.extra_fields["bands"] = [{"name": key, "eo:common_name": key}]
        item.add_asset(key, asset)
    return item


def catalogued(folder: Path, items: list[pystac.Item]) -> Path:
    """A catalog of items with relative addresses, as pystac writes it: its path."""
    catalog = pystac.Catalog("made", "made up")
    catalog.add_items(items)
    catalog.normalize_hrefs(str(folder))
    for item in items:
        item.make_asset_hrefs_relative()
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"
