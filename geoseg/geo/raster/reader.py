"""Read rasters by windows, and warp them on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RioWindow

from geoseg.errors import InputError
from geoseg.geo.drivers import without_alpha
from geoseg.geo.grid import Grid, Window
from geoseg.geo.raster.file_info import RasterInfo, has_own_mask, info_of, open_file
from geoseg.geo.raster.gdal import READ_ERRORS
from geoseg.outputs.closing import Closing

NUDGE = 1e-4
"""Pixels, or steps between two values, by which resampling is moved from where two pixels, or two
values, are equally near: there the last bit decided, which differs from window to window."""
LARGEST = 1e30
"""Size from which a real number is none that anyone measured: the least and largest numbers of a
type stand for nothing, often not quite as the file declares them (-3.40282e+38), and a warp leaves
shares of them along the edge."""


class Raster(Closing):
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
        self._stack, self.path = ExitStack(), str(path)
        dataset = self._stack.enter_context(open_file(path))
        facts = info_of(path, dataset)
        self.bands = bands or facts.bands
        own = self._checked(facts, dataset.count)
        self.grid = grid or own
        self.block = facts.block
        self._masked, self._rounds = facts.mask_band, False
        # A window of the same pixels is read straight; anything else goes through a warp.
        offset = (0, 0) if grid is None else own.offset(grid)
        warps = offset is None
        self._offset, self._own = ((0, 0), self.grid) if offset is None else (offset, own)
        dtypes = [dataset.dtypes[band - 1] for band in self.bands]
        nodatas = self._nodatas(dataset, nodata)
        self._dtype = np.result_type(*dtypes)
        gaps = [_as_type(value, self._dtype) for value in nodatas]
        self._gaps = _Gaps.of(gaps, self._dtype.kind == "f")
        # Asked for a mask, GDAL heeds an alpha band only of files with two or four bands.
        self._alpha = self._alpha_of(dataset)
        if self._alpha in self.bands:  # asked for by number, it is data
            self._alpha, self._masked = None, False
            if warps:
                dataset = self._stack.enter_context(without_alpha(dataset))
        self._own_masks = self._are_masked_apart(dataset, warps=warps)
        runs = _runs(self.bands, dtypes, nodatas if warps else None)
        self._dataset = dataset
        self._reads: list[tuple[rasterio.DatasetReader, list[int]]]
        if warps:
            self._reads = self._warped(dataset, runs, resampling)
        else:
            self._reads = [(dataset, bands_) for bands_, _ in runs]

    def _checked(self, facts: RasterInfo, count: int) -> Grid:
        """The file's grid. Raises: InputError if it has none, or not all bands are there."""
        problem = facts.problem
        if facts.grid is not None:
            if max(self.bands, default=0) <= count:
                return facts.grid
            problem = (
                f"{self.path}: no band {max(self.bands)}, it has {count}; has the file changed?"
            )
        self.close()
        raise InputError(str(problem))

    def _are_masked_apart(self, dataset: rasterio.DatasetReader, *, warps: bool) -> bool:
        """Whether bands have masks of their own. Raises: InputError if they are to be warped."""
        flags = dataset.mask_flag_enums
        apart = any(has_own_mask(flags[band - 1]) for band in self.bands)
        if apart and warps:
            self.close()
            raise InputError(
                f"{self.path}: its bands have masks of their own, which a warp onto other pixels"
                " does not heed; write nodata values in their place (NaN), or one mask for all"
                " bands"
            )
        return apart

    def _warped(
        self,
        dataset: rasterio.DatasetReader,
        runs: Iterable[tuple[list[int], float | None]],
        resampling: str,
    ) -> list[tuple[rasterio.DatasetReader, list[int]]]:
        """The file on the other grid, once for each nodata value: all bands are warped by one."""
        warped: dict[str, rasterio.DatasetReader] = {}
        reads = []
        for bands, value in runs:
            if str(value) not in warped:
                opened = self._warp(dataset, resampling, value)
                warped[str(value)] = self._stack.enter_context(opened)
            reads.append((warped[str(value)], bands))
        # Where bands have nodata of their own, only some of the warped files have an alpha band.
        self._dataset = reads[0][0]
        for one in warped.values():
            found = self._alpha_of(one)
            if found is not None:
                self._dataset, self._alpha = one, found
        return reads

    @property
    def dtype(self) -> np.dtype:
        """Of what `read` gives."""
        return self._dtype

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

    def codes(self, window: Window) -> np.ndarray:
        """Codes (height, width) of the first band; 0 outside the raster. Spares the time in which
        `read` finds out which pixels are valid. Raises: InputError if the file is damaged.
        """
        assert self._offset is not None
        own = window.shift(*self._offset)
        inside = own.intersect(self._own.window)
        whole = np.zeros((0, 0), self._dtype)
        if inside is not None:
            with self._damage(inside):
                whole = self._pixels(_place(inside), None)[0]
        if inside != own:
            part, whole = whole, np.zeros((window.height, window.width), self._dtype)
            if inside is not None:
                whole[inside.within(own)] = part
        return np.asarray(whole)

    def _read_inside(
        self, window: Window, shape: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        place = _place(window)
        with self._damage(window):
            data = self._pixels(place, shape)
            mask = None
            if self._alpha:
                mask = self._dataset.read(self._alpha, window=place, out_shape=shape) > 0
            elif self._own_masks:
                mask = self._band_masks(place, shape)
            elif self._masked:
                mask = self._dataset.dataset_mask(window=place, out_shape=shape) > 0
        holds = self._gaps.holds(data)
        if holds is None:
            return data, np.ones(data.shape[1:], bool) if mask is None else mask
        if mask is not None:
            holds = holds & mask
        if data.dtype.kind == "f" and holds.ndim == 3:
            data[~holds] = 0  # -1.7e308 would overflow in whatever is computed of it
        return data, holds

    def _band_masks(self, place: RioWindow, shape: tuple[int, int] | None) -> np.ndarray:
        """Where masks say that bands hold data (C, H, W)."""
        size = (len(self.bands), *shape) if shape else None
        return self._dataset.read_masks(list(self.bands), window=place, out_shape=size) > 0

    def _pixels(self, place: RioWindow, shape: tuple[int, int] | None) -> np.ndarray:
        """Data (C, H, W) of a window that lies inside."""
        parts = [
            file.read(bands, window=place, out_shape=(len(bands), *shape) if shape else None)
            for file, bands in self._reads
        ]
        data = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.floor(data + (0.5 + NUDGE)).astype(self._dtype) if self._rounds else data

    @contextmanager
    def _damage(self, window: Window) -> Iterator[None]:
        """Raises: InputError for what GDAL says of a file that is damaged."""
        try:
            yield
        except READ_ERRORS as error:
            cause = error.__cause__ or error
            raise InputError(
                f"{self.path}: can't read rows {window.top}..{window.bottom - 1} ({cause});"
                " the file is damaged or cut short: fetch it again"
            ) from None

    def close(self) -> None:
        self._stack.close()


def _place(window: Window) -> RioWindow:
    return RioWindow(window.left, window.top, window.width, window.height)


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
    """Whether pixels are real numbers, among which NaN, infinity and what is LARGEST are nodata."""
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
            holds = _is_number(data) if self.real else data != value
            if self.real and value is not None:
                holds &= data != value
        else:
            holds = _is_number(data) if self.real else np.ones(data.shape, bool)
            for row, band, value in zip(holds, data, self.values, strict=True):
                if value is not None:
                    row &= band != value
        # Mostly all do: one look, and whoever asks is spared the rest.
        return np.ones(data.shape[1:], bool) if holds.all() else np.asarray(holds)


def _is_number(data: np.ndarray) -> np.ndarray:
    """Which real numbers may be measurements."""
    return np.asarray(np.abs(data) < LARGEST)  # NaN is not


def all_bands(holds: np.ndarray) -> np.ndarray:
    """Where all bands hold data (H, W), of what `read_each` says."""
    return holds if holds.ndim == 2 else np.asarray(holds.all(axis=0))


def any_band(holds: np.ndarray) -> np.ndarray:
    """Where any band holds data (H, W), of what `read_each` says."""
    return holds if holds.ndim == 2 else np.asarray(holds.any(axis=0))
