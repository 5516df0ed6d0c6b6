"""Made-up networks, models and scenes that tests of prediction share."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from affine import Affine
from torch import nn

from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models.card import ModelCard
from geoseg.models.settings import Model
from geoseg.scenes.bands import BandStatistics

LEGEND = Legend.parse(
    [
        {"code": 3, "name": "low", "color": "#1f78b4"},
        {"code": 9, "name": "middle", "color": "#33a02c"},
        {"code": 1, "name": "high", "color": "#e31a1c"},
    ],
    "test",
)


def plain(channels: int = 1, high: float = 255.0) -> BandStatistics:
    """Statistics that leave values as they are."""
    values = {"mean": 0.0, "std": 1.0, "p2": 0.0, "p98": high, "low": 0.0, "high": high}
    return BandStatistics(**{name: (value,) * channels for name, value in values.items()})


CARD = ModelCard(
    model=Model(),
    bands=("gray",),
    statistics=plain(),
    dtype="uint8",
    nodata=None,
    extra={},
    pixel_size_m=1.0,
    legend=LEGEND,
    tiling=Tiling(32, 8),
    scores={},
)


class Identity(nn.Module):
    """Class k where the (first) channel is `first` + k."""

    def __init__(self, classes: int, first: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("values", first + torch.arange(classes)[None, :, None, None].float())

    def forward(self, image):
        return -((image[:, :1] - self.values) ** 2)


class Constant(nn.Module):
    """The same logits everywhere."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits)[None, :, None, None].float())

    def forward(self, image):
        return self.logits.expand(len(image), -1, *image.shape[-2:])


class Context(nn.Module):
    """Logits that depend on neighbours, and on where in its window a pixel lies."""

    def __init__(self, classes: int, channels: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("kernel", torch.randn(classes, channels, 5, 5, generator=generator))
        self.seen = 0

    def forward(self, image):
        self.seen += len(image)
        return nn.functional.conv2d(image, self.kernel, padding=2)


def grid(height: int, width: int, *, pixel: float = 1.0, left: float = 500_000.0) -> Grid:
    return Grid("EPSG:32632", Affine(pixel, 0, left, 0, -pixel, 5_000_000), height, width)


def write(path: Path, image: np.ndarray, **options) -> Path:
    """Write (C, H, W) as a GeoTIFF with nodata 0, of one metre pixels."""
    image = image if image.ndim == 3 else image[None]
    place = options.pop("grid", None) or grid(*image.shape[1:])
    options = {"nodata": 0, "names": ("gray",) if len(image) == 1 else ()} | options
    with raster.create(path, place, dtype=str(image.dtype), count=len(image), **options) as file:
        file.write(image, Window(0, 0, *image.shape[1:]))
    return path


def with_bands(card: ModelCard, *names: str, **values) -> ModelCard:
    return replace(card, bands=names, **{"statistics": plain(len(names)), **values})
