"""Vector layers on disk: open, scan once, read by bounds. The door to pyogrio."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from geoseg import offline
from geoseg.errors import Faults, InputError
from geoseg.extent import Bounds
from geoseg.labels import formats

SUFFIXES = (".gpkg", ".shp", ".geojson", ".fgb", ".gml", ".kml", ".sqlite")
"""File names that count as vector files when a folder is searched."""
CHUNK = 100_000
"""Features held at once while a layer is scanned."""
KEEP = 256 * 2**20
"""Bytes of geometry up to which layers without a spatial index are kept in memory."""


@dataclass(frozen=True)
class Features:
    """Some features of a layer."""

    geometries: np.ndarray
    """(N,) shapely geometries in the layer's CRS; None where there is none or it can't be read."""
    columns: dict[str, np.ndarray]
    """(N,) values of each attribute that was asked for."""

    def take(self, index: np.ndarray) -> Features:
        return Features(
            self.geometries[index], {name: values[index] for name, values in self.columns.items()}
        )


class Layer:
    """One layer of a vector file, read by bounds and never whole if it has a spatial index.

    GeoPackage and FlatGeobuf bring an index. Others (GeoJSON, a Shapefile without .qix) are read
    once and kept, if their geometry is small enough.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        where: str | None = None,
        columns: tuple[str, ...] = (),
        prefix: str = "labels.",
        keep: int = KEEP,
    ) -> None:
        """Open a layer; `columns` are the attributes that `scan` and `read` return.

        where: OGR SQL condition. prefix: how the names of the settings begin in messages.
        keep: bytes of geometry that may be kept.
        Raises: InputError if file, layer or attribute is missing, or the layer has no CRS.
        """
        self.path = str(path)
        self._where, self._keep = where, keep
        self._columns = list(dict.fromkeys(columns))
        self.name = _choose_layer(self.path, name, f"{prefix}layer")
        facts = self._ask("read_info", layer=self.name)
        fields = [str(field) for field in facts["fields"]]
        faults = Faults()
        for column in self._columns:
            if column not in fields:
                faults.add(f"{self.path}: no attribute {column!r}; {_offer(column, fields)}")
        if not facts["crs"]:
            faults.add(
                f"{self.path}: no CRS (coordinate reference system);"
                " assign the right one: ogr2ogr -a_srs EPSG:… NEW.gpkg FILE"
            )
        faults.raise_if_any()
        self.crs = str(facts["crs"])
        self.driver = str(facts["driver"])
        self.indexed = bool(facts["capabilities"]["fast_spatial_filter"])
        self._size = 0
        self._kept: Features | None = None
        self._tree: shapely.STRtree | None = None

    def scan(self) -> Iterator[Features]:
        """All features in one pass, chunk by chunk; keeps them if the layer has no index."""
        kept: list[Features] = []
        self._size = start = 0
        while True:
            features, bytes_ = self._read(skip_features=start, max_features=CHUNK)
            self._size += bytes_
            if not self.indexed and self._size <= self._keep:
                kept.append(features)
            else:
                kept.clear()
            if len(features.geometries) or not start:
                yield features
            if len(features.geometries) < CHUNK:
                break
            start += CHUNK
        if kept:
            self._kept = Features(
                np.concatenate([part.geometries for part in kept]),
                {
                    name: np.concatenate([part.columns[name] for part in kept])
                    for name in self._columns
                },
            )
            self._tree = shapely.STRtree(self._kept.geometries)

    @property
    def is_slow(self) -> bool:
        """Whether each read searches a large file, as it has no index."""
        return not self.indexed and self._kept is None and self._size > KEEP // 10

    def read(self, bounds: Bounds) -> Features:
        """Features whose bounds touch `bounds` (left, bottom, right, top in the layer's CRS)."""
        if self._kept is not None and self._tree is not None:
            found = self._tree.query(shapely.box(*bounds))
            return self._kept.take(np.sort(found))
        return self._read(bbox=bounds)[0]

    def _read(self, **options: Any) -> tuple[Features, int]:
        """Features and the size of their geometry in bytes."""
        meta, _, wkb, values = self._ask(
            "read",
            layer=self.name,
            where=self._where,
            columns=self._columns,
            force_2d=True,
            **options,
        )
        by_name = dict(zip(meta["fields"], values, strict=True))
        if wkb is None:
            wkb = np.full(len(values[0]) if values else 0, None, object)
        geometries = shapely.from_wkb(wkb, on_invalid="fix")
        size = sum(map(len, filter(None, wkb)))
        return Features(geometries, {name: by_name[name] for name in self._columns}), size

    def _ask(self, function: str, **options: Any) -> Any:
        # Imported late: it brings pandas, and nobody should wait for that to see --help.
        import pyogrio
        import pyogrio.raw

        call = pyogrio.read_info if function == "read_info" else pyogrio.raw.read
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of measures dropped, rings closed: no matter here
                return call(self.path, **options)
        except (ValueError, RuntimeError) as error:
            hint = f" (where: {self._where})" if self._where and "SQL" in str(error) else ""
            raise InputError(f"{self.path}: can't be read ({_cause(error)}){hint}") from None


def _choose_layer(path: str, name: str | None, key: str) -> str:
    """The name of the layer to read. Raises: InputError if it isn't there or none was chosen."""
    import pyogrio

    if not os.path.exists(path) and not path.startswith("/vsi"):
        raise InputError(f"{path}: no such file")
    offline.let(path)
    queries = formats.check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            listed = pyogrio.list_layers(path)
    except (ValueError, RuntimeError) as error:
        cause = _cause(error).removesuffix(".")
        raise InputError(
            f"{path}: can't be opened as a vector file ({cause}); expected GeoPackage,"
            " Shapefile, GeoJSON or FlatGeobuf: is it cut short or of another format?"
        ) from None
    layers = [str(layer) for layer, kind in listed if kind is not None and layer not in queries]
    if name in queries or (queries and not layers):
        raise InputError(
            f"{path}: {name or ', '.join(queries)[:200]} is a query of the database, not a table,"
            " and is not run; save what it gives: ogr2ogr -f GPKG NEW.gpkg FILE LAYER"
        )
    if not layers:
        tables = [str(layer) for layer, _ in listed]
        held = f"only tables ({', '.join(tables)})" if tables else "nothing"
        raise InputError(f"{path}: no layer with geometries in it, {held}")
    if name is None:
        if len(layers) > 1:
            raise InputError(f"{path}: {len(layers)} layers ({', '.join(layers)}); set {key}=…")
        return layers[0]
    if name not in layers:
        raise InputError(f"{path}: {key}={name} is not in it; {_offer(name, layers)}")
    return name


def _offer(wanted: str, names: list[str]) -> str:
    """What there is instead, the likeliest first."""
    if not names:
        return "it has none"
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wanted.lower(), list(lower), n=1)
    hint = f"did you mean {lower[near[0]]!r}? " if near else ""
    return f"{hint}it has {', '.join(names)}"


def _cause(error: BaseException) -> str:
    return " ".join(str(error).split())
