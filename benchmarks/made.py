"""Made-up scenes and networks that the benchmarks of prediction share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from affine import Affine
from torch import Tensor, nn

from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.bands import BandStatistics

BANDS = ("red", "green", "blue", "nir")
CLASSES = 6
TILING = Tiling(256, 64)
MODEL = Model("unet", "resnet18")
PIXEL_M = 0.5
LEFT_M, TOP_M = 500_000.0, 5_000_000.0
STRIPE = 512
"""Rows that are made at a time; whole blocks."""


def grid(height: int, width: int, *, top: int = 0, left: int = 0) -> Grid:
    """A grid of half-metre pixels; top, left: pixels from the corner of all made-up scenes."""
    x, y = LEFT_M + left * PIXEL_M, TOP_M - top * PIXEL_M
    return Grid("EPSG:32632", Affine(PIXEL_M, 0, x, 0, -PIXEL_M, y), height, width)


def texture(
    height: int,
    width: int,
    *,
    bands: int = len(BANDS),
    seed: int = 0,
    steps: tuple[int, ...] = (1, 4, 16, 64, 256),
) -> np.ndarray:
    """Values (bands, height, width) uint16, none of them 0, with detail of these sizes."""
    random = np.random.default_rng(seed)
    image = np.full((bands, height, width), 2000, np.float32)
    for step in steps:
        coarse = random.normal(size=(bands, height // step + 1, width // step + 1))
        fine = coarse.astype(np.float32).repeat(step, axis=1).repeat(step, axis=2)
        image += fine[:, :height, :width] * np.float32(np.sqrt(step) * 30)
    return np.clip(image, 1, 10_000).astype(np.uint16)


def scene(path: Path, place: Grid, *, seed: int = 0) -> Path:
    """Write four bands of texture on a grid, tiled and deflated; the same stripe again and again
    in scenes that are high."""
    return write(path, texture(min(STRIPE, place.height), place.width, seed=seed), place)


def write(path: Path, image: np.ndarray, place: Grid) -> Path:
    """Write an image (C, h, W) uint16 again and again down a grid of its width; 0 is nodata."""
    count, rows, width = image.shape
    names = BANDS if count == len(BANDS) else ()
    with raster.create(path, place, dtype="uint16", count=count, nodata=0, names=names) as file:
        for top in range(0, place.height, rows):
            height = min(rows, place.height - top)
            file.write(image[:, :height], Window(top, 0, height, width))
    return path


def card(
    bands: tuple[str, ...] = BANDS,
    classes: int = CLASSES,
    *,
    dtype: str = "uint16",
    scale: float = 1.0,
) -> ModelCard:
    """Card of a network that was trained on such scenes; scale: of their values."""
    usual = {"mean": 2000, "std": 700, "p2": 500, "p98": 3500, "low": 1, "high": 9000}
    values = {name: (value * scale,) * len(bands) for name, value in usual.items()}
    legend = [{"code": k, "name": f"class {k}", "color": "#000000"} for k in range(1, classes + 1)]
    return ModelCard(
        model=MODEL,
        bands=bands,
        statistics=BandStatistics(**values),
        dtype=dtype,
        nodata=None,
        extra={},
        pixel_size_m=PIXEL_M,
        legend=Legend.parse(legend, "benchmark"),
        tiling=TILING,
        scores={},
    )


def unet(path: Path) -> Path:
    """Weights file of MODEL, a U-Net, with random weights; four bands, six classes."""
    torch.manual_seed(0)
    mine = card()
    return save(path, models.build(mine.model, len(mine.bands), len(mine.legend)), mine)


def save(path: Path, network: nn.Module, its_card: ModelCard) -> Path:
    checkpoint.save(path, network, its_card)
    return path


class Pointwise(nn.Module):
    """A convolution of single pixels: a network that costs next to nothing."""

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(bands, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.convolution(image)
        return logits


def pointwise(its_card: ModelCard, running: InferenceSettings | None = None) -> TrainedNetwork:
    """The cheap network, as geoseg opens one from a file."""
    module = Pointwise(len(its_card.bands), len(its_card.legend))
    return TrainedNetwork(its_card, "0" * 16, module, running or InferenceSettings())
