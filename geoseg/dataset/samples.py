"""Store and load data sets of samples: parcels or pixels with dated observations.

samples.gpkg         one row per sample: class, split, where its pixels lie; open it in QGIS
pixels/<tile>.npy    (P, T, C), the pixels of a sample one after the other; read memory-mapped
pixels/<tile>.days.npy   (T,), or (P, T) where each pixel has dates of its own
dataset.json         bands, legend, statistics of the train split, dates, settings
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg import __version__
from geoseg.dataset.tiles import DESCRIPTION, FILES, GROUND, ON_MAP, OTHERWISE
from geoseg.errors import InputError, shown
from geoseg.geo.band_tags import BandTags
from geoseg.geo.layer_styles import qml, write_styled
from geoseg.geo.legend import Legend
from geoseg.geo.vector import write_layer
from geoseg.outputs.files import read_json, replacing, write_json
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.received import sqlite_file
from geoseg.received.fields import check_types, plain_name
from geoseg.scenes.bands import BandStatistics

SAMPLES = "samples.gpkg"
PIXELS = "pixels"
PRODUCTS = (PIXELS, SAMPLES, DESCRIPTION)
UNITS = ("parcel", "pixel", "map")
SHAPE_FEATURES = ("perimeter_m", "area_m2", "ratio", "cover")
"""Perimeter, area, perimeter over area, share of the bounding box (Garnot et al. 2020)."""
_TEXT = ("id", "tile", "split", "class", "grp", "fold_by")
_NUMBERS = ("code", "first", "pixels", "x", "y", "clear")


@dataclass(frozen=True)
class Samples:
    """Labelled samples, one per row; all arrays have length N."""

    id: np.ndarray
    """Text, unique."""
    tile: np.ndarray
    """Text: names the arrays with its pixels."""
    split: np.ndarray
    """Text: train, val or test."""
    code: np.ndarray
    """Class code, int64."""
    first: np.ndarray
    """Row of its first pixel in the tile's array."""
    pixels: np.ndarray
    """Number of its pixels."""
    group: np.ndarray
    """Text: samples of one group are never divided between splits."""
    fold_by: np.ndarray
    """Text: value of the column that a region-, tile- or year-out split goes by."""
    x: np.ndarray
    """Of the centre, in the samples' CRS; NaN if unknown."""
    y: np.ndarray
    clear: np.ndarray
    """Mean number of clear dates of its pixels, float64."""
    shape: np.ndarray
    """(N, 4) SHAPE_FEATURES; 0 where it has no outline."""

    def __len__(self) -> int:
        return len(self.id)

    def take(self, index: np.ndarray) -> Samples:
        """The samples of an index or a mask."""
        return Samples(**{name: values[index] for name, values in vars(self).items()})

    def each_pixel(self) -> Samples:
        """A sample for each pixel, called as the one that it is of."""
        owner = np.repeat(np.arange(len(self)), self.pixels)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(self.pixels) - self.pixels, self.pixels)
        apart = self.take(owner)
        return replace(apart, first=apart.first + nth, pixels=np.ones_like(apart.pixels))


@dataclass(frozen=True)
class SeriesDataset:
    """A folder made by prepare_series for units parcel and pixel."""

    folder: Path
    unit: str
    """parcel: a sample is a parcel's pixels; pixel: each pixel is a sample."""
    bands: tuple[str, ...]
    dtype: str
    """Of the pixel arrays."""
    legend: Legend
    statistics: BandStatistics
    """Per band over the clear observations of the train split."""
    shape_mean: tuple[float, ...]
    """Of the logarithm of SHAPE_FEATURES over the train split."""
    shape_std: tuple[float, ...]
    reference: str
    """Month and day that days are counted from: "01-01"."""
    days: tuple[int, int]
    """First and last day of the observations of the train split."""
    pixel_size_m: float
    """0 for tables, which don't say."""
    crs: str | None
    """Of x, y and the geometries in samples.gpkg."""
    settings: dict[str, Any]
    """What prepare_series was told."""
    pixel_size_on: str = GROUND
    """Where the pixels were measured: on the ground, or, by older versions, on the map."""
    tags: tuple[BandTags, ...] = ()
    """What most files said of each band, and what all values were brought to."""

    def samples(self, split: str | None = None) -> Samples:
        """Samples of a split, or all, in a fixed order. Raises: InputError."""
        path = self.folder / SAMPLES
        columns = (*_TEXT, *_NUMBERS, *SHAPE_FEATURES)
        where, given = ('WHERE "split" = ?', (split,)) if split else ("", ())
        rows = sqlite_file.select(path, "samples", columns, where=where, given=given)
        return self._samples(rows, path)

    def _samples(self, rows: list[tuple[Any, ...]], path: Path) -> Samples:
        width = len(_TEXT) + len(_NUMBERS) + len(SHAPE_FEATURES)
        by = dict(
            zip(
                (*_TEXT, *_NUMBERS, *SHAPE_FEATURES),
                zip(*rows, strict=True) if rows else [()] * width,
                strict=True,
            )
        )
        text = {name: np.array(by[name], dtype=object) for name in _TEXT}
        for tile in set(by["tile"]):
            plain_name(tile, f"{path}, tile")
        try:
            return self._numbers(text, by)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{path}: can't be read ({error}); run geoseg.prepare_series again"
            ) from None

    @staticmethod
    def _numbers(text: dict[str, np.ndarray], by: dict[str, Any]) -> Samples:
        shape = np.array([by[name] for name in SHAPE_FEATURES], np.float64).T.reshape(-1, 4)
        return Samples(
            id=text["id"],
            tile=text["tile"],
            split=text["split"],
            code=np.array(by["code"], np.int64),
            first=np.array(by["first"], np.int64),
            pixels=np.array(by["pixels"], np.int64),
            group=text["grp"],
            fold_by=text["fold_by"],
            x=np.array(by["x"], np.float64),
            y=np.array(by["y"], np.float64),
            clear=np.array(by["clear"], np.float64),
            shape=shape,
        )

    def arrays(self, tile: str) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (P, T, C), memory-mapped, and days (T,) or (P, T) int16 of a tile.

        Raises: InputError if a file is gone or damaged.
        """
        return load_pixels(self.folder, tile)

    def save(self) -> None:
        """Write dataset.json; it comes last, and so says that the folder is whole."""
        write_json(
            self.folder / DESCRIPTION,
            {
                "version": __version__,
                "unit": self.unit,
                "bands": list(self.bands),
                "dtype": self.dtype,
                "legend": self.legend.to_dict(),
                "statistics": self.statistics.to_dict(),
                "shape_mean": list(self.shape_mean),
                "shape_std": list(self.shape_std),
                "reference": self.reference,
                "days": list(self.days),
                "pixel_size_m": self.pixel_size_m,
                "pixel_size_on": self.pixel_size_on,
                "crs": self.crs,
                "tags": [tags.to_dict() for tags in self.tags],
                "settings": self.settings,
                FILES: stamps(self.folder, self._files()),
            },
        )

    def _files(self) -> list[Path]:
        """What prepare_series has written here."""
        tiles = dict.fromkeys(self.samples().tile.tolist())
        arrays = [at(self.folder, tile) for tile in tiles for at in (pixels_path, days_path)]
        return [self.folder / SAMPLES, *arrays]

    @classmethod
    def load(cls, folder: str | Path) -> SeriesDataset:
        """Raises: InputError if this isn't a folder that prepare_series finished."""
        folder = Path(folder)
        values = read_json(folder / DESCRIPTION)
        if values.get("unit") not in ("parcel", "pixel"):
            raise InputError(
                f"{folder}: targets and windows, no samples of parcels or pixels; expected a folder"
                " of geoseg.prepare_series unit=parcel or unit=pixel"
            )
        try:
            found = cls(
                folder,
                values["unit"],
                tuple(values["bands"]),
                values["dtype"],
                Legend.from_dict(values["legend"]),
                BandStatistics.from_dict(values["statistics"]),
                tuple(values["shape_mean"]),
                tuple(values["shape_std"]),
                values["reference"],
                (values["days"][0], values["days"][1]),
                values["pixel_size_m"],
                values["crs"],
                values["settings"],
                values.get("pixel_size_on", ON_MAP),
                tuple(map(BandTags.from_dict, values.get("tags", ()))),
            )
            check_types(found, str(folder / DESCRIPTION))
            return found
        except OTHERWISE as error:
            raise InputError(
                f"{folder / DESCRIPTION}: not as geoseg {__version__} writes it"
                f" ({shown(error, 300)}); run geoseg.prepare_series again"
            ) from None


def unit_of(folder: str | Path) -> str | None:
    """The unit of a data set of prepare_series; None for one of prepare. Raises: InputError."""
    path = Path(folder) / DESCRIPTION
    return read_json(path).get("unit") if path.is_file() else None


def holds_samples(folder: str | Path) -> bool:
    """Whether a data set is one of parcels or pixels. Raises: InputError."""
    return unit_of(folder) in ("parcel", "pixel")


def load_pixels(folder: Path, tile: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (P, T, C), memory-mapped, and days (T,) or (P, T) of a tile. Raises: InputError."""
    paths = [pixels_path(folder, tile), days_path(folder, tile)]
    try:
        return np.load(paths[0], mmap_mode="r"), np.load(paths[1])
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{paths[0]}: can't be read ({error}); run geoseg.prepare_series again"
        ) from None


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an array, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)


def save_days(folder: Path, tile: str, days: np.ndarray) -> None:
    """Write the days of a tile."""
    save_array(days_path(folder, tile), days.astype(np.int16))


def pixels_path(folder: Path, tile: str) -> Path:
    return folder / PIXELS / f"{tile}.npy"


def days_path(folder: Path, tile: str) -> Path:
    return folder / PIXELS / f"{tile}.days.npy"


def write_samples(
    folder: Path,
    samples: Samples,
    legend: Legend,
    *,
    geometries: np.ndarray | None = None,
    crs: str | None = None,
) -> None:
    """Write samples.gpkg: the table that training reads and QGIS shows.

    geometries: (N,) shapely geometries in `crs`; None = a table without.
    """
    names = {c.code: c.name for c in legend.classes}
    columns: dict[str, Any] = {
        "id": samples.id,
        "tile": samples.tile,
        "split": samples.split,
        "class": [names[int(code)] for code in samples.code],
        "grp": samples.group,
        "fold_by": samples.fold_by,
        "code": samples.code,
        "first": samples.first,
        "pixels": samples.pixels,
        "x": samples.x,
        "y": samples.y,
        "clear": samples.clear,
    }
    columns |= {name: samples.shape[:, i] for i, name in enumerate(SHAPE_FEATURES)}
    path = folder / SAMPLES
    if geometries is None or crs is None:
        write_layer(path, columns, layer="samples", geometries=geometries, crs=crs)
        return
    points = bool(np.all(shapely.get_dimensions(geometries) == 0))
    style = qml(legend, points=points)
    write_styled(path, columns, geometries=geometries, crs=crs, style=style)


@dataclass
class Collected:
    """What a way into a series data set leaves: from stacks and parcels, or from a table."""

    samples: Samples
    """Their split is not decided yet: ""."""
    geometries: np.ndarray | None
    """(N,) shapely geometries."""
    crs: str | None
    """Of the geometries, x and y."""
    bands: tuple[str, ...]
    dtype: str
    """Of the pixel arrays."""
    reference: str
    """Month and day that days are counted from."""
    pixel_size_m: float
    tags: tuple[BandTags, ...] = ()
    """What most files said of each band, and what all values were brought to."""
    summary: Summary = field(default_factory=Summary)
    """Tables, notes and warnings of the audit."""
