from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.raster import Raster, counts, create
from geoseg.geo.raster.counts import counts_by_columns


def made(run: int, shape: tuple[int, int] = (300, 1001)) -> np.ndarray:
    """Codes that are alike over about so many pixels."""
    random = np.random.default_rng(run)
    size = shape[0] * shape[1]
    codes = random.integers(0, 256, size // run + 1, dtype=np.uint8)
    return codes.repeat(run)[:size].reshape(shape)


@pytest.mark.parametrize("run", [1, 5, 40, 10**6])
def test_counts_are_those_of_a_histogram(run):
    codes = made(run)
    assert np.array_equal(counts(codes), np.bincount(codes.ravel(), minlength=256))
    wide = codes.astype(np.uint16) * 3
    assert np.array_equal(counts(wide, 1 << 16), np.bincount(wide.ravel(), minlength=1 << 16))
    assert not counts(codes[:0]).any()


@pytest.mark.parametrize("run", [1, 5, 40, 10**6])
@pytest.mark.parametrize("width", [7, 256, 1001, 4000])
def test_counts_by_columns_are_those_of_each_part(run, width):
    codes = made(run, (40, 9001))
    found = counts_by_columns(codes, width)
    parts = [codes[:, left : left + width] for left in range(0, codes.shape[1], width)]
    assert np.array_equal(found, [np.bincount(p.ravel(), minlength=256) for p in parts])


def test_codes_are_those_of_read_inside_across_the_edge_and_beyond(tmp_path):
    codes = made(5, (20, 30))
    grid = Grid("EPSG:32632", Affine(10, 0, 300_000, 0, -10, 5_500_000), 20, 30)
    with create(tmp_path / "map.tif", grid, dtype="uint8", nodata=0) as file:
        file.write(codes, grid.window)
    moved = Grid(grid.crs, grid.transform @ Affine.translation(-4, 5), 40, 50)
    between = Grid(grid.crs, grid.transform @ Affine.translation(0.4, -3.3), 40, 50)
    for place in (None, moved, between):
        with Raster(tmp_path / "map.tif", grid=place, resampling="nearest", nodata=0) as file:
            for window in (Window(2, 3, 7, 9), Window(15, 20, 12, 30), Window(35, 40, 5, 6)):
                if place is None and window.bottom > 20:
                    continue
                assert np.array_equal(file.codes(window), file.read(window)[0][0])


def test_codes_of_a_file_that_is_cut_short_are_refused(tmp_path):
    path = tmp_path / "map.tif"
    grid = Grid("EPSG:32632", Affine(10, 0, 300_000, 0, -10, 5_500_000), 600, 600)
    with create(path, grid, dtype="uint8", nodata=0) as file:
        file.write(made(1, (600, 600)), grid.window)
    path.write_bytes(path.read_bytes()[:-100_000])
    with Raster(path) as file, pytest.raises(InputError, match="damaged or cut short"):
        file.codes(grid.window)
