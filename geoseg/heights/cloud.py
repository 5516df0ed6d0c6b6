"""Find, read and copy LiDAR point clouds; the only door to laspy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from pyproj.exceptions import CRSError

from geoseg.errors import Faults, InputError
from geoseg.geo.grid import same_crs
from geoseg.outputs.counted import few
from geoseg.outputs.files import replacing
from geoseg.scenes.scene import find_files

SUFFIXES = (".las", ".laz")
CHUNK = 1_000_000
"""Points that are read at once."""
LANDCOVER = "landcover"
"""Dimension of a point with the code of its class in a legend."""
STRAY = 0.01
"""Units by which points may lie outside the bounds in the header: its numbers are rounded."""
VERTICAL_CRS, VERTICAL_UNIT = 4096, 4099
"""Keys of GeoTIFF (OGC 19-008r4), by which files up to LAS 1.3 say how they count heights."""
UNITS = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
"""Metres of metre, foot and US survey foot by their EPSG codes."""
AGAIN = "the file is cut short or damaged: fetch it again"


@dataclass(frozen=True)
class Cloud:
    """What a file of points says of itself."""

    path: str
    count: int
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top in units of the CRS."""
    crs: str
    """WKT of its horizontal part."""
    unit: float
    """Metres of one unit east and north."""
    unit_z: float
    """Metres of one unit up."""
    point_format: int = 6
    """As LAS numbers it; below 6, the standard's classes end at 31."""


@dataclass(frozen=True)
class Points:
    """Some points of a cloud, those that the scanner's operator withheld left out."""

    x: np.ndarray
    """(N,) float64 in units of the CRS, as y."""
    y: np.ndarray
    z: np.ndarray
    """(N,) float64 in metres."""
    codes: np.ndarray
    """(N,) uint8: classes."""
    intensity: np.ndarray
    """(N,) uint16."""
    returns: np.ndarray
    """(N,) uint8: how many returns the pulse of the point had."""
    number: np.ndarray
    """(N,) uint8: which of these it is, from 1."""
    place: np.ndarray
    """(N,) int64: which point of the file it is, from 0."""

    def __len__(self) -> int:
        return len(self.x)


def find_clouds(spec: Any, crs: str | None = None, *, key: str = "height.crs") -> list[Cloud]:
    """Clouds named by a folder, glob, file or list. crs: of those that do not say theirs.

    key: what a user sets that by.

    Raises: InputError with the faults of all files: no CRS, degrees, no points, damaged …
    """
    if find_spec("laspy") is None or find_spec("lazrs") is None:
        raise InputError(
            "points: laspy and lazrs, which read LAS and LAZ, are not installed;"
            " pip install 'geoseg[lidar]'"
        )
    faults = Faults()
    clouds: list[Cloud] = []
    same: dict[tuple[Any, ...], str] = {}
    for path in find_files(spec, SUFFIXES, "point clouds"):
        with faults.collect():
            cloud = _read_header(path, crs, key)
            clouds.append(cloud)
            first = same.setdefault((cloud.count, cloud.bounds, cloud.crs), path)
            if first != path:
                raise InputError(
                    f"{path}: has as many points as {first}, within the same bounds; a copy, whose"
                    " points would count twice? Leave one of them out"
                )
    faults.raise_if_any()
    return clouds


def understood(clouds: Sequence[Cloud], given: str | None, *, key: str = "height.crs") -> list[str]:
    """What is to be said of how the coordinates of clouds were taken, one sentence each.

    given: CRS of those that do not say theirs, as `find_clouds` was told.
    """
    notes = []
    for unit in sorted({cloud.unit_z for cloud in clouds} - {1.0}):
        mine = [cloud.path for cloud in clouds if cloud.unit_z == unit]
        notes.append(f"{few(mine, 3)}: heights taken to be in units of {unit:.7g} m")
    if given is not None:
        wanted = _parts(pyproj.CRS.from_user_input(given))[0].to_wkt()
        others = [cloud.path for cloud in clouds if not same_crs(cloud.crs, wanted)]
        if others:
            notes.append(
                f"{few(others, 3)}: say another CRS than {key}={given}, and their own counts; if it"
                " is wrong, write the right one into the files (las2las -epsg …, PDAL"
                " writers.las a_srs)"
            )
    return notes


def _read_header(path: str, crs: str | None, key: str) -> Cloud:
    header = _opened(path)
    said = _crs_of(path, header, crs, key)
    if not header.point_count:
        raise InputError(f"{path}: has no points; leave it out")
    numbers = (*header.mins[:2], *header.maxs[:2])
    left, bottom, right, top = map(float, numbers)
    if not np.isfinite(numbers).all() or right < left or top < bottom:
        raise InputError(f"{path}: its header says no sensible bounds ({numbers}); {AGAIN}")
    across, up = _parts(said)
    return Cloud(
        path, int(header.point_count), (left, bottom, right, top), across.to_wkt(),
        across.axis_info[0].unit_conversion_factor, _unit_up(header, said, up),
        int(header.point_format.id),
    )  # fmt: skip


def _opened(path: str) -> Any:
    """The header of a file. Raises: InputError if it isn't a point cloud."""
    import laspy

    try:
        with laspy.open(path) as file:
            return file.header
    except Exception as error:  # of laspy, of lazrs, of struct: whatever a damaged header brings
        raise InputError(
            f"{path}: can't be opened as a point cloud ({_cause(error)}); expected LAS or LAZ:"
            " is it cut short?"
        ) from None


def _crs_of(path: str, header: Any, given: str | None, key: str) -> pyproj.CRS:
    """Raises: InputError if there is none, or it is in degrees."""
    try:
        found = header.parse_crs()
    except (CRSError, ValueError, TypeError, KeyError, IndexError, RuntimeError):
        found = None  # one that nobody understands tells nothing
    if found is None and given is None:
        raise InputError(
            f"{path}: no CRS (coordinate reference system) that can be read; set {key}=EPSG:…,"
            " that of its coordinates"
        )
    if found is None:
        try:
            found = pyproj.CRS.from_user_input(given)
        except CRSError as error:
            raise InputError(f"{key}={given}: no CRS that is known ({error})") from None
    if _parts(found)[0].is_geographic or _parts(found)[0].is_geocentric:
        raise InputError(
            f"{path}: coordinates in degrees or from the Earth's centre ({found.name}); reproject"
            " it to a CRS in metres first"
        )
    return found


def _parts(crs: pyproj.CRS) -> tuple[pyproj.CRS, pyproj.CRS]:
    """The horizontal and the vertical part of a CRS; the same one if it is not made of two."""
    parts = crs.sub_crs_list if crs.is_compound else [crs]
    across, up = (_unbound(part) for part in (parts[0], parts[-1]))
    return across, up


def _unit_up(header: Any, crs: pyproj.CRS, up: pyproj.CRS) -> float:
    """Metres of one unit up: by the CRS, else by keys that laspy passes over, else as across."""
    told = {} if crs.is_compound else {
        int(key.id): int(key.value_offset)
        for directory in header.vlrs.get("GeoKeyDirectoryVlr")
        for key in directory.geo_keys
    }  # fmt: skip
    if told.get(VERTICAL_UNIT) in UNITS:
        return UNITS[told[VERTICAL_UNIT]]
    if VERTICAL_CRS in told:
        with suppress(CRSError):  # a datum or a number of somebody's own
            found = pyproj.CRS.from_epsg(told[VERTICAL_CRS])
            if found.is_vertical:
                up = found
    return float(up.axis_info[-1].unit_conversion_factor)


def _unbound(crs: pyproj.CRS) -> pyproj.CRS:
    """Without a way to another CRS that is bound to it."""
    return crs.source_crs if crs.is_bound and crs.source_crs is not None else crs


def read(cloud: Cloud) -> Iterator[Points]:
    """All points of a cloud, CHUNK at a time.

    Raises: InputError if it is damaged, cut short, or holds points where it says that none are.
    """
    import laspy

    found = 0
    try:
        with laspy.open(cloud.path) as file:
            for chunk in file.chunk_iterator(CHUNK):
                yield _points(cloud, chunk, found)
                found += len(chunk)
    except InputError:
        raise
    except Exception as error:  # as of `_opened`
        raise InputError(
            f"{cloud.path}: can't be read after {found} of {cloud.count} points"
            f" ({_cause(error)}); {AGAIN}"
        ) from None
    if found != cloud.count:
        raise InputError(
            f"{cloud.path}: holds {found} of the {cloud.count} points that it says; {AGAIN}"
        )


def _points(cloud: Cloud, chunk: Any, first: int) -> Points:
    """first: number of the chunk's first point in the file."""
    x, y = np.asarray(chunk.x, float), np.asarray(chunk.y, float)
    left, bottom, right, top = cloud.bounds
    stray = (x < left - STRAY) | (x > right + STRAY) | (y < bottom - STRAY) | (y > top + STRAY)
    if stray.any():
        raise InputError(
            f"{cloud.path}: holds points outside the bounds that its header says"
            f" ({x[stray][0]:.2f}, {y[stray][0]:.2f}); {AGAIN}, or have the header written anew"
        )
    kept = ~np.asarray(chunk.withheld, bool)
    values = (
        x, y, np.asarray(chunk.z, float) * cloud.unit_z, np.asarray(chunk.classification),
        np.asarray(chunk.intensity), np.asarray(chunk.number_of_returns),
        np.asarray(chunk.return_number), np.arange(first, first + len(x)),
    )  # fmt: skip
    return Points(*(part[kept] for part in values))


def write_codes(cloud: Cloud, path: Path, codes: np.ndarray, *, classes: bool = False) -> None:
    """Copy a cloud to a LAZ file, with a code of each point (N,) uint8 as LANDCOVER.

    classes: whether the codes take the place of the standard's classes as well.
    Raises: InputError if the cloud is damaged, or the disk is full.
    """
    import laspy
    from laspy.vlrs.vlrlist import VLRList

    begin = 0
    with replacing(path) as temporary, laspy.open(cloud.path) as file, temporary.open("wb") as out:
        header = copy.deepcopy(file.header)
        # Neither the order of a COPC's points nor the pages that tell it are carried over.
        header.vlrs = VLRList([vlr for vlr in header.vlrs if vlr.user_id != "copc"])
        header.evlrs = None
        if header.parse_crs() is None:
            header.add_crs(pyproj.CRS.from_wkt(cloud.crs))
        if LANDCOVER not in header.point_format.dimension_names:
            header.add_extra_dim(laspy.ExtraBytesParams(LANDCOVER, "uint8", "class of geoseg"))
        with laspy.open(out, "w", header=header, do_compress=True, closefd=False) as writer:
            for chunk in file.chunk_iterator(CHUNK):
                points = laspy.ScaleAwarePointRecord.zeros(len(chunk), header=header)
                points.copy_fields_from(chunk)
                mine = codes[begin : begin + len(chunk)]
                points[LANDCOVER] = mine
                if classes:
                    points.classification = mine
                writer.write_points(points)
                begin += len(chunk)


def _cause(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].removesuffix(".")
