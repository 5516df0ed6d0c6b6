"""Write vector layers batch by batch, so that no layer has to fit in memory.

GeoPackage and FlatGeobuf through GDAL, GeoParquet 1.1 through Arrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from geoseg.errors import InputError
from geoseg.outputs.files import partial, unwritable

DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".parquet": "Parquet"}
"""By suffix."""
GEOMETRY = "geometry"
WRITTEN = "1970-01-01T00:00:00.000Z"
"""Time in a GeoPackage: always the same, so that the file is."""


@dataclass(frozen=True)
class LayerKind:
    """What a layer holds."""

    name: str
    geometry: str
    """Polygon or LineString."""
    columns: Mapping[str, str]
    """Name → Arrow type (int32, int64, float64, string)."""
    crs: str


@dataclass(frozen=True)
class Features:
    """Some features of a layer, as they are written."""

    table: Any
    """Arrow record batch of all columns, geometries as WKB."""
    bounds: list[float]
    """Of the geometries: least x and y, largest x and y."""

    @classmethod
    def of(cls, kind: LayerKind, geometries: np.ndarray, columns: Mapping[str, Any]) -> Features:
        """geometries: (N,). columns: (N,) values of each."""
        import pyarrow

        fields = schema(kind)
        arrays = [
            pyarrow.array(columns[f.name], type=f.type, from_pandas=True) for f in list(fields)[:-1]
        ]
        wkb = pyarrow.array(shapely.to_wkb(geometries, flavor="iso"), type=pyarrow.binary())
        table = pyarrow.RecordBatch.from_arrays([*arrays, wkb], schema=fields)
        return cls(table, shapely.total_bounds(geometries).tolist())

    @classmethod
    def unpacked(cls, content: bytes, bounds: list[float]) -> Features:
        """What was packed."""
        import pyarrow

        with pyarrow.ipc.open_stream(content) as reader:
            return cls(reader.read_next_batch(), bounds)

    def packed(self) -> bytes:
        """The table, compressed."""
        import pyarrow

        sink = pyarrow.BufferOutputStream()
        options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
        with pyarrow.ipc.new_stream(sink, self.table.schema, options=options) as writer:
            writer.write_batch(self.table)
        return bytes(sink.getvalue())

    def values(self, column: str) -> np.ndarray:
        """Numbers (N,) of a column."""
        return np.asarray(self.table.column(column).to_numpy(zero_copy_only=False))


def check_suffix(path: Path) -> str:
    """The driver for a file's name. Raises: InputError if there is none."""
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise InputError(
            f"out={path}: must end in {', '.join(DRIVERS)}: GeoPackage, FlatGeobuf or GeoParquet"
        )
    return driver


def growing(path: Path) -> Path:
    """The name under which a file grows; drivers want its ending."""
    return partial(path).with_suffix(path.suffix)


def write_stream(temporary: Path, kind: LayerKind, features: Iterable[Features]) -> int:
    """Write a layer to a file, or add it to a GeoPackage.

    Returns: how many features it has. Raises: InputError if it can't be written; what
    `features` raises.
    """
    import pyarrow

    stream = _Stream(features, schema(kind))
    driver = check_suffix(temporary)
    try:
        if driver == "Parquet":
            _write_parquet(temporary, kind, stream)
        else:
            reader = pyarrow.RecordBatchReader.from_batches(stream.schema, iter(stream))
            _write_gdal(temporary, kind, reader, driver)
    except (RuntimeError, OSError, pyarrow.ArrowException) as error:
        if stream.fault is not None:
            raise stream.fault from None
        raise unwritable(temporary, " ".join(str(error).split())) from None
    if stream.fault is not None:
        raise stream.fault
    return stream.count


def schema(kind: LayerKind) -> Any:
    import pyarrow

    fields = [(name, pyarrow.type_for_alias(text)) for name, text in kind.columns.items()]
    return pyarrow.schema([*fields, (GEOMETRY, pyarrow.binary())])


class _Stream:
    """Record batches of a layer; keeps the fault that ends them, which Arrow would reword."""

    def __init__(self, features: Iterable[Features], schema: Any) -> None:
        self.features, self.schema = features, schema
        self.count = 0
        self.bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self.fault: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            for part in self.features:
                self.count += part.table.num_rows
                self.bounds[:2] = np.fmin(self.bounds[:2], part.bounds[:2])
                self.bounds[2:] = np.fmax(self.bounds[2:], part.bounds[2:])
                yield part.table
        except BaseException as error:
            self.fault = error
            raise


def _write_gdal(path: Path, kind: LayerKind, reader: Any, driver: str) -> None:
    import pyogrio

    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": WRITTEN})
    try:
        pyogrio.write_arrow(
            reader,
            path,
            layer=kind.name,
            driver=driver,
            geometry_name=GEOMETRY,
            geometry_type=kind.geometry,
            crs=kind.crs,
        )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _write_parquet(path: Path, kind: LayerKind, stream: _Stream) -> None:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(path, stream.schema, compression="zstd") as writer:
        for batch in stream:
            writer.write_batch(batch)
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": [kind.geometry],
            "crs": pyproj.CRS.from_user_input(kind.crs).to_json_dict(),
        }
        if stream.count:
            column["bbox"] = stream.bounds.tolist()
        geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
        writer.add_key_value_metadata({"geo": json.dumps(geo)})
