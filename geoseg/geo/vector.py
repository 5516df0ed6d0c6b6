"""Read and write vector layers; the only door to pyogrio."""

from __future__ import annotations

import codecs
import difflib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.errors import Faults, InputError
from geoseg.geo import geoparquet, vector_formats
from geoseg.geo.extent import Bounds, is_local
from geoseg.outputs.counted import few
from geoseg.outputs.files import partial, put, unwritable
from geoseg.received import offline

SUFFIXES = (
    *(".gpkg", ".shp", ".geojson", ".fgb", ".gml", ".kml", ".sqlite"),
    *(".parquet", ".geoparquet"),
)
"""File names that count as vector files when a folder is searched."""
CHUNK = 100_000
"""Features held at once while a layer is scanned."""
EXACT = 2.0**53
"""From which on floats do not tell whole numbers apart."""
SHAPE_NAME = 10
"""Letters that a Shapefile keeps of an attribute's name."""
KEEP = 256 * 2**20
"""Bytes of geometry up to which layers without a spatial index are kept in memory."""
LABELS = "labels."
HAVE_LAYER = (LABELS, "parcels_")
"""How the settings begin by which a layer is chosen: labels.layer, labels.area_layer,
parcels_layer."""
NAMED = 8
"""Layers that a message names."""


@dataclass(frozen=True)
class Features:
    """Some features of a layer."""

    geometries: np.ndarray
    """(N,) shapely geometries in the layer's CRS; None where there is none or it can't be read."""
    columns: dict[str, np.ndarray]
    """(N,) values of each attribute that was asked for."""
    ids: np.ndarray
    """(N,) numbers that the file gives its features (FID), or their places from 0."""

    def take(self, index: np.ndarray) -> Features:
        columns = {name: values[index] for name, values in self.columns.items()}
        return Features(self.geometries[index], columns, self.ids[index])

    @classmethod
    def joined(cls, parts: list[Features]) -> Features:
        """The features of all parts, one after the other."""
        columns = {
            name: np.concatenate([part.columns[name] for part in parts])
            for name in parts[0].columns
        }
        geometries = np.concatenate([part.geometries for part in parts])
        return cls(geometries, columns, np.concatenate([part.ids for part in parts]))


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
        prefix: str = LABELS,
        encoding: str | None = None,
    ) -> None:
        """Open a layer; `columns` are the attributes that `scan` and `read` return.

        where: OGR SQL condition. prefix: how the names of the settings begin in messages.
        encoding: of the attributes; None = as the file says.
        Raises: InputError if file, layer or attribute is missing, or the layer has no CRS.
        """
        self.path = str(path)
        self._where, self.encoding, self._prefix = where, encoding, prefix
        self._parquet: geoparquet.GeoParquet | None = None
        _check_encoding(encoding)
        if self.path.lower().endswith(geoparquet.SUFFIXES):
            facts = self._open_parquet(name, prefix)
        else:
            self.name = _choose_layer(self.path, name, prefix)
            facts = self._ask("read_info", layer=self.name, encoding=encoding)
        self.fields = [str(field) for field in facts["fields"]]
        """Names of all its attributes."""
        kinds = zip(self.fields, facts.get("dtypes", ()), strict=False)
        self._whole = {name for name, kind in kinds if str(kind) in ("int64", "uint64")}
        faults = Faults()
        self._columns: dict[str, str] = {}
        """Attributes that were asked for → their names in the file."""
        for column in columns:
            found = geoparquet.find_field(column, self.fields)
            if found is None:
                faults.add(f"{self.path}: no attribute {column!r}; {self._offer(column)}")
            else:
                self._columns[column] = found
        faults.attempt(_check_crs, self.path, facts["crs"])
        faults.raise_if_any()
        self.crs = str(facts["crs"])
        self.driver = str(facts["driver"])
        self.indexed = bool(facts["capabilities"]["fast_spatial_filter"])
        self._size = 0
        self._kept: Features | None = None
        self._tree: shapely.STRtree | None = None

    def _open_parquet(self, name: str | None, prefix: str) -> dict[str, Any]:
        """Raises: InputError for what is only for layers that OGR reads."""
        self._parquet = geoparquet.GeoParquet(self.path)
        self.name = Path(self.path).stem
        faults = Faults()
        for key, value in (("layer", name), ("where", self._where), ("encoding", self.encoding)):
            if value not in (None, self.name):
                faults.add(
                    f"{prefix}{key}={value}: not for GeoParquet ({self.path}); leave it out, or"
                    " make a GeoPackage of it"
                )
        faults.raise_if_any()
        return {
            "fields": self._parquet.fields,
            "crs": self._parquet.crs,
            "driver": "GeoParquet",
            "capabilities": {"fast_spatial_filter": False},
        }

    def _offer(self, column: str) -> str:
        """What attributes there are instead, and why a long name is not among them."""
        short = column[:SHAPE_NAME]
        if self.path.lower().endswith((".shp", ".dbf")) and short in self.fields:
            return (
                f"a Shapefile cuts names to {SHAPE_NAME} letters: it has {short!r}, which is"
                " probably meant"
            )
        return _offer(column, self.fields)

    def scan(self, *, keep: int = KEEP) -> Iterator[Features]:
        """All features in one pass, chunk by chunk; keeps them if the layer has no index.

        keep: bytes of geometry that may be kept.
        """
        if self._parquet is not None:
            geometries, columns = self._parquet.read(list(self._columns.values()))
            named = {name: columns[own] for name, own in self._columns.items()}
            self._kept = Features(geometries, named, np.arange(len(geometries)))
            self._tree = shapely.STRtree(geometries)
            self._parquet = None  # its other columns are of no use
            yield self._kept
            return
        kept: list[Features] = []
        self._size = start = 0
        while True:
            features, bytes_ = self._read(skip_features=start, max_features=CHUNK)
            self._size += bytes_
            if not self.indexed and self._size <= keep:
                kept.append(features)
            else:
                kept.clear()
            if len(features.geometries) or not start:
                yield features
            if len(features.geometries) < CHUNK:
                break
            start += CHUNK
        if kept:
            self._kept = Features.joined(kept)
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
        meta, ids, wkb, values = self._ask(
            "read",
            layer=self.name,
            where=self._where,
            columns=list(dict.fromkeys(self._columns.values())),
            force_2d=True,
            return_fids=True,
            encoding=self.encoding,
            **options,
        )
        by_name = dict(zip(meta["fields"], values, strict=True))
        if wkb is None:
            wkb = np.full(len(ids), None, object)
        geometries = shapely.from_wkb(wkb, on_invalid="fix")
        for place in np.flatnonzero(shapely.is_missing(geometries)):
            flat = vector_formats.flattened(wkb[place])
            geometries[place] = shapely.from_wkb(flat, on_invalid="fix")
        size = sum(map(len, filter(None, wkb)))
        for name in self._whole & set(by_name):
            self._check_exact(name, by_name[name])
        columns = {name: by_name[own] for name, own in self._columns.items()}
        return Features(geometries, columns, np.asarray(ids)), size

    def _check_exact(self, name: str, values: np.ndarray) -> None:
        """Raises: InputError for whole numbers that come as others.

        An attribute with empty ones is read as floats, in which long numbers that differ are one.
        """
        if values.dtype.kind != "f" or not (np.abs(values) >= EXACT).any():
            return
        raise InputError(
            f"{self.path}: attribute {name} holds whole numbers of 16 digits and more besides"
            " features without any, and can't be read exactly so; fill these, or make it text"
        )

    def _ask(self, function: str, **options: Any) -> Any:
        # Imported late: it brings pandas, and nobody should wait for that to see --help.
        import pyogrio
        import pyogrio.raw

        call = pyogrio.read_info if function == "read_info" else pyogrio.raw.read
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of measures dropped, rings closed: no matter here
                return call(self.path, **options)
        except UnicodeDecodeError as error:
            remedy = "save it anew in UTF-8: ogr2ogr -oo ENCODING=CP1252 -f GPKG NEW.gpkg FILE"
            if self._prefix == LABELS:
                remedy = "set labels.encoding=<that of the file, say CP1252 or UTF-8>"
            raise InputError(
                f"{self.path}: its text is not {error.encoding}, as the file says; {remedy}"
            ) from None
        except (ValueError, RuntimeError) as error:
            hint = f" (where: {self._where})" if self._where and "SQL" in str(error) else ""
            raise InputError(f"{self.path}: can't be read ({_cause(error)}){hint}") from None


def _check_crs(path: str, crs: Any) -> None:
    """Raises: InputError if there is none, or one without a place on the Earth."""
    if not crs:
        raise InputError(
            f"{path}: no CRS (coordinate reference system);"
            " assign the right one: ogr2ogr -a_srs EPSG:… NEW.gpkg FILE"
        )
    if is_local(str(crs)):
        raise InputError(
            f"{path}: its CRS is a local one, of a drawing or an engineer, without a place"
            " on the Earth; assign that of its coordinates, if they have one:"
            " ogr2ogr -a_srs EPSG:… NEW.gpkg FILE"
        )


def _check_encoding(encoding: str | None) -> None:
    """Raises: InputError for an encoding that nobody knows."""
    if encoding is None:
        return
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise InputError(
            f"labels.encoding={encoding}: unknown; usual ones are UTF-8, CP1252, ISO-8859-1, CP1250"
        ) from None


def _choose_layer(path: str, name: str | None, prefix: str) -> str:
    """The name of the layer to read. Raises: InputError if it isn't there or none was chosen."""
    layers, _ = _layers(path, name)
    if name is None:
        if len(layers) > 1:
            remedy = "give a file with the one that is meant: ogr2ogr -f GPKG NEW.gpkg FILE LAYER"
            if prefix.startswith(HAVE_LAYER):
                remedy = f"set {prefix}layer=…"
            raise InputError(f"{path}: {len(layers)} layers ({few(layers, NAMED)}); {remedy}")
        return layers[0]
    if name not in layers:
        raise InputError(f"{path}: {prefix}layer={name} is not in it; {_offer(name, layers)}")
    return name


def _layers(path: str, name: str | None = None) -> tuple[list[str], list[str]]:
    """Layers with geometries, and queries of a database, which are none.

    name: of the layer that is wanted. Raises: InputError if it is a query, or there is no layer.
    """
    import pyogrio

    if not os.path.exists(path) and not path.startswith("/vsi"):
        raise InputError(f"{path}: no such file")
    offline.let(path)
    queries = vector_formats.check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            listed = pyogrio.list_layers(path)
    except (ValueError, RuntimeError) as error:
        # What GDAL advises then is of no use here: to name its driver.
        cause = _cause(error).partition("; It might help")[0].removesuffix(".")
        raise InputError(
            f"{path}: can't be opened as a vector file ({cause}); expected GeoPackage,"
            " Shapefile, GeoJSON, FlatGeobuf or GeoParquet: is it cut short or of another format?"
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
    return layers, queries


def layer_names(path: str) -> list[str]:
    """Layers of a vector file that have geometries. Raises: InputError if there is none."""
    if path.lower().endswith(geoparquet.SUFFIXES):
        return [Path(path).stem]
    return _layers(path)[0]


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


@dataclass(frozen=True)
class Table:
    """A layer to write."""

    columns: dict[str, Any]
    """Name → N values."""
    geometries: np.ndarray | None = None
    """(N,) shapely; None = a table without."""
    crs: str | None = None
    """Of the geometries."""
    kind: str | None = None
    """Of the geometries, as Point; None = as they are."""


def write_layer(
    path: Path,
    columns: dict[str, Any],
    *,
    layer: str,
    geometries: np.ndarray | None = None,
    crs: str | None = None,
) -> None:
    """Write a GeoPackage of one layer, whole or not at all, the same bytes each time.

    columns: name → N values. geometries: (N,) shapely, in `crs`; None = a table without.
    Raises: InputError if it can't be written.
    """
    write_layers(path, {layer: Table(columns, geometries, crs)})


def write_layers(
    path: Path, layers: dict[str, Table], *, last: Callable[[Path], None] | None = None
) -> None:
    """As `write_layer`, of several layers by name.

    last: what is to be done to the file before it gets its name, which is to write styles.
    """
    temporary = partial(path).with_suffix(".gpkg")  # the driver wants this ending
    temporary.unlink(missing_ok=True)
    try:
        for number, (layer, table) in enumerate(layers.items()):
            _write_table(temporary, layer, table, append=number > 0)
        if last is not None:
            last(temporary)
    except (RuntimeError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, " ".join(str(error).split())) from None
    except InputError:
        temporary.unlink(missing_ok=True)
        raise
    put(temporary, path)


def _write_table(path: Path, layer: str, table: Table, *, append: bool) -> None:
    import geopandas
    import pandas
    import pyogrio

    if table.geometries is None:
        frame: Any = pandas.DataFrame(table.columns)
    else:
        frame = geopandas.GeoDataFrame(table.columns, geometry=table.geometries, crs=table.crs)
    # Without this the file holds the time of writing, and no two runs give the same bytes.
    # It reaches the disk when it is whole: until then nobody need wait for the disk.
    options = {"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z", "OGR_SQLITE_SYNCHRONOUS": "OFF"}
    pyogrio.set_gdal_config_options(options)
    try:
        pyogrio.write_dataframe(
            frame, path, layer=layer, driver="GPKG", append=append, geometry_type=table.kind
        )
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(options))
