"""Find what the dimensions of a cube's variable are, and where its pixels lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from affine import Affine

from geoseg.errors import InputError, shown

NAMES = {
    "x": {"x", "lon", "longitude", "easting"},
    "y": {"y", "lat", "latitude", "northing"},
    "time": {"time", "t", "date", "datetime"},
    "band": {"band", "bands", "channel", "channels", "wavelength", "spectral", "eo:bands"},
}
"""Kind of dimension → what it is called, in small letters."""
STANDARD = {
    "projection_x_coordinate": "x", "longitude": "x", "projection_y_coordinate": "y",
    "latitude": "y", "time": "time", "sensor_band_identifier": "band",
    "radiation_wavelength": "band", "sensor_band_central_radiation_wavelength": "band",
}  # fmt: skip
"""CF's standard names of coordinates."""
AXES = {"X": "x", "Y": "y", "T": "time"}
UNITS = ("m", "metre", "meter", "metres", "meters", "degree", "degrees", "deg", "1", "")
"""Of coordinates that are those of the CRS; and all that begin with degree."""
DAY = re.compile(r"^(\d{4})(\d\d)(\d\d)(?!\d)")
"""A day as text without dashes, which numpy takes for a year."""
TOLERANCE = 0.01
"""Pixels by which coordinates may be off a regular grid."""


@dataclass(frozen=True)
class Axes:
    """Dimensions of a variable."""

    y: str
    x: str
    time: str | None
    band: str | None


def axes_of(dataset: Any, name: str, where: str) -> Axes | None:
    """The dimensions of a variable; None if it has no y and x, and so is no image.

    Raises: InputError for dimensions that are not understood.
    """
    kinds: dict[str, list[str]] = {}
    variable = dataset[name]
    for dimension in variable.dims:
        kinds.setdefault(_kind(dataset, variable, dimension), []).append(dimension)
    if not {"x", "y"} <= kinds.keys():
        return None
    for kind in ("x", "y", "time", "band"):
        if len(kinds.get(kind, ())) > 1:
            raise InputError(
                f"{where}: dimensions {' and '.join(kinds[kind])} are both {kind}; leave one"
            )
    for dimension in kinds.get("", ()):
        if variable.sizes[dimension] > 1:
            raise InputError(
                f"{where}: dimension {dimension} of {variable.sizes[dimension]} is none of y, x,"
                f" time and band; choose one of it (cube.isel({dimension}=0)), or rename it to band"
            )
    time, band = (kinds.get(kind, [None])[0] for kind in ("time", "band"))
    return Axes(kinds["y"][0], kinds["x"][0], time, band)


def _kind(dataset: Any, variable: Any, dimension: str) -> str:
    listed = variable.attrs.get("spatial:dimensions", dataset.attrs.get("spatial:dimensions"))
    if isinstance(listed, list) and len(listed) == 2 and dimension in listed:
        return "yx"[listed.index(dimension)]
    attributes = dataset[dimension].attrs if dimension in dataset.variables else {}
    standard = STANDARD.get(str(attributes.get("standard_name")))
    if standard or attributes.get("axis") in AXES:
        return standard or AXES[attributes["axis"]]
    if " since " in str(attributes.get("units")):
        return "time"
    return next((k for k, names in NAMES.items() if dimension.casefold() in names), "")


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a variable lie, north up."""

    transform: Affine
    flips: tuple[bool, bool]
    """Whether rows, and columns, are stored the other way round."""


def placement_of(dataset: Any, name: str, axes: Axes, where: str) -> Placement:
    """Raises: InputError if coordinates are irregular, or there are none."""
    said = _transform(dataset, name)
    sizes = (dataset.sizes[axes.y], dataset.sizes[axes.x])
    steps: list[tuple[float, float]] = []
    for number, dimension in enumerate((axes.y, axes.x)):
        if dimension in dataset.variables:
            own = None if said is None else ((said.f, said.e), (said.c, said.a))[number]
            steps.append(_edge(dataset[dimension], own, where))
        elif said is not None:
            steps.append(((said.f, said.e), (said.c, said.a))[number])
        else:
            raise InputError(
                f"{where}: no coordinates of {dimension}, nor a transform"
                f"{_curved(dataset, axes)}; nobody knows where its pixels lie"
            )
    (top, down), (left, right) = steps
    flips = (down > 0, right < 0)
    if flips[0]:
        top, down = top + down * sizes[0], -down
    if flips[1]:
        left, right = left + right * sizes[1], -right
    return Placement(Affine(right, 0, left, 0, down, top), flips)


def _transform(dataset: Any, name: str) -> Affine | None:
    """By GeoZarr's spatial:transform, or the GeoTransform of the grid mapping, as GDAL has it."""
    variable = dataset[name]
    for attributes in (variable.attrs, dataset.attrs):
        values = _numbers(attributes.get("spatial:transform"))
        if values is not None and values[1] == values[3] == 0:
            at_centers = attributes.get("spatial:registration") == "node"
            return Affine(*values) @ Affine.translation(*[-0.5 * at_centers] * 2)
    mapping = variable.encoding.get("grid_mapping", variable.attrs.get("grid_mapping"))
    if mapping in dataset.variables:
        text = dataset.variables[mapping].attrs.get("GeoTransform")
        values = _numbers(text.split() if isinstance(text, str) else text)
        if values is not None and values[2] == values[4] == 0:
            return Affine.from_gdal(*values)
    return None


def _numbers(values: Any) -> tuple[float, ...] | None:
    """The first six, if they are such."""
    try:
        made = tuple(float(value) for value in list(values)[:6])
    except (TypeError, ValueError):
        return None
    return made if len(made) == 6 and np.isfinite(made).all() else None


def _edge(coordinate: Any, own: tuple[float, float] | None, where: str) -> tuple[float, float]:
    """Edge before the first pixel, and step from pixel to pixel.

    own: the same as a transform says it, which counts if the coordinates agree.
    Raises: InputError if they are no regular grid.
    """
    name, units = coordinate.name, str(coordinate.attrs.get("units", ""))
    if units not in UNITS and not units.startswith("degree"):
        raise InputError(f"{where}: coordinates of {name} in {units}; expected metres or degrees")
    values = coordinate.values
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(f"{where}: coordinates of {name} are not all numbers")
    places = values.astype(float)
    if len(places) == 1:
        if own is None or abs(own[0] + own[1] / 2 - places[0]) > abs(own[1]) * TOLERANCE:
            raise InputError(
                f"{where}: one coordinate of {name} does not tell the size of a pixel; give the"
                " cube a transform (cube.rio.write_transform())"
            )
        return own
    step = (places[-1] - places[0]) / (len(places) - 1)
    # Coordinates of 32 bits are rounded.
    blur = float(np.spacing(np.abs(values).max())) if values.dtype.kind == "f" else 0.0
    off = np.abs(places[0] + step * np.arange(len(places)) - places)
    if step == 0 or off.max() > abs(step) * TOLERANCE + blur:
        worst = int(off.argmax())
        raise InputError(
            f"{where}: coordinates of {name} are irregular: {places[worst]:.10g} is"
            f" {off[worst] / abs(step) if step else 0:.3g} pixels off; bring it to a regular grid"
            " first"
        )
    if own is not None:
        ends = own[0] + own[1] * (np.array([0, len(places) - 1]) + 0.5)
        if (np.abs(ends - places[[0, -1]]) <= abs(step) * TOLERANCE + blur).all():
            return own
    return float(places[0] - step / 2), float(step)


def _curved(dataset: Any, axes: Axes) -> str:
    """What is to be added for coordinates of each pixel by itself."""
    both = [
        str(name)
        for name, variable in dataset.variables.items()
        if set(variable.dims) == {axes.y, axes.x} and str(name).casefold() in NAMES["x"]
    ]
    return f" ({both[0]} is of each pixel by itself: warp it to a grid first)" if both else ""


def times_of(dataset: Any, axis: str, where: str) -> tuple[datetime, ...]:
    """The times along a dimension, or of a cube of one time. Raises: InputError."""
    if axis not in dataset.variables:
        raise InputError(
            f"{where}: dimension {axis} without a coordinate, so nobody knows its times; add one:"
            f" cube.assign_coords({axis}=[…])"
        )
    import xarray

    coordinate = dataset[axis]
    try:
        if coordinate.dtype.kind in "OSUT":
            said = [DAY.sub(r"\1-\2-\3", _text(one)) for one in np.atleast_1d(coordinate)]
            values = np.array([np.datetime64(one) for one in said])
        else:
            if " since " not in str(coordinate.attrs.get("units")):
                raise ValueError("no units, as in 'days since 2021-01-01'")
            single = xarray.Dataset({"when": ("n", np.atleast_1d(coordinate), coordinate.attrs)})
            values = xarray.decode_cf(single)["when"].values
        if values.dtype.kind != "M":
            raise ValueError(f"calendar {coordinate.attrs.get('calendar')}")
        if np.isnat(values).any():
            raise ValueError(f"none at place {int(np.isnat(values).argmax())}")
        times = values.astype("datetime64[us]").tolist()
        if not all(isinstance(one, datetime) for one in times):
            raise ValueError("beyond the year 9999")
        return tuple(times)
    except (ValueError, TypeError, OverflowError, ImportError) as error:
        first = shown(np.atleast_1d(coordinate)[0].item())
        raise InputError(
            f"{where}: coordinates of {axis} are no times ({error}; the first is {first});"
            " expected CF: numbers with units such as 'days since 2021-01-01'"
        ) from None


def _text(value: Any) -> str:
    value = value.item() if hasattr(value, "item") else value
    return value.decode() if isinstance(value, bytes) else str(value)
