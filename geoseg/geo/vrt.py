"""Check which files a VRT refers to, and whether it may read them.

A VRT is text that anybody can write: it may name any file of this machine, a server, or code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from geoseg.errors import InputError

FOLDERS = "GEOSEG_FOLDERS"
"""Environment variable: folders, besides its own, of which a VRT may read files; as in PATH."""
LARGEST = 64 * 2**20
"""Bytes of a VRT: a mosaic of 100 000 files has half of it."""
DEEPEST = 8
"""VRTs within VRTs."""
_NAMING = re.compile(r"(filename|dataset|path|_file)$", re.IGNORECASE)
"""Ends of the names of elements, keys and arguments whose text is a file's name."""
_TEXT = {
    *("SRS", "Description", "Category", "UnitType", "Projection", "F", "Name"),
    *("Mask", "Expression", "PixelFunctionType", "BlockXSize", "Metadata"),
}  # fmt: skip
"""Elements whose text is for people or formulas, whatever is in it."""


def check(path: Path, is_raster: Callable[[str], bool]) -> None:
    """Whether a VRT reads nothing but plain rasters below its folder, or below FOLDERS.

    is_raster: whether a file is a raster that names no others.
    Raises: InputError with what else it names.
    """
    stat = path.stat()
    _check(str(path), stat.st_mtime_ns, os.environ.get(FOLDERS, ""), is_raster)


@lru_cache(maxsize=4096)
def _check(path: str, stamp: int, folders: str, is_raster: Callable[[str], bool]) -> None:
    own = os.path.dirname(os.path.abspath(path))
    allowed = [own, *filter(None, folders.split(os.pathsep))]
    for source in _sources(path, depth=0):
        if not _inside(source, allowed):
            raise InputError(
                f"{path}: reads {source}, which lies outside its folder; if you trust this VRT, set"
                f" the environment variable {FOLDERS}={os.path.dirname(source)}, else leave it out"
            )
        if not is_raster(source):
            raise InputError(
                f"{path}: reads {source}, which is no raster of plain pixels; a VRT may be made of"
                " GeoTIFFs and the like, and of VRTs"
            )


def _sources(path: str, *, depth: int) -> Iterator[str]:
    """Absolute paths of the files that a VRT, and those within it, are made of."""
    if depth > DEEPEST:
        raise InputError(f"{path}: a VRT within more than {DEEPEST} others; does it name itself?")
    for name, relative in dict.fromkeys(_names(path)):
        if name.lstrip().startswith("<") or "://" in name or name.startswith(("/vsi", "\\\\")):
            raise InputError(
                f"{path}: reads {name[:200]}, not a file of this machine; fetch the files, and"
                " make the VRT of them (gdalbuildvrt)"
            )
        folder = os.path.dirname(os.path.abspath(path)) if relative else os.getcwd()
        source = os.path.normpath(os.path.join(folder, name))
        if not os.path.isfile(source):
            raise InputError(f"{path}: reads {name[:200]}, which is no file here")
        if is_vrt(source):
            yield from _sources(source, depth=depth + 1)
        else:
            yield source


def is_vrt(path: str | Path) -> bool:
    """Whether a file is a VRT by what is in it."""
    with open(path, "rb") as file:
        return b"<VRTDataset" in file.read(4096)


def _names(path: str) -> Iterator[tuple[str, bool]]:
    """Files that a VRT names, and whether relative to itself. Raises: InputError for code."""
    for element in _parse(path).iter():
        tag, text = element.tag, (element.text or "").strip()
        if tag == "PixelFunctionCode" or (tag == "PixelFunctionLanguage" and text.lower() != "c"):
            raise InputError(
                f"{path}: holds program code (a pixel function), which is never run; make a GeoTIFF"
                " of it where you trust it: gdal_translate IN.vrt OUT.tif"
            )
        if element.get("subClass") == "VRTRawRasterBand":
            raise InputError(
                f"{path}: reads another file's bytes as they are (VRTRawRasterBand); make a GeoTIFF"
                " of it where you trust it: gdal_translate IN.vrt OUT.tif"
            )
        key = element.get("key") or element.get("name") or ""
        if tag in ("MDI", "Argument", "Option", "OOI"):
            named = bool(_NAMING.search(key))
        else:
            looks = tag not in _TEXT and re.search(r"[/\\]", text)
            named = tag != "VRTDataset" and bool(looks or _NAMING.search(tag))
        if named and text:
            yield text, element.get("relativeToVRT", element.get("relativetoVRT")) == "1"


def _parse(path: str) -> ElementTree.Element:
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
        plain = re.sub(rb"<!--.*?-->|<!\[CDATA\[", b"", text, flags=re.DOTALL)
        if len(text) > LARGEST or b"<!" in plain:
            raise ElementTree.ParseError("too large, or with declarations")
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError, LookupError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read as a VRT ({error})") from None
    if root.tag != "VRTDataset":
        raise InputError(f"{path}: not a VRT but <{root.tag[:80]}>; expected <VRTDataset>")
    return root


def trust(words: list[str]) -> None:
    """Let VRTs read below the folders that the words of a command line (key=value) name."""
    named = os.environ.get(FOLDERS, "").split(os.pathsep)
    for word in words:
        value = word.partition("=")[2].strip("'\"[]")
        # A condition or an expression is no path, and may be longer than one can be.
        for part in filter(None, value.split(",")):
            with suppress(OSError, RuntimeError, ValueError):  # then it names no folder to trust
                named += _folder_of(part.strip(" '\""))
    os.environ[FOLDERS] = os.pathsep.join(dict.fromkeys(filter(None, named)))


def _folder_of(part: str) -> list[str]:
    """The folder that a path or a glob names, or lies in, if there is one."""
    path = Path(re.split(r"[*?\[]", part)[0]).expanduser()
    folder = (path if path.is_dir() else path.parent).absolute()
    # Not all that there is, for a file that lies at the top of it.
    top = (Path(folder.anchor), Path.home())
    return [str(folder)] if path.exists() and folder not in top else []


def allows(path: str, folder: str) -> bool:
    """Whether a file that another one names may be read: below a folder, or below FOLDERS."""
    return _inside(path, [folder, *filter(None, os.environ.get(FOLDERS, "").split(os.pathsep))])


def _inside(path: str, folders: list[str]) -> bool:
    """Whether a file lies below a folder as they are written, or where links lead to."""
    return any(
        Path(by(path)).is_relative_to(by(folder))
        for folder in folders
        for by in (os.path.abspath, os.path.realpath)
    )
