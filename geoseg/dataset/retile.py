"""Tell whether a scene's files are slow to read by windows, and write tiled copies."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import MemoryFile
from rasterio.windows import Window as RioWindow

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.drivers import open_dataset
from geoseg.geo.grid import Grid
from geoseg.geo.raster import BLOCK, LEVEL
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import make_folder, replacing
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.scene import Scene

COPIES = "scenes"
"""Folder of a data set that holds the copies."""
MOST = 4.0
"""Times the pixels that a window may decompress, compared with tiles of BLOCK: those of 512 do."""
MEMORY = 512 * 2**20
"""Bytes of pixels that are copied at a time, if rows of blocks aren't larger."""
ORIGIN = "GEOSEG_COPY_OF"
"""Tag of a copy: digest of the name, size and time of the file that it was made of."""
_COLORS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)


@dataclass(frozen=True)
class Slow:
    """A file whose blocks do not suit windows."""

    path: str
    block: tuple[int, int]
    """Height and width in pixels."""
    striped: bool
    """Whether blocks are as wide as the file."""
    times: float
    """How many times the pixels of a window are decompressed to read it."""

    def __str__(self) -> str:
        height, width = self.block
        return f"rows of {height} px × whole width" if self.striped else f"{height} × {width} px"


def waste(grid: Grid, block: tuple[int, int], side: int) -> float:
    """Pixels that must be decompressed for a window of `side`, as a multiple of the window's.

    For a window that lies on as few blocks as may be.
    """
    pixels = shown = 1
    for length, step in zip((grid.height, grid.width), block, strict=True):
        window = min(side, length)
        shown *= window
        pixels *= min(-(-window // step) * step, length)
    return pixels / shown


def slow_files(scene: AnyScene, side: int) -> list[Slow]:
    """Compressed files of a scene where a window of `side` pixels costs MOST times too much.

    Raises: InputError if a file can't be opened.
    """
    if scene.dates:
        return []
    found = []
    for path in dict.fromkeys(scene.paths):
        facts = raster.info(path)
        if facts.grid is None or not facts.compressed:
            continue
        own = math.ceil(side * scene.grid.pixel_size_m / facts.grid.pixel_size_near(scene.grid))
        times = waste(facts.grid, facts.block, own)
        if times > MOST * waste(facts.grid, (BLOCK, BLOCK), own):
            striped = facts.block[1] >= facts.grid.width
            found.append(Slow(path, facts.block, striped, times))
    return found


def complaint(scenes: Sequence[AnyScene], side: int) -> str | None:
    """What is to be said of scenes that are slow to read by windows of `side`; None if none is."""
    slow = [files for scene in scenes if (files := slow_files(scene, side))]
    if not slow:
        return None
    worst = max((file for files in slow for file in files), key=lambda file: file.times)
    are = "is" if len(slow) == 1 else "are"
    what = f"{are} striped" if worst.striped else f"{are} stored in large blocks"
    return (
        f"{len(slow)} of {counted(len(scenes), 'scene')} {what} ({worst}): a random"
        f" window decompresses {worst.times:.0f} times what it shows; run prepare again with"
        " retile=true"
    )


def retile(scenes: Sequence[Scene], folder: Path, side: int) -> tuple[tuple[Scene, ...], list[str]]:
    """The scenes with their slow files replaced by tiled copies in `folder`/scenes.

    Copies hold all that a scene shows, bit for bit. Those that are there already are kept, if their
    files are still the same; other copies, which nobody needs now, are removed.
    Returns: the scenes, and what is to be said.
    Raises: InputError if a file is damaged or the disk is full.
    """
    slow = {file.path: None for scene in scenes for file in slow_files(scene, side)}
    copies = _names(slow, folder / COPIES)
    for path, target in copies.items():
        if _origin_of(target) != _origin(path):
            _copy(path, target)
    remove_copies(folder, scenes, kept=copies.values())
    retiled = tuple(
        replace(
            scene,
            sources=tuple(
                replace(source, paths=tuple(str(copies.get(path, path)) for path in source.paths))
                for source in scene.sources
            ),
        )
        for scene in scenes
    )
    count = sum(old != new for old, new in zip(scenes, retiled, strict=True))
    size = sum(target.stat().st_size for target in copies.values())
    said = []
    if copies:
        files = counted(len(copies), "file")
        said.append(f"retile: {files} copied in tiles to {folder / COPIES} ({size / 1e6:.0f} MB)")
    if count < len(scenes):
        left = len(scenes) - count
        are = "scene is fast to read as it is" if left == 1 else "scenes are fast as they are"
        said.append(f"retile: {left} {are}, and not copied")
    return retiled, said


def check_room(scenes: Iterable[Scene], folder: Path) -> None:
    """Raises: InputError if `folder`/scenes, where copies go, holds files of somebody else."""
    faults = Faults()
    place = (folder / COPIES).resolve()
    used = {Path(path).resolve() for scene in scenes for path in scene.paths}
    for path in sorted(place.glob("*.tif")):
        if path in used or _origin_of(path) is None:
            faults.add(f"{path}: lies where tiled copies go; give the data set another folder")
    faults.raise_if_any()


def remove_copies(folder: Path, scenes: Iterable[AnyScene], kept: Iterable[Path] = ()) -> None:
    """Remove copies of an earlier data set in `folder`, but those that are scenes now."""
    if not (folder / COPIES).is_dir():
        return
    used = {Path(path).resolve() for scene in scenes for path in scene.paths}
    used |= {path.resolve() for path in kept}
    for path in sorted((folder / COPIES).glob("*.tif")):
        if path.resolve() not in used and _origin_of(path) is not None:
            path.unlink()


def _names(paths: Iterable[str], folder: Path) -> dict[str, Path]:
    """Path of the copy of each file; those of one name get a digest of their path, too."""
    paths = list(paths)
    counts = Counter(Path(path).stem for path in paths)
    names = {}
    for path in paths:
        stem = Path(path).stem
        if counts[stem] > 1:
            stem += f"-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        names[path] = folder / f"{stem}.tif"
    return names


def _origin(path: str) -> str:
    name, *rest = fingerprint(path)
    text = " ".join(map(str, (Path(name).name, *rest)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _origin_of(copy: Path) -> str | None:
    """The origin that a copy was made of; None if it is not there, or not a copy."""
    if not copy.exists():
        return None
    try:
        return raster.tags(copy).get(ORIGIN)
    except InputError:
        return None


def _copy(path: str, target: Path) -> None:
    """Write a file again in tiles; it gets its name when it is whole and says the same."""
    make_folder(target.parent)
    try:
        with replacing(target) as temporary:
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                open_dataset(path) as source,
                rasterio.open(temporary, "w", **_profile(source)) as out,
            ):
                _describe(source, out, _origin(path))
                masked = MaskFlags.per_dataset in source.mask_flag_enums[0]
                has_alpha = ColorInterp.alpha in source.colorinterp
                for window in _windows(source):
                    out.write(_pixels(source, window), window=window)
                    if masked and not has_alpha:
                        out.write_mask(source.dataset_mask(window=window), window=window)
            raster.check_whole(temporary)
            _check_same(path, temporary)
    except raster.READ_ERRORS as error:
        cause = error.__cause__ or error
        raise InputError(
            f"{path}: can't be copied to {target} ({cause}); is the file damaged or the disk full?"
        ) from None


def _profile(source: rasterio.DatasetReader) -> dict[str, Any]:
    dtype = np.result_type(*source.dtypes)
    profile = {
        "driver": "GTiff",
        "dtype": str(dtype),
        "count": source.count,
        "height": source.height,
        "width": source.width,
        "crs": source.crs,
        "transform": source.transform,
        "nodata": source.nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "pixel" if source.count > 1 else "band",
        "predictor": 3 if dtype.kind == "f" else 2,
        # GDAL would call bands of bytes red, green, blue and alpha.
        "photometric": "minisblack",
        "alpha": "no",
        "BIGTIFF": "IF_SAFER",
        "num_threads": "all_cpus",
    }
    return profile | _codec()


def _codec() -> dict[str, Any]:
    """Zstandard, which is read in two thirds of deflate's time, where GDAL has it."""
    codec: dict[str, Any] = {"compress": "zstd", "zstd_level": 1}
    place = {"crs": "EPSG:3857", "transform": Affine(2, 0, 0, 0, -2, 0)}
    tiny = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 1, "width": 1, **place}
    try:
        with MemoryFile() as memory, memory.open(**tiny, **codec):
            return codec
    except raster.READ_ERRORS:
        return {"compress": "deflate", "zlevel": LEVEL}


def _describe(source: rasterio.DatasetReader, out: Any, origin: str) -> None:
    """Names and meaning of the bands, and the tag that says what the copy was made of."""
    out.update_tags(**{ORIGIN: origin})
    kinds = [kind if kind in _COLORS else ColorInterp.undefined for kind in source.colorinterp]
    if source.count == 1 and kinds[0] == ColorInterp.undefined:
        kinds[0] = ColorInterp.gray
    out.colorinterp = kinds
    for number, name in enumerate(source.descriptions, 1):
        if name:
            out.set_band_description(number, name)


def _windows(source: rasterio.DatasetReader) -> Iterator[RioWindow]:
    """Windows of whole tiles that partition a file, each row of its blocks in as few as may be."""
    pixel = source.count * np.result_type(*source.dtypes).itemsize
    most = max(BLOCK, MEMORY // (pixel * source.width) // BLOCK * BLOCK)
    rows = min(-(-source.block_shapes[0][0] // BLOCK) * BLOCK, most)
    columns = max(BLOCK, MEMORY // (pixel * rows) // BLOCK * BLOCK)
    for top in range(0, source.height, rows):
        for left in range(0, source.width, columns):
            yield RioWindow(
                left, top, min(columns, source.width - left), min(rows, source.height - top)
            )


def _pixels(source: rasterio.DatasetReader, window: RioWindow) -> np.ndarray:
    """All bands of a window; rasterio does not read bands of different types at once."""
    if len(set(source.dtypes)) == 1:
        whole: np.ndarray = source.read(window=window)
        return whole
    dtype = np.result_type(*source.dtypes)
    return np.stack([source.read(band, window=window).astype(dtype) for band in source.indexes])


def _check_same(path: str, copy: Path) -> None:
    """Raises: InputError if a copy has another grid, or its bands mean something else."""
    old, new = raster.info(path), raster.info(copy)
    faults = [
        f"{name} {getattr(old, name)} became {getattr(new, name)}"
        for name in ("bands", "alpha", "names", "dtype", "mask_band")
        if getattr(old, name) != getattr(new, name)
    ]
    if not np.array_equal([old.nodata or 0.0], [new.nodata or 0.0], equal_nan=True):
        faults.append(f"nodata {old.nodata} became {new.nodata}")
    if old.grid is None or new.grid is None or not old.grid.coincides(new.grid):
        faults.append("it lies elsewhere: the CRS can't be told in a GeoTIFF")
    if faults:
        raise InputError(
            f"{path}: can't be copied in tiles ({'; '.join(faults)}); set retile=false"
        )
