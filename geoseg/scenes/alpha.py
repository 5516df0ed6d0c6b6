"""Tell measurements that a file merely calls alpha from an alpha band.

GDAL, and rasterio with it, calls the fourth band of a GeoTIFF of bytes alpha unless it is told
otherwise, and so hides the near infrared of aerial images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from geoseg.geo.band_tags import some
from geoseg.geo.raster import Raster, RasterInfo, info
from geoseg.scenes.probe import probes

LEVELS = 16
"""Values between transparent and opaque from which a band may be one of measurements."""
SHARE = 0.5
"""Of the pixels that are not transparent: how many must be neither opaque. Of mosaics with soft
edges few are."""


def is_data(facts: RasterInfo) -> bool:
    """Whether the band that a file calls alpha holds measurements, by a look at some of its pixels.

    Raises: InputError if the file is damaged there.
    """
    if facts.alpha is None or facts.grid is None or np.dtype(facts.dtype).kind != "u":
        return False
    file = Raster(facts.path, bands=(facts.alpha,), nodata="none")
    try:
        parts = [file.read(window)[0].ravel() for window in probes(facts.grid)]
    finally:
        file.close()
    values = np.concatenate(parts)
    between = values[(values > 0) & (values < np.iinfo(values.dtype).max)]
    several = len(np.unique(between)) >= LEVELS
    return several and len(between) > SHARE * int(np.count_nonzero(values))


def name_of(number: int) -> str:
    """What such a band is called, by its number in the file."""
    return f"band_{number}"


def said_of_alpha(scenes: Iterable[tuple[str, str, Sequence[str]]]) -> list[str]:
    """What is to be said of scenes whose alpha band was taken for data, for people.

    scenes: name, first file and bands of each.
    """
    names = []
    for name, path, bands in scenes:
        number = info(path).alpha
        if number is not None and name_of(number) in bands:
            names.append(name)
    if not names:
        return []
    return [
        f"{some(names)}: the band that the file calls alpha holds measurements, not transparency"
        " (near infrared?), so it is taken for one of the image's bands; bands.names=[…] with names"
        " for the others alone makes it transparency again"
    ]
