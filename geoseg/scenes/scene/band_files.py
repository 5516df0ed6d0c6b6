"""Notice files that seem to hold one band each of one scene."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.outputs.counted import counted

_BAND = re.compile(
    r"(?<![a-z0-9])(b\d{1,2}a?|band[_-]?\d{1,2}|red|green|blue|nir|swir[_-]?\d?|vv|vh)(?![a-z0-9])",
    re.IGNORECASE,
)
"""What bands are called in names of files."""
COMMON = 0.5
"""Share of the smaller file's ground from which on two files show one scene: sheets of a map, which
may be called A1, B1, B2 too, have but a rim in common."""


def said_of_lone_bands(paths: Sequence[str]) -> list[str]:
    """The fault if files seem to be the bands of one scene, and would be a scene each.

    Of many scenes only the first is looked at and told.
    """
    alike: dict[tuple[str, str], dict[str, str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        stem = Path(name).stem
        if found := list(_BAND.finditer(stem)):
            at = found[-1]
            rest = f"{stem[: at.start()]}*{stem[at.end() :]}"
            alike.setdefault((folder, rest), {})[at[0]] = path
    groups = [(rest, files) for (_, rest), files in alike.items() if len(files) > 1]
    for rest, files in groups:
        if not _share_ground(*list(files.values())[:2]):
            continue
        bands = {band for _, every in groups for band in every}
        names = "|".join(sorted(bands, key=lambda band: (-len(band), band)))  # B1 begins B11, too
        remedy = f"set bands.pattern='(?P<scene>.+?)[_.-]?(?P<band>{names})'"
        # A scene's name is what stands before the band: a date behind it would be lost.
        joined = [(rest.partition("*")[0], band) for rest, every in groups for band in every]
        if rest.startswith("*") or len(set(joined)) < len(joined):
            remedy = "join them in one file (gdal_merge.py -separate -o SCENE.tif …)"
        more = f" ({counted(len(groups) - 1, 'more group')} of files may be, too)"
        return [
            f"{', '.join(Path(path).name for path in files.values())}: they look like the bands of"
            f" one scene, and each would be a scene of its own{more * (len(groups) > 1)}; {remedy},"
            " or bands.names=[…] if each is one"
        ]
    return []


def _share_ground(path: str, other: str) -> bool:
    """Whether two files hold one band each, of about the same ground."""
    try:
        one, two = raster.info(path), raster.info(other)
    except InputError:  # damaged, which is told where it is opened as a scene
        return False
    if one.grid is None or two.grid is None:
        return False
    if not len(one.bands) == len(two.bands) == 1:
        return False
    a, b = one.grid.bounds, two.grid.bounds_in(one.grid.crs)
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    least = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width > 0 and height > 0 and width * height >= COMMON * least
