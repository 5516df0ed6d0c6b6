"""Open netCDF files of all formats, classic ones and those in HDF5, without what they link to."""

from __future__ import annotations

from typing import Any

import numpy as np

from geoseg.errors import InputError

INSTALL = "pip install 'geoseg[cube]'"
ROWS = 256
"""Rows that are read at once of a variable that is stored in one piece."""
FILLS = {
    "i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295,
    "i8": -9223372036854775806, "u8": 18446744073709551614,
    "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
}  # fmt: skip
"""What netCDF writes where nothing was written, if a file says no _FillValue; bytes have none."""


def open_netcdf(path: str) -> Any:
    """Open a file as an xarray.Dataset of numbers as they are stored. Raises: InputError."""
    try:
        import xarray

        engine = _engine(path)
        if engine == "h5netcdf":
            import h5netcdf  # noqa: F401  xarray says of its absence what nobody understands
    except ImportError:
        raise InputError(
            f"{path}: a netCDF cube, which is read by xarray and h5netcdf; install them: {INSTALL}"
        ) from None
    if engine == "h5netcdf":
        _check_links(path)
    try:
        dataset = xarray.open_dataset(
            path, engine=engine, chunks=None, cache=False, mask_and_scale=False, decode_times=False
        )
    except Exception as error:  # of any kind: a damaged file may have anything in it
        raise InputError(f"{path}: can't be opened as a netCDF file ({error})") from None
    for variable in dataset.variables.values():
        variable.encoding["chunks"] = _pieces(variable)
        if variable.ndim >= 2:
            _add_fill(variable)
    return dataset


def _engine(path: str) -> str:
    """Which of xarray's engines reads a file, by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head == b"\x89HDF\r\n\x1a\n":
        return "h5netcdf"
    if head[:4] in (b"CDF\x01", b"CDF\x02"):
        return "scipy"
    if head[:4] == b"CDF\x05":
        raise InputError(
            f"{path}: netCDF in the format CDF-5, which is not read; convert it:"
            " nccopy -k netCDF-4 in.nc out.nc"
        )
    raise InputError(f"{path}: called a netCDF file, but its first bytes are those of none")


def _check_links(path: str) -> None:
    """Raises: InputError if a file in HDF5 has its values in others, which it may name freely."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            for name in file:
                link = file.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise _elsewhere(path, name, link.filename)
                found = file[name] if isinstance(link, h5py.HardLink) else None
                if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
                    others = found.external or found.virtual_sources()
                    raise _elsewhere(path, name, str(others[0][0 if found.external else 1]))
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: can't be opened as a netCDF file ({error})") from None


def _elsewhere(path: str, name: str, other: str) -> InputError:
    return InputError(
        f"{path}, {name}: its values are said to be in another file ({other[:200]}); copy them into"
        " it: nccopy in.nc out.nc"
    )


def _pieces(variable: Any) -> tuple[int, ...]:
    """Sizes of what is read at once of a variable, along each of its dimensions."""
    if chunks := variable.encoding.get("chunksizes"):
        return tuple(chunks)
    if variable.ndim < 2:
        return tuple(variable.shape)
    # In one piece: any part can be read, so rows of one time and band are.
    *others, rows, columns = variable.shape
    return (*[1] * len(others), min(rows, ROWS), columns)


def _add_fill(variable: Any) -> None:
    """Note the fill value that a file need not tell."""
    kind = np.dtype(variable.dtype).newbyteorder("=").str[1:]
    if kind in FILLS and not {"_FillValue", "missing_value"} & variable.attrs.keys():
        variable.attrs["_FillValue"] = np.asarray(FILLS[kind], kind)[()]


def groups_of(path: str) -> list[str]:
    """Groups of a file that hold variables, for a message."""
    if _engine(path) != "h5netcdf":
        return []
    import h5py

    found: set[str] = set()
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                found.add(name.rpartition("/")[0]) if isinstance(item, h5py.Dataset) else None
            )
        )
    return sorted(found - {""})
