"""Check that arrays are stored in ways that cannot run a program.

Zarr's own list of codecs has one that unpickles (numcodecs' pickle), and packages may add any.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from geoseg.errors import InputError, shown

SAFE = {
    *("blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "shuffle", "bitshuffle", "packbits"),
    *("delta", "fixedscaleoffset", "quantize", "bitround", "astype", "categorize", "pcodec"),
    *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
    *("bytes", "endian", "transpose", "sharding_indexed", "cast_value", "scale_offset"),
    *("vlen-utf8", "vlen-bytes", "json2", "msgpack2", "base64"),
}
LARGEST = 64 * 2**20
"""Bytes of a file of metadata."""


def check_codecs(folder: str) -> None:
    """Whether a group's arrays use only codecs that turn bytes into numbers or text.

    Raises: InputError for others, and for metadata that is no JSON.
    """
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    for array in ("", *sorted(names)):
        for name in ("zarr.json", ".zarray"):
            path = os.path.join(folder, array, name)
            if os.path.isfile(path):
                _check(path)


def _check(path: str) -> None:
    for name in _names(_read(path)):
        if str(name).removeprefix("numcodecs.") not in SAFE:
            raise InputError(
                f"{path}: stored with the codec {shown(name)}, which is not one of those that are"
                " known to run no program; write the cube with xarray's defaults"
            )


def _read(path: str) -> Any:
    try:
        if os.path.getsize(path) > LARGEST:
            raise ValueError(f"larger than {LARGEST >> 20} MB")
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read as metadata of a Zarr array ({error})") from None


def _names(values: Any) -> Iterator[Any]:
    """Codecs of an array, those within codecs too."""
    if not isinstance(values, dict):
        return
    filters = values.get("filters") or []
    inner = values.get("configuration")
    lists = [values.get("codecs"), filters]
    if isinstance(inner, dict):
        lists += [inner.get("codecs"), inner.get("index_codecs")]
    found = [one for part in lists if isinstance(part, list) for one in part]
    if values.get("compressor") is not None:
        found.append(values["compressor"])
    for one in found:
        yield one.get("id", one.get("name")) if isinstance(one, dict) else one
        yield from _names(one)
