"""Write small Zarr cubes, as xarray does."""

from pathlib import Path

import numpy as np
import pyproj
import xarray

DAYS = ("2021-05-04", "2021-06-04", "2021-07-04")
X, Y, STEP = 500_000.0, 5_000_000.0, 10.0


def axis(start: float, count: int, step: float = STEP) -> np.ndarray:
    """Centres of pixels."""
    return start + step * (np.arange(count) + 0.5)


def values(count: int, height: int = 40, width: int = 30) -> np.ndarray:
    """(count, height, width) uint16, no two pixels alike, none 0."""
    return (np.arange(count * height * width) + 1).reshape(count, height, width).astype("uint16")


def cube(bands: dict[str, np.ndarray], *, days=DAYS, crs: int | None = 32632, **attributes):
    """A cube of bands (T, H, W), or (H, W) without days, not yet written."""
    dims = ("time", "y", "x") if days else ("y", "x")
    shape = next(iter(bands.values())).shape
    place = {"grid_mapping": "spatial_ref"} if crs else {}
    made = xarray.Dataset(
        {name: (dims, array, place | attributes) for name, array in bands.items()},
        coords={"y": axis(Y, shape[-2], -STEP), "x": axis(X, shape[-1])},
    )
    if days:
        made = made.assign_coords(time=np.array(days, "datetime64[ns]"))
    if crs:
        made["spatial_ref"] = ((), 0, pyproj.CRS.from_epsg(crs).to_cf())
    return made


def write(folder: Path, made: xarray.Dataset, *, form: int = 3, **encoding) -> str:
    """The path of the written cube. encoding: of all its bands."""
    said = {str(name): encoding for name in made.data_vars if name != "spatial_ref"}
    made.to_zarr(folder, zarr_format=form, consolidated=False, encoding=said if encoding else None)
    return str(folder)


def write_netcdf(path: Path, made: xarray.Dataset, *, form: str = "NETCDF4", **encoding) -> str:
    """The path of the written file. form: NETCDF4, or NETCDF3_CLASSIC; encoding: of all bands."""
    said = {str(name): encoding for name in made.data_vars if name != "spatial_ref"}
    engine = "h5netcdf" if form == "NETCDF4" else "scipy"
    made.to_netcdf(path, format=form, engine=engine, encoding=said if encoding else None)
    return str(path)
