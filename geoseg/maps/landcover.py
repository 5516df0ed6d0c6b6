"""Read and write class maps whose tags carry the legend."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from geoseg import __version__
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import NODATA, TAG, Legend
from geoseg.geo.raster import RasterInfo
from geoseg.maps.cog import write as cog
from geoseg.maps.cog.write import RUNNING, Running, Tally
from geoseg.outputs.counted import counted
from geoseg.outputs.files import parse_json, replacing

LEGEND_TAG = TAG
MODEL_TAG = "GEOSEG_MODEL"
VERSION_TAG = "GEOSEG_VERSION"
MAPS_TAG = "GEOSEG_MAPS"
"""Of a mosaic: the folder of its maps, relative to it; evaluate finds the scenes by it."""
UNDECIDED_TAG = "GEOSEG_UNDECIDED"
"""Of a map with code 255 where there is no decision: by what. In others 255 means nothing."""
IN_DOUBT = (
    "it counts as no decision (if there is no data, declare that: gdal_edit.py -a_nodata 255 FILE)"
)
"""What is to be said of 255 in a map that does not say what it means."""
AS_BYTES = "gdalwarp -ot Byte -dstnodata 0 IN.tif OUT.tif"
"""Makes class codes of another type bytes, with 0 where there is no data."""


def tags(legend: Legend, model: str | None, *, undecided: str = "") -> dict[str, str]:
    """TIFF tags of a map: legend, hash of the model's weights (None = of no model), version of
    geoseg.

    undecided: by what pixels are left without decision; "" = none is.
    """
    found = {LEGEND_TAG: json.dumps(legend.to_dict(), ensure_ascii=False)}
    if model is not None:
        found[MODEL_TAG] = model
    found[VERSION_TAG] = __version__
    return found | ({UNDECIDED_TAG: undecided} if undecided else {})


def side_files(path: str | Path) -> tuple[Path, Path]:
    """Where the class names (for GDAL) and the style (for QGIS) of a map lie: beside it."""
    path = Path(path)
    return path.with_name(f"{path.name}.aux.xml"), path.with_suffix(".qml")


def write_side_files(path: str | Path, legend: Legend, *, undecided: bool = False) -> None:
    """Write class names and style beside a map. Raises: InputError if that can't be written.

    undecided: whether pixels may be without decision.
    """
    texts = legend.aux_xml(undecided=undecided), legend.qml(undecided=undecided)
    for beside, text in zip(side_files(path), texts, strict=True):
        with replacing(beside) as temporary:
            temporary.write_text(text, encoding="utf-8")


def write(
    path: str | Path,
    grid: Grid,
    legend: Legend,
    read: cog.Read,
    *,
    tags: dict[str, str] | None = None,
    running: Running = RUNNING,
) -> Tally:
    """Write class codes into a Cloud Optimized GeoTIFF with its side files.

    read: codes of a window; see `cog.write`.
    Returns: what was written of each code.
    Raises: InputError if the folder can't be written or the disk is full; what `read` raises.
    """
    template = raster.header(grid, nodata=NODATA, colors=legend.colors(), tags=tags)
    tally = cog.write(path, grid, read, template=template, running=running)
    write_side_files(path, legend, undecided=UNDECIDED_TAG in (tags or {}))
    return tally


def write_then(
    path: str | Path,
    grid: Grid,
    read: cog.Read,
    describe: Callable[[], tuple[Legend, dict[str, str]]],
    *,
    running: Running = RUNNING,
) -> Tally:
    """As `write`, for codes whose meaning is known only when all are there.

    describe: gives legend and tags; called once, after the last `read`.
    """
    told: list[tuple[Legend, dict[str, str]]] = []

    def template() -> bytes:
        told.append(describe())
        legend, tags = told[0]
        return raster.header(grid, nodata=NODATA, colors=legend.colors(), tags=tags)

    tally = cog.write(path, grid, read, template=template, running=running)
    legend, tags = told[0]
    write_side_files(path, legend, undecided=UNDECIDED_TAG in tags)
    return tally


def finish(path: str | Path, legend: Legend) -> None:
    """Do what a run did not come to that was killed after the map was whole.

    Raises: InputError if the side files can't be written.
    """
    complete(path, legend)
    cog.unfinished(path).unlink(missing_ok=True)


def complete(path: str | Path, legend: Legend) -> None:
    """Write the side files of a map again, if one is gone or empty.

    What else is in them may be of QGIS, which adds to them. Raises: InputError.
    """
    if not all(beside.is_file() and beside.stat().st_size for beside in side_files(path)):
        write_side_files(path, legend, undecided=UNDECIDED_TAG in raster.tags(path))


@dataclass(frozen=True)
class ClassMap:
    """A map's header."""

    path: str
    grid: Grid
    legend: Legend
    tags: dict[str, str]
    nodata: int = NODATA
    """Code that means nodata beside 0, as a map of another program may declare it."""

    def plain(self, codes: np.ndarray) -> np.ndarray:
        """Codes (…) uint8 of the file, with 0 for all that means nodata."""
        if self.nodata == NODATA:
            return codes
        return np.where(codes == self.nodata, np.uint8(NODATA), codes)

    @property
    def leaves_open(self) -> bool:
        """Whether code 255 means that there was no decision."""
        return UNDECIDED_TAG in self.tags

    @property
    def doubt(self) -> str:
        """What is to be said where pixels of 255 count as no decision; "" where the map says so."""
        if self.leaves_open:
            return ""
        return f"{self.path}: holds code 255 and does not say what it means; {IN_DOUBT}"

    @classmethod
    def read(cls, path: str | Path, legend: Legend | None = None) -> ClassMap:
        """Read the header; `legend` takes the place of the one in the tags.

        Raises: InputError if it isn't a raster of class codes, or nobody says what they mean.
        """
        facts = raster.info(path)
        if facts.grid is None:
            raise InputError(str(facts.problem))
        if facts.dtype != "uint8" or len(facts.bands) != 1:
            count = len(facts.bands)
            remedy = f"; if it holds codes of 1 to 254: {AS_BYTES}" * (count == 1)
            raise InputError(
                f"{path}: {counted(count, 'band')} of {facts.dtype}, not a map; expected"
                " one band of uint8 class codes, as geoseg.predict and geoseg.mosaic write it"
                f"{remedy}"
            )
        found = facts.tags
        if legend is None:
            if LEGEND_TAG not in found:
                raise InputError(
                    f"{path}: no tag {LEGEND_TAG}, so nobody knows what its codes mean; give a map"
                    " of geoseg.predict or geoseg.mosaic, or (to geoseg.evaluate, geoseg.compare,"
                    " geoseg.sample, geoseg.assess) legend.path=<file with its classes>"
                )
            legend = parse_legend(found[LEGEND_TAG], f"{path}, tag {LEGEND_TAG}")
        return cls(str(path), facts.grid, legend, found, _nodata(facts, legend))


def _nodata(facts: RasterInfo, legend: Legend) -> int:
    """The code that means nodata. Raises: InputError if a mask says it, or it is that of a class.

    Codes are read without a mask, which would take as long as reading them.
    """
    remedy = "write nodata as code 0: gdalwarp -dstnodata 0 IN.tif OUT.tif"
    if facts.mask_band:
        raise InputError(
            f"{facts.path}: says by an alpha band or a mask where it has no data, which is not read"
            f" in maps; {remedy}"
        )
    for c in legend.classes:
        if c.code == facts.nodata:
            raise InputError(
                f"{facts.path}: declares {c.code} as nodata, which is the code of {c.name} in the"
                " legend; if it is that class, take the declaration away (gdal_edit.py"
                f" -unsetnodata FILE); else give the right legend, or {remedy}"
            )
    declared = facts.nodata
    whole = declared is not None and declared % 1 == 0 and 0 <= declared <= 255
    return int(declared) if whole and declared is not None else NODATA


def parse_legend(text: str, source: str) -> Legend:
    """Legend in a tag. Raises: InputError."""
    try:
        return _legend(text)
    except InputError:
        return Legend.from_dict(parse_json(text), source)  # raises, and says where
    except (ValueError, AttributeError) as error:
        raise InputError(f"{source}: damaged ({error}); make the map anew") from None


@lru_cache(maxsize=16)
def _legend(text: str) -> Legend:
    """A thousand maps have one."""
    return Legend.from_dict(parse_json(text))
