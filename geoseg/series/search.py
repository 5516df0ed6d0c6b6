"""Which files a series' settings name: rasters in and below folders, and .SAFE folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from geoseg import raster
from geoseg.errors import Faults
from geoseg.spelling import expanded, matches, once

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
            faults.add(f"series.{key}={part}: no such file or folder, and no rasters match it")
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
