"""Check STAC with pystac, offline."""

import json
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
