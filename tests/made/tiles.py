"""A small data set of tiles."""

import numpy as np
from affine import Affine

from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.scene import find_scenes
from tests.made import kept

LEGEND = Legend.parse(
    [
        {"code": 3, "name": "low", "color": "#000000"},
        {"code": 7, "name": "high", "color": "#ffffff"},
    ],
    "test",
)
GRID = Grid("EPSG:32632", Affine(1, 0, 500_000, 0, -1, 5_000_000), 150, 200)

SETTINGS = {"bands": {"nodata": None, "extra": {}}}


TILING = Tiling(size=64, overlap=32)
STATISTICS = BandStatistics(*(2 * (v,) for v in (0.0, 1.0, 0.0, 1.0, 0.0, 200.0)))


def make_dataset(folder, splits=("train", "val")):
    """A scene of two bands: number of the column, and its stripe, which labels name.

    The region of train ends at column 120, that of val begins at 130.
    """
    kept.write(folder, _write, tuple(splits))
    scenes = tuple(find_scenes(str(folder / "s.tif")))
    made = Dataset(folder / "dataset", scenes, STATISTICS, LEGEND, TILING, 1.0, SETTINGS)
    made.save()
    return Dataset.load(folder / "dataset")


def _write(folder, splits):
    image = np.broadcast_to(np.arange(200, dtype=np.uint8) + 1, (150, 200)).copy()
    image[:10, :10] = 0  # nodata corner
    codes = np.where(image % 50 >= 25, 7, 3).astype(np.uint8)
    stripes = np.where(image == 0, 0, 20 * codes)
    codes[140:] = 255
    codes[image == 0] = 0
    with raster.create(folder / "s.tif", GRID, dtype="uint8", count=2, nodata=0) as writer:
        writer.write(np.stack([image, stripes]), GRID.window)
    target = folder / "dataset" / "targets" / "s.tif"
    with raster.create(target, GRID, dtype="uint8", nodata=0) as writer:
        writer.write(codes, GRID.window)
    homes = {"train": Window(0, 0, 150, 120), "val": Window(0, 130, 150, 70)}
    tiles = [
        Tile("s", split, window, home, (1, 1))
        for split, home in homes.items()
        if split in splits
        for window in TILING.tiles(home)
    ]
    write_tiles(folder / "dataset", tiles, tuple(find_scenes(str(folder / "s.tif"))), LEGEND)
