"""Write data sets of which each tile is a scene to be classified."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling
from geoseg.scenes.scene import find_scenes
from tests.made.scenes import grid, plain, write
from tests.made.tiles import LEGEND, SETTINGS


def write_dataset(
    folder: Path,
    image: np.ndarray,
    codes: np.ndarray,
    splits: Iterable[tuple[str, int, int]],
    *,
    side: int,
) -> Dataset:
    """A data set of the scene s, an image (1, H, W) with codes (H, W).

    splits: names, and columns of tiles from where to where. side: of a tile.
    """
    height, width = codes.shape
    place = grid(height, width)
    write(folder / "s.tif", image)
    with raster.create(folder / "made/targets/s.tif", place, dtype="uint8", nodata=0) as file:
        file.write(codes, place.window)
    scenes, tiles = tuple(find_scenes(str(folder / "s.tif"))), []
    for split, left, right in splits:
        home = Window(0, left * side, height, (right - left) * side)
        for window in Tiling(side).tiles(home):
            part = codes[window.top : window.bottom, window.left : window.right]
            counts = tuple(int((part == code).sum()) for code in LEGEND.codes)
            tiles.append(Tile("s", split, window, home, counts))
    write_tiles(folder / "made", tiles, scenes, LEGEND)
    statistics = replace(plain(), mean=(130.0,), std=(70.0,))
    tiling = Tiling(side, 8)
    Dataset(folder / "made", scenes, statistics, LEGEND, tiling, 1.0, SETTINGS).save()
    return Dataset.load(folder / "made")
