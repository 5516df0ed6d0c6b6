"""Find the CRS of a cube's variable: by CF's grid mapping, GeoZarr's proj: attributes, or xarray's
habits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pyproj
from pyproj.exceptions import CRSError

from geoseg.errors import InputError, shown

WKT = ("crs_wkt", "spatial_ref", "WKT", "wkt")
"""Attributes of a grid mapping that hold the CRS as text."""
ATTRIBUTES = ("proj:code", "proj:wkt2", "proj:projjson", "proj:epsg", "crs", "_CRS", "epsg")
"""Attributes of a variable, or of all, that name a CRS."""
SCALARS = ("proj:code", "proj:epsg", "epsg")
"""Coordinates of one value that do."""
REMEDY = "write it into the cube: cube.rio.write_crs('EPSG:…') of rioxarray"


def crs_of(dataset: Any, name: str, where: str) -> pyproj.CRS:
    """The CRS of a variable of an xarray.Dataset.

    where: the cube and its variable, for messages.
    Raises: InputError if it has none, or several.
    """
    found: dict[str, pyproj.CRS] = {}
    for source in (_of_mapping, _of_attributes, _of_coordinates):
        for label, value in source(dataset, name, where):
            found[label] = _made(value, f"{where}, {label}")
        if found:
            break
    if not found:
        raise InputError(f"{where}: no CRS (coordinate reference system); {REMEDY}")
    first, *others = found.values()
    if any(other != first for other in others):
        said = ", ".join(f"{label}: {crs.name}" for label, crs in sorted(found.items()))
        raise InputError(f"{where}: several CRSs ({said}); leave the right one only")
    return first


Said = Iterator[tuple[str, Any]]


def _of_mapping(dataset: Any, name: str, where: str) -> Said:
    variable = dataset[name]
    text = variable.encoding.get("grid_mapping", variable.attrs.get("grid_mapping"))
    if not isinstance(text, str):
        return
    # CF's long form says for each mapping which coordinates it has: "crs: x y other: lat lon".
    named = [w[:-1] for w in text.split() if w.endswith(":")] or text.split()
    for mapping in named:
        if mapping not in dataset.variables:
            raise InputError(
                f"{where}: its grid_mapping is {shown(mapping)}, which the cube does not hold;"
                f" {REMEDY}"
            )
        value = _mapping(dataset.variables[mapping].attrs)
        if value is not None:
            yield mapping, value


def _of_attributes(dataset: Any, name: str, where: str) -> Said:
    for attributes in (dataset[name].attrs, dataset.attrs):
        for key in ATTRIBUTES:
            if attributes.get(key) is not None:
                yield key, attributes[key]


def _of_coordinates(dataset: Any, name: str, where: str) -> Said:
    for key, variable in dataset.variables.items():
        if variable.ndim == 0:
            value = _mapping(variable.attrs)
            if value is None and key in SCALARS:
                value = variable.values.item()
            if value is not None:
                yield str(key), value


def _mapping(attributes: Mapping[str, Any]) -> Any:
    """What the attributes of a grid mapping say; None if nothing."""
    for key in WKT:
        if attributes.get(key):
            return attributes[key]
    if "grid_mapping_name" in attributes:
        return {"grid_mapping_name": attributes["grid_mapping_name"], **attributes}
    return None


def _made(value: Any, where: str) -> pyproj.CRS:
    """Raises: InputError."""
    if isinstance(value, dict) and "grid_mapping_name" not in value and "type" not in value:
        # GDAL's way of writing a CRS, in three forms.
        value = value.get("wkt", value.get("projjson", value.get("url")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(value, dict) and "grid_mapping_name" in value:
                return pyproj.CRS.from_cf(value)
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            return pyproj.CRS.from_user_input(value)
    except (CRSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: {shown(value)} is no CRS that PROJ knows ({str(error)[:200]}); {REMEDY}"
        ) from None
