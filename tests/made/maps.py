"""Made-up class maps."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from affine import Affine

from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.maps.landcover import ClassMap

LEGEND = Legend.parse(
    [
        {"code": 1, "name": "forest", "color": "#33a02c"},
        {"code": 2, "name": "field", "color": "#fdbf6f"},
        {"code": 5, "name": "building", "color": "#e31a1c"},
    ],
    "test",
)
UTM = Grid("EPSG:32632", Affine(10, 0, 500_000, 0, -10, 5_000_000), 1, 1)


def place(height: int, width: int) -> Grid:
    """A grid of 10 m pixels."""
    return Grid(UTM.crs, UTM.transform, height, width)


def truth(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Codes in patches: much forest, some field, few buildings."""
    random = np.random.default_rng(seed)
    coarse = random.choice([1, 2, 5], (-(-height // 8), -(-width // 8)), p=[0.7, 0.26, 0.04])
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8)


def mistaken(codes: np.ndarray, share: float, *, seed: int = 1) -> np.ndarray:
    """A map of it, in which a share of the pixels has a random class."""
    random = np.random.default_rng(seed)
    wrong = random.random(codes.shape) < share
    return np.where(wrong, random.choice(LEGEND.codes, codes.shape), codes).astype(np.uint8)


def write(path: Path, codes: np.ndarray, grid: Grid | None = None, legend=LEGEND) -> ClassMap:
    """A class map with its legend in the tags."""
    grid = grid or place(*codes.shape)
    tags = landcover.tags(legend, "0" * 16)
    with raster.create(
        path, grid, dtype="uint8", nodata=0, colors=legend.colors(), tags=tags
    ) as file:
        file.write(codes, grid.window)
    return ClassMap.read(path)


def interpret(sample: Path, values: dict[int, object], column: str = "reference") -> None:
    """Fill points of a sample by their id, as QGIS would."""
    with closing(sqlite3.connect(sample)) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'points'"
        for (name,) in database.execute(query).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')  # they call functions of GDAL
        pairs = [(value, number) for number, value in values.items()]
        database.executemany(f'UPDATE points SET "{column}" = ? WHERE id = ?', pairs)
