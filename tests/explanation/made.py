"""Images of three bands, of which one names the class, one hints at it and one is noise."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.geo import raster
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models.card import ModelCard
from geoseg.models.settings import Model
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.scene import find_scenes
from tests.made.scenes import grid

SIDE = 96
LEGEND = Legend.parse(
    [
        {"code": 2, "name": "dark", "color": "#1f78b4"},
        {"code": 5, "name": "light", "color": "#e31a1c"},
    ],
    "test",
)
STATISTICS = BandStatistics(
    **{k: (v,) * 3 for k, v in {"mean": 100.0, "std": 50.0, "p2": 10.0, "p98": 190.0}.items()},
    low=(1.0,) * 3,
    high=(255.0,) * 3,
)
CARD = ModelCard(
    model=Model(),
    bands=("tells", "hints", "noise"),
    statistics=STATISTICS,
    dtype="uint8",
    nodata=None,
    extra={},
    pixel_size_m=1.0,
    legend=LEGEND,
    tiling=Tiling(32, 8),
    scores={},
)


def scene(random, height=SIDE, width=SIDE):
    """Image (3, H, W) uint8 and class indices (H, W): squares of 8 pixels."""
    blocks = random.integers(0, 2, (height // 8, width // 8))
    told = 50 + 100 * blocks + random.normal(0, 35, blocks.shape)
    hinted = 60 + 80 * blocks + random.normal(0, 50, blocks.shape)
    truth, *bands = (one.repeat(8, 0).repeat(8, 1) for one in (blocks, told, hinted))
    image = np.stack([*bands, random.uniform(15, 185, truth.shape)])
    return image.clip(1, 255).astype(np.uint8), truth


def made_dataset(folder):
    """Two scenes, all of val."""
    random, tiles = np.random.default_rng(3), []
    for name in ("s0", "s1"):
        image, truth = scene(random)
        image[:, :4] = 0
        codes = np.where(image[0] > 0, np.array(LEGEND.codes)[truth], 0).astype(np.uint8)
        window = grid(SIDE, SIDE).window
        (folder / "scenes").mkdir(parents=True, exist_ok=True)
        with raster.create(
            folder / "scenes" / f"{name}.tif", grid(SIDE, SIDE), dtype="uint8", count=3, nodata=0,
            names=CARD.bands,
        ) as file:  # fmt: skip
            file.write(image, window)
        with raster.create(
            folder / "dataset/targets" / f"{name}.tif", grid(SIDE, SIDE), dtype="uint8", nodata=0
        ) as file:
            file.write(codes, window)
        tiles += [
            Tile(
                name,
                "val",
                w,
                window,
                tuple(int((codes[w.within(window)] == c).sum()) for c in LEGEND.codes),
            )
            for w in Tiling(32, 8).tiles(window)
        ]
    scenes = tuple(find_scenes(str(folder / "scenes")))
    write_tiles(folder / "dataset", tiles, scenes, LEGEND)
    settings = {"bands": {"nodata": None, "extra": {}}}
    Dataset(folder / "dataset", scenes, STATISTICS, LEGEND, Tiling(32, 8), 1.0, settings).save()
    return folder / "dataset"


class Small(nn.Module):
    """A network that halves once: what is deep is coarse."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Conv2d(16 + 3, 2, 1)

    def forward(self, image):
        deep = F.interpolate(self.encoder(image), image.shape[2:], mode="nearest")
        return self.head(torch.cat([deep, 0.2 * image], 1))


def trained():
    """A small network that knows scenes like these.

    Taught by hand: torch's optimizers import its compiler, which takes longer than all of this.
    """
    torch.manual_seed(0)
    random, network = np.random.default_rng(9), Small()
    weights = list(network.parameters())
    speeds = [torch.zeros_like(one) for one in weights]
    for _ in range(60):
        image, truth = scene(random, 48, 48)
        given = (torch.from_numpy(image.astype(np.float32))[None] - 100) / 50
        loss = F.cross_entropy(network(given), torch.from_numpy(truth)[None])
        with torch.no_grad():
            for one, speed, slope in zip(
                weights, speeds, torch.autograd.grad(loss, weights), strict=True
            ):
                speed.mul_(0.9).add_(slope)
                one.sub_(0.05 * speed)
    return network.eval()
