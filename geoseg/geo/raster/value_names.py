"""Read what a class raster calls its values."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from geoseg.errors import InputError
from geoseg.geo.legend import TAG, Legend, canonical
from geoseg.geo.raster.file_info import RasterInfo
from geoseg.outputs.files import parse_json

LONGEST = 1 << 20
"""Bytes of a side file that are looked through."""
_LIST = re.compile(r"<CategoryNames>(.*?)</CategoryNames>", re.DOTALL)
_NAME = re.compile(r"<Category>(.*?)</Category>|<Category ?/>", re.DOTALL)


def value_names(facts: RasterInfo) -> dict[str, str]:
    """Value → name, both canonical: by the legend in the tags, else by the side file .aux.xml.

    {} where nothing is said, or it can't be read.
    """
    if TAG in facts.tags:
        try:
            legend = Legend.from_dict(parse_json(facts.tags[TAG]))
        except (InputError, ValueError):
            return {}
        return {str(c.code): canonical(c.name) for c in legend.classes}
    try:
        with Path(f"{facts.path}.aux.xml").open("rb") as file:
            text = file.read(LONGEST).decode("utf-8", errors="replace")
    except OSError:
        return {}
    found = _LIST.search(text)
    names = [canonical(unescape(name)) for name in _NAME.findall(found[1])] if found else []
    return {str(value): name for value, name in enumerate(names) if name}
