"""Read paths as people type them and as files refer to each other."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

_ADDRESS = re.compile(r"(\w+:\"?)?(\w+://|/vsi(?!mem|zip|tar|gzip)\w+/)", re.IGNORECASE)
"""Of a file on a server, as browsers and GDAL write them."""
OTHERS = (".png", ".jpg", ".jpeg", ".bil", ".bsq", ".bip", ".dat", ".asc", ".ers", ".grb", ".grib2")
"""Endings of images that are read, but not looked for in folders, where they may be anything."""


def expanded(text: str) -> str:
    """A path with ~ replaced, unless a file or folder is called so."""
    return text if os.path.lexists(text) else os.path.expanduser(text)


def matches(text: str) -> list[str]:
    """Paths that a glob finds, sorted; folders that exist may have [ ] in their names."""
    if found := sorted(glob.glob(text, recursive=True)):
        return found
    folder = Path(text).parent
    while not folder.exists():
        folder = folder.parent
    rest = os.path.relpath(text, folder) if str(folder) != "." else text
    return sorted(glob.glob(os.path.join(glob.escape(str(folder)), rest), recursive=True))


def unfound(text: str, what: str) -> str:
    """What is said of a path at which nothing is found.

    what: the files that are looked for.
    """
    if _ADDRESS.match(text):
        return (
            f"{text}: lies on a server, of which only rasters that a STAC item names are read, no"
            " cubes (Zarr, netCDF); download it, or give the file of such an item"
        )
    return f"{text}: no such file or folder, and no {what} match it"


def once(paths: Iterable[str]) -> list[str]:
    """Each file once, as it was first spelt: ./a.tif and a.tif, or a folder and a link to it."""
    seen: dict[tuple[str, str], str] = {}
    for path in paths:
        seen.setdefault((os.path.realpath(path), os.path.basename(path)), path)
    return list(seen.values())


def relative(path: str, folder: Path) -> str:
    """A path as seen from a folder, valid however that folder is reached, by links or not.

    An address is one from anywhere.
    """
    if "://" in path:
        return path
    home = os.path.realpath(folder)
    try:
        plain = os.path.relpath(path, folder.absolute())
        if os.path.realpath(os.path.join(home, plain)) == os.path.realpath(path):
            return Path(plain).as_posix()
        return Path(os.path.relpath(os.path.abspath(path), home)).as_posix()
    except ValueError:  # another drive on Windows
        return str(Path(path).resolve())


def beside(path: str, folder: Path) -> str:
    """Where the file lies that a folder refers to by this path."""
    found = os.path.normpath(os.path.join(os.path.realpath(folder), path))
    plain = os.path.normpath(os.path.join(folder, path))
    # Data sets of earlier versions are valid only as they were reached then.
    same = os.path.exists(plain) and os.path.realpath(plain) == os.path.realpath(found)
    return plain if same or not os.path.exists(found) else found


def by_pattern(names: Iterable[str]) -> str:
    """What is said of a folder that holds images of other endings than are looked for, if it does.

    names: of its files.
    """
    endings = [os.path.splitext(name)[1] for name in names]
    other = next((ending for ending in endings if ending.lower() in OTHERS), None)
    return "" if other is None else f"; its {other} files are taken by a pattern: …/*{other}"
