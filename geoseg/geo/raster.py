"""Read, warp and write rasters; the only door to rasterio's files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform
from rasterio.windows import Window as RioWindow

from geoseg.errors import InputError
from geoseg.geo.band_tags import BandTags
from geoseg.geo.cubes.virtual_tiff import chunk_of
from geoseg.geo.drivers import open_dataset, without_alpha
from geoseg.geo.grid import Grid, Window
from geoseg.outputs.files import replacing
from geoseg.received import cube_slices

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".img")
"""File names that count as rasters when a folder is searched."""
BLOCK = 256
"""Side of the blocks of written GeoTIFFs in pixels."""
LEVEL = 1
"""Of deflate: writes three times as fast as the usual 6, into files that are a tenth larger."""
SMALL = 4 * 2**20
"""Bytes of pixels up to which a file is made in memory."""
SMALL_CACHE_MB = 32
CACHE_MB = 128
"""GDAL's block cache; its default, 5 % of the memory, makes memory depend on the machine."""
NUDGE = 1e-4
"""Pixels, or steps between two values, by which resampling is moved from where two pixels, or two
values, are equally near: there the last bit decided, which differs from window to window."""
# GDAL looks here when it first needs them; a user's own values win. A rasterio.Env per open file
# would not do: Envs must end in reverse order, and files that are kept open end in any.
os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_MB))


def read_once() -> None:
    """Let GDAL's block cache be small: for those who read each block once.

    Does nothing in a process that has opened a file before, or whose user has chosen a size.
    """
    # In a process that another one of geoseg has started, the environment is that one's.
    if os.environ["GDAL_CACHEMAX"] == str(CACHE_MB):
        os.environ["GDAL_CACHEMAX"] = str(SMALL_CACHE_MB)


READ_ERRORS = (RasterioError, RasterioIOError, rasterio._err.CPLE_BaseError)


@dataclass(frozen=True)
class RasterInfo:
    """What a raster file says of itself, without its pixels."""

    path: str
    grid: Grid | None
    """None if there is no CRS, or the transform isn't north-up."""
    problem: str | None
    """Why there is no grid, with a remedy."""
    bands: tuple[int, ...]
    """Numbers (from 1) of the bands that hold data: all but alpha."""
    alpha: int | None
    """Number of the alpha band."""
    names: tuple[str | None, ...]
    """Of these bands: description, or red, green, blue by colour interpretation, or None."""
    dtype: str
    nodata: float | None
    """Of the first of these bands."""
    mask_band: bool
    """Whether validity comes from an alpha band or a mask."""
    palette: bool
    """Whether values are indices into a colour table."""
    block: tuple[int, int]
    """Height and width of a block in pixels."""
    compressed: bool
    tags: dict[str, str]
    band_tags: tuple[BandTags, ...] = ()
    """Of these bands: nodata, scale and offset, as the file says them of each by itself."""

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """Of these bands."""
        return tuple(tags.nodata for tags in self.band_tags)


def _open(path: str | Path) -> rasterio.DatasetReader:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said by `_problem`, better
            return open_dataset(path)
    except READ_ERRORS as error:
        if not Path(path).exists():
            raise InputError(f"{path}: no such file") from None
        cause = str(error).removesuffix(".")
        raise InputError(
            f"{path}: can't be opened as a raster ({cause}); expected a GeoTIFF or another raster"
            " that GDAL reads: is it cut short?"
        ) from None


def _problem(dataset: rasterio.DatasetReader) -> str | None:
    gcps, _ = dataset.gcps
    transform = dataset.transform
    remedy = "warp it first: rio warp IN.tif OUT.tif --dst-crs EPSG:…"
    if dataset.crs is None and not gcps:
        assign = "rio edit-info --crs EPSG:… FILE"
        return f"no CRS (coordinate reference system); assign the right one: {assign}"
    if dataset.crs is not None and dataset.crs.to_wkt().startswith(
        ("LOCAL_CS", "ENGCRS", "ENGINEER")
    ):
        assign = "rio edit-info --crs EPSG:… FILE"
        return (
            "its CRS is a local one, of a drawing or an engineer, without a place on the Earth;"
            f" assign that of its coordinates, if they have one: {assign}"
        )
    if transform.is_identity:
        if gcps:
            return f"placed by {len(gcps)} ground control points, not by a transform; {remedy}"
        return "no geotransform: nobody knows where its pixels lie; give it one or a world file"
    if transform.b or transform.d:
        return f"rotated (transform {tuple(transform)[:6]}), geoseg needs north-up; {remedy}"
    if transform.e > 0 or transform.a < 0:
        side = "south-up" if transform.e > 0 else "mirrored"
        return f"{side} (pixel steps {transform.a:g}, {transform.e:g}); {remedy}"
    return None


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


def info(path: str | Path) -> RasterInfo:
    """Read a raster's header. Raises: InputError if it isn't a raster."""
    with _open(path) as dataset:
        facts = _info(path, dataset)
    part = cube_slices.parse(path)
    # What GDAL is shown of a cube has neither its chunks nor their compression.
    return facts if part is None else replace(facts, block=chunk_of(part), compressed=True)


def _info(path: str | Path, dataset: rasterio.DatasetReader) -> RasterInfo:
    problem = _problem(dataset)
    crs = dataset.crs.to_wkt() if dataset.crs else ""
    grid = None if problem else Grid(crs, dataset.transform, dataset.height, dataset.width)
    kinds = dataset.colorinterp
    alpha = {i for i, kind in enumerate(kinds) if kind == ColorInterp.alpha}
    bands = tuple(i for i in range(dataset.count) if i not in alpha)
    colors = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}
    masked = bool(alpha) or MaskFlags.per_dataset in dataset.mask_flag_enums[0]
    return RasterInfo(
        path=str(path),
        grid=grid,
        problem=f"{path}: {problem}" if problem else None,
        bands=tuple(i + 1 for i in bands),
        alpha=min(alpha) + 1 if alpha else None,
        names=tuple(dataset.descriptions[i] or colors.get(kinds[i]) for i in bands),
        dtype=str(np.result_type(*(dataset.dtypes[i] for i in bands))) if bands else "uint8",
        nodata=dataset.nodatavals[bands[0]] if bands else dataset.nodata,
        mask_band=masked,
        palette=kinds[0] == ColorInterp.palette,
        block=dataset.block_shapes[0],
        compressed=dataset.compression is not None or dataset.driver.startswith("JP2"),
        tags=dict(dataset.tags()),
        band_tags=tuple(_band_tags(dataset, i) for i in bands),
    )


def _band_tags(dataset: rasterio.DatasetReader, place: int) -> BandTags:
    return BandTags(dataset.nodatavals[place], dataset.scales[place], dataset.offsets[place])


def tags(path: str | Path) -> dict[str, str]:
    """The tags of a raster file. Raises: InputError if it isn't a raster."""
    with _open(path) as dataset:
        return dict(dataset.tags())


def resolution_in(grid: Grid, crs: str) -> tuple[float, float]:
    """Height and width that the grid's pixels have in another CRS, as square pixels of 3 digits.

    Raises: InputError if the grid can't be drawn in it.
    """
    bounds = grid.bounds
    try:
        transform, _, _ = calculate_default_transform(
            grid.crs, crs, grid.width, grid.height, *bounds
        )
    except READ_ERRORS as error:
        raise InputError(f"bounds {bounds} can't be drawn in the CRS {crs} ({error})") from None
    side = float(f"{abs(transform.a):.3g}")
    return side, side


class Raster:
    """An open raster, read by windows of its own grid or of one that it is warped onto."""

    def __init__(
        self,
        path: str | Path,
        *,
        bands: tuple[int, ...] | None = None,
        grid: Grid | None = None,
        resampling: str = "bilinear",
        nodata: float | str | None = None,
    ) -> None:
        """Open `path`; bands are counted from 1, None = all but alpha.

        grid: warp onto this grid where the file's own differs; None = the file's own.
        nodata: a value that replaces the file's; "none" = no value means nodata.
        Raises: InputError if it can't be opened or has no grid.
        """
        self._stack = ExitStack()
        dataset = self._stack.enter_context(_open(path))
        facts = _info(path, dataset)
        if facts.grid is None:
            self.close()
            raise InputError(str(facts.problem))
        self.path = str(path)
        self.grid = grid or facts.grid
        self.bands = bands or facts.bands
        self.block = facts.block
        self._masked = facts.mask_band
        # A window of the same pixels is read straight; anything else goes through a warp.
        self._offset = (0, 0) if grid is None else facts.grid.offset(grid)
        self._own = facts.grid
        nodatas = self._nodatas(dataset, nodata)
        warps = self._offset is None
        if warps:
            self._offset, self._own = (0, 0), self.grid
        # Asked for a mask, GDAL heeds an alpha band only of files with two or four bands.
        alpha = self._alpha_of(dataset)
        if alpha in self.bands:  # asked for by number, it is data
            alpha, self._masked = None, False
            if warps:
                dataset = self._stack.enter_context(without_alpha(dataset))
        dtypes = [dataset.dtypes[band - 1] for band in self.bands]
        self._dtype = np.result_type(*dtypes)
        gaps = [_as_type(value, self._dtype) for value in nodatas]
        self._gaps = _Gaps.of(gaps, self._dtype.kind == "f")
        self._rounds = False
        self._reads: list[tuple[rasterio.DatasetReader, list[int]]] = []
        warped: dict[str, rasterio.DatasetReader] = {}
        for bands_, value in _runs(self.bands, dtypes, nodatas if warps else None):
            one = dataset
            if warps:  # which warps by one nodata value for all bands
                if str(value) not in warped:
                    opened = self._warp(dataset, resampling, value)
                    warped[str(value)] = self._stack.enter_context(opened)
                one = warped[str(value)]
            self._reads.append((one, bands_))
        # Where bands have nodata of their own, only some of the warped files have an alpha band.
        self._dataset = self._reads[0][0]
        for one in warped.values():
            found = self._alpha_of(one)
            if found is not None:
                self._dataset, alpha = one, found
        self._alpha = alpha

    def _alpha_of(self, dataset: rasterio.DatasetReader) -> int | None:
        """Number of the alpha band, if there is one. Raises: InputError if the file is damaged."""
        try:
            kinds = list(enumerate(dataset.colorinterp, 1))
        except READ_ERRORS as error:
            self.close()
            raise InputError(
                f"{self.path}: can't read what its bands are ({error}); the file is damaged or cut"
                " short: fetch it again"
            ) from None
        return next((i for i, kind in kinds if kind == ColorInterp.alpha), None)

    def _nodatas(
        self, dataset: rasterio.DatasetReader, nodata: float | str | None
    ) -> list[float | None]:
        """Of each band: its own, or what replaces it."""
        if nodata is None:
            return [dataset.nodatavals[band - 1] for band in self.bands]
        return [None if nodata == "none" else float(nodata)] * len(self.bands)

    def _warp(
        self, dataset: rasterio.DatasetReader, resampling: str, nodata: float | None
    ) -> WarpedVRT:
        options: dict[str, Any] = {
            "crs": self.grid.crs,
            "transform": self.grid.transform,
            "height": self.grid.height,
            "width": self.grid.width,
            "resampling": Resampling[resampling],
        }
        if self._masked or nodata is None:
            # Only an alpha band says which pixels lie outside the warped file.
            has_alpha = ColorInterp.alpha in dataset.colorinterp
            options["add_alpha"] = not has_alpha
            self._masked = True
            if nodata is None and dataset.nodata is not None:
                options["src_nodata"] = None
        else:
            # Else a band's nodata would be mixed into its neighbours where other bands hold data.
            options |= {"src_nodata": nodata, "nodata": nodata, "UNIFIED_SRC_NODATA": "NO"}
        if resampling == "cubic":
            options["transform"] @= Affine.translation(NUDGE, NUDGE)
        elif resampling == "average" and self._dtype.kind in "iu":
            options |= {"dtype": "float64", "working_dtype": "float64"}
            self._rounds = True
        return WarpedVRT(dataset, **options)

    def read(
        self, window: Window, *, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of a window; what lies outside the raster is 0 and not valid.

        shape: height and width to decimate to (nearest); then the window must lie inside.
        Returns: data (C, height, width) in the file's dtype, valid (height, width) bool.
        A pixel is valid if any of its bands holds data (GDAL's rule for a dataset's mask); scenes
        and stacks ask for each band and go by `all_bands`.
        Raises: InputError with file and window if the file is damaged.
        """
        data, holds = self.read_each(window, shape=shape)
        return data, any_band(holds)

    def read_each(
        self, window: Window, *, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `read`, but with where each band by itself holds data.

        Returns: data, and (C, height, width) bool; (height, width) if it is the same of all bands.
        """
        assert self._offset is not None
        inside = window.shift(*self._offset).intersect(self._own.window)
        if inside is None:
            shape = (window.height, window.width)
            return np.zeros((len(self.bands), *shape), self._dtype), np.zeros(shape, bool)
        data, holds = self._read_inside(inside, shape)
        if shape or (inside.height, inside.width) == (window.height, window.width):
            return data, holds
        part = inside.within(window.shift(*self._offset))
        whole = np.zeros((data.shape[0], window.height, window.width), data.dtype)
        whole_holds = np.zeros((*holds.shape[:-2], *whole.shape[1:]), bool)
        whole[(slice(None), *part)] = data
        whole_holds[(..., *part)] = holds
        return whole, whole_holds

    def _read_inside(
        self, window: Window, shape: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        place = RioWindow(window.left, window.top, window.width, window.height)
        try:
            parts = [
                file.read(bands, window=place, out_shape=(len(bands), *shape) if shape else None)
                for file, bands in self._reads
            ]
            data = parts[0] if len(parts) == 1 else np.concatenate(parts)
            if self._rounds:
                data = np.floor(data + (0.5 + NUDGE)).astype(self._dtype)
            mask = None
            if self._alpha:
                mask = self._dataset.read(self._alpha, window=place, out_shape=shape) > 0
            elif self._masked:
                mask = self._dataset.dataset_mask(window=place, out_shape=shape) > 0
        except READ_ERRORS as error:
            cause = error.__cause__ or error
            raise InputError(
                f"{self.path}: can't read rows {window.top}..{window.bottom - 1} ({cause});"
                " the file is damaged or cut short: fetch it again"
            ) from None
        holds = self._gaps.holds(data)
        if holds is None:
            return data, np.ones(data.shape[1:], bool) if mask is None else mask
        if mask is not None:
            holds &= mask
        if data.dtype.kind == "f" and holds.ndim == 3:
            data[~holds] = 0  # -1.7e308 would overflow in whatever is computed of it
        return data, holds

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _runs(
    bands: tuple[int, ...], dtypes: list[str], nodatas: list[float | None] | None
) -> list[tuple[list[int], float | None]]:
    """Bands that are read at once, in order, with their nodata value where it matters.

    rasterio does not read bands of different types at once.
    """
    values = nodatas or [None] * len(bands)
    if len(set(dtypes)) == 1 and len(set(map(str, values))) == 1:
        return [(list(bands), values[0])]
    return [([band], value) for band, value in zip(bands, values, strict=True)]


def _as_type(value: float | None, dtype: np.dtype) -> Any:
    """A value as pixels of whole numbers have it; None if none of them can be it.

    Compared with a float of Python, numpy would convert them all.
    """
    if value is None or dtype.kind not in "ui" or dtype.itemsize == 8:
        return value
    limits = np.iinfo(dtype)
    return dtype.type(value) if value % 1 == 0 and limits.min <= value <= limits.max else None


@dataclass(frozen=True)
class _Gaps:
    """The values that mean nodata, per band."""

    values: tuple[Any, ...]
    """In the pixels' type; None = no value of this band does."""
    real: bool
    """Whether pixels are real numbers, among which NaN and infinity are nodata too."""
    alike: bool
    """Whether all bands have the same value."""

    @classmethod
    def of(cls, values: list[Any], real: bool) -> _Gaps:
        return cls(tuple(values), real, len(set(map(str, values))) == 1)

    def holds(self, data: np.ndarray) -> np.ndarray | None:
        """Where bands (C, H, W) hold data: (C, H, W), (H, W) if all do; None = no value is none."""
        if not self.real and all(value is None for value in self.values):
            return None
        if self.alike:
            value = self.values[0]
            holds = np.isfinite(data) if self.real else data != value
            if self.real and value is not None:
                holds &= data != value
        else:
            holds = np.isfinite(data) if self.real else np.ones(data.shape, bool)
            for row, band, value in zip(holds, data, self.values, strict=True):
                if value is not None:
                    row &= band != value
        # Mostly all do: one look, and whoever asks is spared the rest.
        return np.ones(data.shape[1:], bool) if holds.all() else np.asarray(holds)


def all_bands(holds: np.ndarray) -> np.ndarray:
    """Where all bands hold data (H, W), of what `read_each` says."""
    return holds if holds.ndim == 2 else np.asarray(holds.all(axis=0))


def any_band(holds: np.ndarray) -> np.ndarray:
    """Where any band holds data (H, W), of what `read_each` says."""
    return holds if holds.ndim == 2 else np.asarray(holds.any(axis=0))


class Writer:
    """A GeoTIFF being written; comes from `create`."""

    def __init__(self, dataset: rasterio.io.DatasetWriter, path: Path) -> None:
        self._dataset = dataset
        self._path = path

    def write(self, array: np.ndarray, window: Window) -> None:
        """Write (C, height, width), or (height, width) of a single band, at a window.

        Raises: InputError if the disk is full.
        """
        place = RioWindow(window.left, window.top, window.width, window.height)
        try:
            self._dataset.write(array if array.ndim == 3 else array[None], window=place)
        except READ_ERRORS as error:
            raise _write_error(self._path, error) from None


def _write_error(path: Path, error: BaseException) -> InputError:
    cause = error.__cause__ or error
    return InputError(f"{path}: can't be written ({cause}); is the disk full? Free some and go on")


@contextmanager
def create(
    path: str | Path,
    grid: Grid,
    *,
    dtype: str,
    count: int = 1,
    nodata: float | None = None,
    colors: dict[int, tuple[int, int, int, int]] | None = None,
    tags: dict[str, str] | None = None,
    names: tuple[str, ...] = (),
) -> Iterator[Writer]:
    """Write a tiled, deflated GeoTIFF window by window; it gets its name when it is whole.

    dtype: of the pixels. colors: colour table of a single uint8 band. names: of the bands.
    Raises: InputError if the folder can't be written or the disk is full.
    """
    path = Path(path)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": count,
        "height": grid.height,
        "width": grid.width,
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "zlevel": LEVEL,
        "interleave": "pixel" if count > 1 else "band",
        "alpha": "no",  # GDAL takes the fourth band of bytes for one
        "BIGTIFF": "IF_SAFER",
        # Threads for writing only: those that read would be missing in a forked worker, which
        # then waits for them for ever.
        "num_threads": "all_cpus",
    }
    if colors is None:
        profile["predictor"] = 3 if np.dtype(dtype).kind == "f" else 2
    small = grid.window.area * count * np.dtype(dtype).itemsize <= SMALL
    with replacing(path) as temporary:
        try:
            with (_in_memory if small else _on_disk)(temporary, profile) as dataset:
                if colors is not None:
                    dataset.write_colormap(1, colors)
                dataset.update_tags(**(tags or {}))
                for number, name in enumerate(names, 1):
                    dataset.set_band_description(number, name)
                yield Writer(dataset, path)
        except READ_ERRORS as error:
            raise _write_error(path, error) from None


@contextmanager
def _in_memory(path: Path, profile: dict[str, Any]) -> Iterator[rasterio.io.DatasetWriter]:
    """A file that reaches the disk at once: Python, unlike GDAL, says when that is full."""
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            yield dataset
        path.write_bytes(memory.read())


@contextmanager
def _on_disk(path: Path, profile: dict[str, Any]) -> Iterator[rasterio.io.DatasetWriter]:
    with rasterio.open(path, "w", **profile) as dataset:
        yield dataset
    check_whole(path)


def check_whole(path: Path) -> None:
    """Read a written file once: GDAL reports a disk that fills up while closing to nobody."""
    with rasterio.open(path) as dataset:
        for _, window in dataset.block_windows(1):
            dataset.read(1, window=window)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels (1, 3 or 4, H, W) uint8: grey, RGB or RGBA."""
    count, height, width = pixels.shape
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="PNG", dtype="uint8", count=count, height=height, width=width
        ) as picture:
            picture.write(pixels)
        return bytes(memory.read())


def header(
    grid: Grid,
    *,
    nodata: float,
    colors: dict[int, tuple[int, int, int, int]] | None,
    tags: dict[str, str] | None = None,
    description: str | None = None,
) -> bytes:
    """A GeoTIFF of uint8 with CRS, place, colours and tags, but next to no pixels.

    colors: of codes; None = values that are none. description: of the band.

    For who writes these himself: GDAL knows best how a CRS is told.
    """
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            dtype="uint8",
            count=1,
            height=1,
            width=1,
            crs=grid.crs,
            transform=grid.transform,
            nodata=nodata,
            tiled=True,
            bigtiff="NO",
            endianness="LITTLE",
        ) as dataset:
            if colors is not None:
                dataset.write_colormap(1, colors)
            if description:
                dataset.set_band_description(1, description)
            dataset.update_tags(**(tags or {}))
        return bytes(memory.read())
