"""Set up GDAL: its block cache, its errors, how many files it may hold open."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

import rasterio
from rasterio.errors import RasterioError, RasterioIOError

SMALL_CACHE_MB = 32
CACHE_MB = 128
"""GDAL's block cache; its default, 5 % of the memory, makes memory depend on the machine."""
# GDAL looks here when it first needs them; a user's own values win. A rasterio.Env per open file
# would not do: Envs must end in reverse order, and files that are kept open end in any.
os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_MB))
READ_ERRORS = (RasterioError, RasterioIOError, rasterio._err.CPLE_BaseError)


def read_once() -> None:
    """Let GDAL's block cache be small: for those who read each block once.

    Does nothing in a process that has opened a file before, or whose user has chosen a size.
    """
    # In a process that another one of geoseg has started, the environment is that one's.
    if os.environ["GDAL_CACHEMAX"] == str(CACHE_MB):
        os.environ["GDAL_CACHEMAX"] = str(SMALL_CACHE_MB)


def environment() -> AbstractContextManager[Any]:
    """Within it, files may be opened that another thread goes on reading, in its own, and closes.

    A file that is opened outside must be closed by the thread that opened it. What may lie beside
    a file is asked for by its name: to list a folder of thousands takes longer than to open a file.
    """
    return rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE")


def most_files() -> int:
    """How many files this process may hold open at once."""
    try:
        import resource
    except ImportError:  # Windows
        return 512
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if 0 <= soft < 1 << 20 else 1 << 20
