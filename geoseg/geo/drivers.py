"""Choose the GDAL drivers that may open rasters from elsewhere.

A file's name says nothing to GDAL: a scene.tif may be the description of a web service, or list
other files. So only drivers of plain pixels are asked, and VRTs are read through before.
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.sax.saxutils import escape

from rasterio import DatasetReader
from rasterio.dtypes import dtype_rev, typename_fwd
from rasterio.env import env_ctx_if_needed
from rasterio.errors import RasterioIOError

from geoseg.errors import InputError
from geoseg.geo import vrt
from geoseg.geo.cubes.virtual_tiff import open_slice
from geoseg.received import cube_slices, offline

PLAIN = (
    *("GTiff", "COG", "JPEG", "PNG", "GIF", "BMP", "WEBP"),
    *("JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "ECW", "MrSID"),
    *("HFA", "ENVI", "EHdr", "GenBin", "PCIDSK", "RST", "RMF", "SAGA", "ILWIS", "ERS", "LAN"),
    *("NITF", "AAIGrid", "GRASSASCIIGrid", "GSAG", "GSBG", "GS7BG", "XYZ", "PCRaster", "BT"),
    *("DTED", "USGSDEM", "SRTMHGT", "SDTS", "HF2", "GTX", "LCP", "SIGDEM", "GRIB"),
)
"""Drivers of files that hold their pixels themselves or in a file of the same name beside them."""
BY_NAME = {
    ".vrt": ("VRT",),
    ".nc": ("netCDF", "HDF5", "HDF5Image"),
    ".nc4": ("netCDF", "HDF5", "HDF5Image"),
    ".h5": ("HDF5", "HDF5Image", "netCDF"),
    ".hdf5": ("HDF5", "HDF5Image", "netCDF"),
    ".hdf": ("HDF4", "HDF4Image", "HDF5", "HDF5Image", "netCDF"),
    ".zarr": ("Zarr",),
}
"""Drivers of files that may name others: only where the file's name says so too."""
_MAGIC = (
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\x89PNG", b"\xff\xd8\xff", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"),
    *(b"EHFA_HEADER_TAG", b"NITF", b"NSIF", b"GRIB"),
)
"""First bytes of files that need no second look."""


def open_dataset(path: str | Path) -> DatasetReader:
    """Open a raster for reading; the network is asked only if `path` itself names a server.

    Raises: InputError if it names what it may not read; RasterioIOError if it can't be opened.
    """
    name = str(path)
    part = cube_slices.parse(name)
    if part is not None:
        return open_slice(part)
    allowed = BY_NAME.get(os.path.splitext(name)[1].lower(), ())
    if offline.is_remote(name):
        offline.let(name)
        allowed = tuple(driver for driver in allowed if driver != "VRT")
    elif "VRT" in allowed and os.path.isfile(name):
        vrt.check(Path(name), is_plain)
    with env_ctx_if_needed():
        try:
            dataset = DatasetReader(name, driver=[*allowed, *PLAIN])
        except RasterioIOError:
            if os.path.isfile(name) and not allowed and vrt.is_vrt(name):
                raise InputError(
                    f"{name}: a VRT by what is in it, under the name of another format; if you"
                    " trust it, rename it to .vrt"
                ) from None
            raise
    elsewhere = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE", "").removeprefix(":::BASE:::")
    if elsewhere != os.path.basename(elsewhere):
        dataset.close()
        raise InputError(
            f"{name}: its overviews are said to be in {elsewhere[:200]}; remove that from its"
            " metadata, or fetch the file again"
        )
    return dataset


def without_alpha(dataset: DatasetReader) -> DatasetReader:
    """An open raster again, with an alpha band as a band like the others.

    GDAL can't warp it otherwise: it weights the other bands by alpha. To be closed by the caller.
    """
    name = dataset.name if dataset.name.startswith("/vsi") else os.path.abspath(dataset.name)
    source = f'<SourceFilename relativeToVRT="0">{escape(name)}</SourceFilename>'
    bands = "".join(
        f'<VRTRasterBand dataType="{typename_fwd[dtype_rev[dtype]]}" band="{band}">'
        + ("" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>")
        + "<ColorInterp>Undefined</ColorInterp>"
        + f"<SimpleSource>{source}<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band, dtype, nodata in zip(
            dataset.indexes, dataset.dtypes, dataset.nodatavals, strict=True
        )
    )
    place = ", ".join(map(repr, dataset.transform.to_gdal()))
    return DatasetReader(
        f'<VRTDataset rasterXSize="{dataset.width}" rasterYSize="{dataset.height}">'
        f"<SRS>{escape(dataset.crs.to_wkt())}</SRS><GeoTransform>{place}</GeoTransform>"
        f"{bands}</VRTDataset>",
        driver=["VRT"],
    )


def is_plain(path: str) -> bool:
    """Whether a file is a raster that holds its own pixels."""
    with open(path, "rb") as file:
        if file.read(16).startswith(_MAGIC):
            return True
    try:
        by_name = BY_NAME.get(os.path.splitext(path)[1].lower(), ())
        with env_ctx_if_needed(), DatasetReader(path, driver=[*PLAIN, *by_name]):
            return True
    except RasterioIOError:
        return False
