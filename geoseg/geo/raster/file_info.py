"""Read what a raster file says of itself, without its pixels."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import calculate_default_transform

from geoseg.errors import InputError
from geoseg.geo.band_tags import BandTags
from geoseg.geo.cubes.virtual_tiff import chunk_of
from geoseg.geo.drivers import open_dataset
from geoseg.geo.grid import ALIGNMENT_TOLERANCE, Grid
from geoseg.geo.raster.gdal import READ_ERRORS
from geoseg.outputs.counted import first
from geoseg.received import cube_slices

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".img")
"""File names that count as rasters when a folder is searched."""


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
    """Whether validity comes from an alpha band, a mask, or masks of single bands."""
    palette: bool
    """Whether values are indices into a colour table."""
    block: tuple[int, int]
    """Height and width of a block in pixels."""
    compressed: bool
    tags: dict[str, str]
    band_tags: tuple[BandTags, ...] = ()
    """Of these bands: nodata, scale and offset, as the file says them of each by itself."""


VECTOR = (".gpkg", ".shp", ".geojson", ".fgb", ".parquet")
"""How files of polygons end mostly."""


def open_file(path: str | Path) -> rasterio.DatasetReader:
    """An open file. Raises: InputError if it isn't a raster."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said by `_problem`, better
            dataset = open_dataset(path)
    except READ_ERRORS as error:
        if not Path(path).exists():
            raise InputError(f"{path}: no such file") from None
        if Path(path).is_dir():
            raise InputError(f"{path}: a folder; give one raster") from None
        cause, is_vector = str(error).removesuffix("."), str(path).lower().endswith(VECTOR)
        why = (
            "does it hold polygons? The maps of classified parcels lie beside them, in landcover/"
            if is_vector
            else "is it cut short?"
        )
        raise InputError(
            f"{path}: can't be opened as a raster ({cause}); expected a GeoTIFF or another raster"
            f" that GDAL reads: {why}"
        ) from None
    if not dataset.count:
        parts = dataset.subdatasets
        dataset.close()
        raise InputError(_container(path, parts))
    return dataset


def _container(path: str | Path, parts: Sequence[str]) -> str:
    """What is to be said of a file without a band. parts: what GDAL calls that which it holds."""
    held = first([part.rpartition(":")[2] for part in parts], 5) or "nothing"
    return (
        f"{path}: has no band of its own, but holds {held}; give a cube (.zarr, .nc) by its path,"
        " not by a pattern, or copy what you need into a GeoTIFF (gdal_translate"
        f" {parts[0] if parts else 'IN'} OUT.tif)"
    )


def _problem(dataset: rasterio.DatasetReader) -> str | None:
    gcps, _ = dataset.gcps
    transform = dataset.transform
    remedy = "warp it first: rio warp IN.tif OUT.tif --dst-crs EPSG:…"
    if transform.is_identity and not gcps and dataset.rpcs:
        return (
            "placed by RPCs (a model of the camera), not by a transform; orthorectify it first:"
            " gdalwarp -rpc -t_srs EPSG:… IN.tif OUT.tif"
        )
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
    if not _is_upright(dataset):
        return f"rotated (transform {tuple(transform)[:6]}), geoseg needs north-up; {remedy}"
    if transform.e > 0 or transform.a < 0:
        side = "south-up" if transform.e > 0 else "mirrored"
        return f"{side} (pixel steps {transform.a:g}, {transform.e:g}); {remedy}"
    return _beyond_the_globe(dataset)


def _beyond_the_globe(dataset: rasterio.DatasetReader) -> str | None:
    """What is wrong with metres that are called degrees; None = nothing is."""
    if not dataset.crs.is_geographic or dataset.crs.units_factor[0].lower() != "degree":
        return None
    left, bottom, right, top = dataset.bounds
    pixel = abs(dataset.transform.e)  # the outermost of a global raster may be centred on a pole
    if max(abs(bottom), abs(top)) <= 90 + pixel and max(abs(left), abs(right)) <= 720:
        return None
    return (
        f"its CRS counts in degrees, but it lies at x {left:.9g}..{right:.9g}, y"
        f" {bottom:.9g}..{top:.9g}: is the CRS wrong? Assign the right one:"
        " rio edit-info --crs EPSG:… FILE"
    )


def _is_upright(dataset: rasterio.DatasetReader) -> bool:
    """Whether rows and columns run along the axes; what is less than a hair over the whole raster
    is rounding of the program that wrote it."""
    t, hair = dataset.transform, ALIGNMENT_TOLERANCE
    across, down = abs(t.b) * dataset.height, abs(t.d) * dataset.width
    return across <= hair * abs(t.a) and down <= hair * abs(t.e)


def info(path: str | Path) -> RasterInfo:
    """Read a raster's header. Raises: InputError if it isn't a raster."""
    with open_file(path) as dataset:
        facts = info_of(path, dataset)
    part = cube_slices.parse(path)
    # What GDAL is shown of a cube has neither its chunks nor their compression.
    return facts if part is None else replace(facts, block=chunk_of(part), compressed=True)


def info_of(path: str | Path, dataset: rasterio.DatasetReader) -> RasterInfo:
    """What an open file says of itself."""
    problem = _problem(dataset)
    # Interned: of a hundred thousand scenes in one CRS, that is one text, not as many.
    crs = sys.intern(dataset.crs.to_wkt()) if dataset.crs else ""
    t = dataset.transform
    upright = Affine(t.a, 0, t.c, 0, t.e, t.f)
    grid = None if problem else Grid(crs, upright, dataset.height, dataset.width)
    kinds = dataset.colorinterp
    alpha = {i for i, kind in enumerate(kinds) if kind == ColorInterp.alpha}
    bands = tuple(i for i in range(dataset.count) if i not in alpha)
    colors = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}
    flags = dataset.mask_flag_enums
    masked = bool(alpha) or MaskFlags.per_dataset in flags[0] or any(map(has_own_mask, flags))
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
        band_tags=tuple(
            # A scale of 0 would make all numbers one: who wrote it meant none.
            BandTags(dataset.nodatavals[i], dataset.scales[i] or 1.0, dataset.offsets[i])
            for i in bands
        ),
    )


def has_own_mask(flags: Sequence[MaskFlags]) -> bool:
    """Whether a band has a mask that holds for it alone, by the flags of its mask."""
    return not flags


def tags(path: str | Path) -> dict[str, str]:
    """The tags of a raster file. Raises: InputError if it isn't a raster."""
    with open_file(path) as dataset:
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
