"""Read GeoParquet layers through GeoPandas where OGR cannot."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.geo.legend import composed

SUFFIXES = (".parquet", ".geoparquet", ".pq")


@dataclass(frozen=True)
class GeoParquet:
    """A GeoParquet file, read whole."""

    path: str

    @cached_property
    def _frame(self) -> Any:
        """Raises: InputError if it can't be read, or isn't GeoParquet."""
        import geopandas

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return geopandas.read_parquet(self.path)
        except FileNotFoundError:
            raise InputError(f"{self.path}: no such file") from None
        except (ValueError, OSError, KeyError, TypeError) as error:
            cause = " ".join(str(error).split())
            raise InputError(
                f"{self.path}: can't be read as GeoParquet ({cause}); expected geometries in WKB"
                " and the metadata `geo`: write it with GeoPandas, or make a GeoPackage of it"
            ) from None

    @property
    def fields(self) -> list[str]:
        """Names of its attributes."""
        frame = self._frame
        return [str(name) for name in frame.columns if frame[name].dtype.name != "geometry"]

    @property
    def crs(self) -> str | None:
        """As EPSG:… or WKT; longitude and latitude where the file says nothing, as the format has
        it; None where it says that there is none."""
        crs = self._frame.crs
        if crs is None:
            return None
        code = crs.to_epsg()
        return f"EPSG:{code}" if code else str(crs.to_wkt())

    def read(self, columns: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Geometries (N,) in two dimensions, and the (N,) values of attributes."""
        frame = self._frame
        geometries = shapely.force_2d(np.asarray(frame.geometry.values, object))
        return geometries, {name: _values(frame[name]) for name in columns}


def _values(column: Any) -> np.ndarray:
    """Plain numbers and days as they are; anything else as objects, None where there is nothing."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufbM":
        return np.asarray(column.to_numpy())
    values = column.astype(object)
    return np.asarray(values.where(column.notna(), None).to_numpy(), object)


def find_field(wanted: str, fields: list[str]) -> str | None:
    """The attribute of this name, in whichever form of Unicode; None if there is none."""
    if wanted in fields:
        return wanted
    return next((name for name in fields if composed(name) == composed(wanted)), None)
