"""Keep GDAL off the network unless the user gives an address.

A GeoJSON may name the address of its CRS, a GML that of its schema, a GeoTIFF that of its
overviews; GDAL asks there as soon as the file is opened.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from geoseg.errors import InputError, shown
from geoseg.received.spelling import beside

SERVERS = "GEOSEG_SERVERS"
"""Environment variable: beginnings of addresses, separated by blanks, below which catalogs may name
files."""
_NOWHERE = "127.0.0.1:9"
"""The port of a service that throws away what it gets, where there is one: nobody answers."""
_SHUT = {
    "GDAL_HTTP_PROXY": _NOWHERE,  # whatever asks a server goes through it
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",  # the only file that is read from a server
    "GML_DOWNLOAD_SCHEMA": "NO",
}
_own = {name: os.environ.get(name) for name in _SHUT}


def shut() -> None:
    """Let GDAL ask no other machine, in this process and those that it starts."""
    os.environ.update(_SHUT)
    # Not a way out, but to a program: a VRT may hold one in Python.
    os.environ["GDAL_VRT_ENABLE_PYTHON"] = "NO"


def is_remote(path: str) -> bool:
    """Whether a name is one of GDAL's file systems, or an address."""
    return path.startswith("/vsi") or "://" in path


def may_ask(address: str) -> bool:
    """Whether an address that a file names lies below one that the user has named in SERVERS."""
    asked = urlsplit(address)
    for text in os.environ.get(SERVERS, "").split():
        known = urlsplit(text)
        same = (asked.scheme, asked.netloc.lower()) == (known.scheme, known.netloc.lower())
        if same and known.netloc and asked.path.startswith(known.path):
            return True
    return False


def local(path: str, folder: Path) -> str:
    """A path that a file in `folder` names, of this machine or of a server in SERVERS.

    Raises: InputError if it is neither.
    """
    if may_ask(path):
        return path
    if path.startswith(("https://", "http://")) and "\0" not in path:
        raise InputError(
            f"{folder}: names {shown(path)}; no server is asked unless you name it in the"
            f" environment variable {SERVERS}"
        )
    if is_remote(path) or "\0" in path:
        raise InputError(
            f"{folder}: names {shown(path)}; a file may name files of this machine only"
        )
    return beside(path, folder)


def let(path: str) -> None:
    """Open the ways again if this path, which somebody gave, leads there."""
    if is_remote(path):
        for name, value in _SHUT.items():
            own = _own[name]
            if own is None or own == value:
                os.environ.pop(name, None)
            else:
                os.environ[name] = own


shut()
