"""A made-up series, its parcels and a network that knows them: shared by tests of prediction.

Two tiles side by side, three classes in cells of 10 × 10 pixels. A cell's parcel lies one pixel
inside it.
"""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import geopandas
import numpy as np
import shapely
import torch
from affine import Affine
from torch import nn

from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models.card import ModelCard, SeriesCard
from geoseg.models.settings import Model
from geoseg.outputs.summary import Summary
from geoseg.parcels.parcels import Parcels, read_parcels
from geoseg.parcels.predict import predict_parcels
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.series import SeriesImages
from geoseg.scenes.bands import Bands
from geoseg.series.settings import Series
from tests.made.scenes import LEGEND, plain

PATTERN = r"S2_(?P<tile>[a-z]+)_(?P<date>\d{8})"
CELL = 10
DATES = {"east": (5, 25, 60, 100), "west": (8, 31, 64, 107, 130)}
SHAPES = {"west": (300, 60), "east": (40, 50)}
"""Height and width; the first is higher than a block of a GeoTIFF."""
LEFT = {"west": 500_000, "east": 500_600}
GRIDS = {
    name: Grid("EPSG:32632", Affine(10, 0, LEFT[name], 0, -10, 5_000_000), *shape)
    for name, shape in SHAPES.items()
}

CARD = ModelCard(
    model=Model(name="ltae"),
    bands=("red", "nir"),
    statistics=plain(2, high=1000.0),
    dtype="uint16",
    nodata=None,
    extra={},
    pixel_size_m=10.0,
    legend=LEGEND,
    tiling=Tiling(32, 8),
    scores={},
    series=SeriesCard(
        unit="parcel",
        reference="01-01",
        first_day=0,
        last_day=130,
        fill="none",
        step=10,
        shape_mean=(5.0, 8.0, 0.05, 0.6),
        shape_std=(0.0, 0.0, 0.0, 0.0),
        min_clear=2,
        max_pixels=20,
    ),
)


class ByRed(nn.Module):
    """Class k where the mean of band 0 is nearest to 100 · (k + 1); halfway, it can't tell."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.register_buffer("values", 100.0 + 100 * torch.arange(classes).float())

    def forward(self, values, valid, days, shape):
        total = (values[..., 0] * valid).sum(dim=(1, 2))
        mean = total / valid.sum(dim=(1, 2)).clamp_min(1)
        return -(((mean[:, None] - self.values) / 30) ** 2)


def network(card: ModelCard = CARD, source: nn.Module | None = None) -> TrainedNetwork:
    return TrainedNetwork(card, "0" * 16, source or ByRed(), InferenceSettings("cpu", "32"))


def classes(tile: str) -> np.ndarray:
    """Index of the class of each cell, (rows, columns)."""
    height, width = SHAPES[tile]
    return np.add.outer(np.arange(height // CELL), np.arange(width // CELL)) % 3


def write_images(folder: Path, red: dict[str, np.ndarray] | None = None, **options) -> Path:
    """Images of both tiles; red: (rows, columns) by tile, or (dates, rows, columns); 0 = cloud."""
    for tile, grid in GRIDS.items():
        cells = (red or {}).get(tile, 100 * (classes(tile) + 1))
        cells = np.broadcast_to(cells, (len(DATES[tile]), *cells.shape[-2:]))
        for number, of in zip(DATES[tile], cells, strict=True):
            day = date(2021, 1, 1) + timedelta(number)
            image = of.repeat(CELL, axis=0).repeat(CELL, axis=1).astype("uint16")
            image = np.stack([image, np.where(image > 0, 900, 0)]).astype("uint16")
            with raster.create(
                folder / "images" / f"S2_{tile}_{day:%Y%m%d}.tif", options.get("grid", grid),
                dtype="uint16", count=2, nodata=0, names=options.get("names", ("red", "nir")),
            ) as file:  # fmt: skip
                file.write(image, grid.window)
    return folder


def squares(tile: str) -> list[shapely.Polygon]:
    """The parcel of each cell, row by row."""
    rows, columns = classes(tile).shape
    left, _, _, top = GRIDS[tile].bounds
    side = 10 * CELL
    return [
        shapely.box(x + 10, y - side + 10, x + side - 10, y - 10)
        for y in (top - side * np.arange(rows))
        for x in (left + side * np.arange(columns))
    ]


def write_parcels(path: Path, shapes: list | None = None, *, crs: str = "EPSG:32632", **columns):
    """Parcels named p0, p1, …: those of the west, then of the east, if none are given."""
    shapes = squares("west") + squares("east") if shapes is None else shapes
    rows = {"id": [f"p{number}" for number in range(len(shapes))]} | columns
    table = geopandas.GeoDataFrame(rows, geometry=shapes, crs="EPSG:32632").to_crs(crs)
    table.to_file(path, engine="pyogrio")
    return path


def read(path: Path) -> Parcels:
    return read_parcels(Labels(path=str(path), name="parcel"))


def series(folder: Path, **options) -> Series:
    return Series(**{"path": str(folder / "images"), "pattern": PATTERN} | options)


def predict(
    folder: Path, out: str = "maps", *, by: TrainedNetwork | None = None,
    parcels: Parcels | None = None, **options,
) -> Summary:  # fmt: skip
    """Predict the parcels of a folder into one of its folders."""
    by = by or network()
    found = replace(series(folder), **options.pop("series", {}))
    bands = options.pop("bands", Bands())
    return predict_parcels(
        by,
        SeriesImages.find(by.card, found, bands),
        parcels or read(folder / "parcels.gpkg"),
        folder / out,
        **options,
    )


def layer(folder: Path) -> geopandas.GeoDataFrame:
    """What parcels.gpkg holds, by id."""
    return geopandas.read_file(folder / "parcels.gpkg", layer="parcels").set_index("id")


def files_of(folder: Path) -> dict[str, bytes]:
    """Bytes of all files but the records, which hold times and paths."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in paths if p.suffix != ".json"
    }  # fmt: skip
