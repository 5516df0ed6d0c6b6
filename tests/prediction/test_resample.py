"""Scenes of other pixel sizes give the maps that a warp by hand gives."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.models.resample import grid_of, resampled
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.scene import find_scenes
from tests.made.scenes import CARD, Context, write

RUNNING = InferenceSettings(device="cpu", precision="32", batch_size=3, resample=True)
SIZE = 1.0


def network(running=RUNNING):
    return TrainedNetwork(CARD, "0" * 16, Context(len(CARD.legend)), running)


def place(height, width, pixel, left=500_000.0, top=5_000_000.0):
    return Grid("EPSG:32632", Affine(pixel, 0, left, 0, -pixel, top), height, width)


def image(height, width, seed=0):
    """Values of 1..255 with a hole of nodata inside and a ragged border."""
    made = np.random.default_rng(seed).integers(1, 256, (height, width)).astype(np.uint8)
    made[height // 3 : height // 2, width // 4 : width // 3] = 0
    made[:7, : width // 2] = 0
    return made


def read(path):
    with rasterio.open(path) as file:
        return file.read(1), file.transform


CASES = [(0.5, 500_000.0, 5_000_000.0), (0.3, 500_000.13, 5_000_000.25), (2.5, 500_000.7, 5e6 - 1)]


@pytest.mark.parametrize(("pixel", "left", "top"), CASES)
def test_a_map_is_that_of_a_scene_that_was_warped_before(tmp_path, pixel, left, top):
    own = place(150, 190, pixel, left, top)
    source = write(tmp_path / "own" / "a.tif", image(150, 190), grid=own)
    (scene,) = find_scenes(source)
    wanted = resampled(scene, CARD).grid
    assert wanted.resolution == (SIZE, SIZE)
    how = Resampling.average if pixel < SIZE else Resampling.cubic
    with (
        rasterio.open(source) as file,
        WarpedVRT(
            file, crs=wanted.crs, transform=wanted.transform, height=wanted.height,
            width=wanted.width, resampling=how, src_nodata=0, nodata=0,
        ) as warped,
    ):  # fmt: skip
        write(tmp_path / "warped" / "a.tif", warped.read(), grid=wanted)
    predict(network(), tmp_path / "own", tmp_path / "maps")
    plain = network(replace(RUNNING, resample=False))
    predict(plain, tmp_path / "warped", tmp_path / "by_hand")
    for layer in ("landcover", "confidence"):
        mine, here = read(tmp_path / "maps" / layer / "a.tif")
        theirs, there = read(tmp_path / "by_hand" / layer / "a.tif")
        assert here == there
        # GDAL by itself takes a mean of 113.5 for 113 here and for 114 there.
        assert (mine == theirs).mean() > 0.98
        assert ((mine == 0) == (theirs == 0)).all()
        assert 0 < (mine == 0).mean() < 0.5


# At 0.7 and 3.0 many pixels lie as far from one pixel as from the next, or between two values.
@pytest.mark.parametrize(
    ("pixel", "left", "height", "width"),
    [(0.3, 500_000.1, 900, 1400), (0.7, 500_000.3, 450, 700), (3.0, 500_000.0, 150, 210)],
)
@pytest.mark.parametrize("nodata", [0, None])
def test_windows_do_not_show_in_what_is_read(tmp_path, pixel, left, height, width, nodata):
    grid = place(height, width, pixel, left)
    source = write(tmp_path / "a.tif", image(height, width), grid=grid, nodata=nodata)
    scene = resampled(find_scenes(source)[0], CARD)
    with scene.open() as reader:
        whole, valid = reader.read(scene.grid.window)
    with scene.open() as reader:
        starts = product(range(-30, scene.grid.height, 70), range(-30, scene.grid.width, 70))
        for window in (Window(top, left, 100, 100) for top, left in starts):
            part, there = reader.read(window)
            inside = window.intersect(scene.grid.window)
            assert inside is not None
            held, mine = inside.within(window), inside.within(scene.grid.window)
            assert (part[0][held] == whole[0][mine]).all()
            assert (there[held] == valid[mine]).all()


def test_bytes_do_not_depend_on_panels(tmp_path):
    write(tmp_path / "own" / "a.tif", image(60, 2000), grid=place(60, 2000, 0.5))
    predict(network(), tmp_path / "own", tmp_path / "one")
    narrow = network(replace(RUNNING, memory=0.003))
    predict(narrow, tmp_path / "own", tmp_path / "several")
    for layer in ("landcover", "confidence"):
        one, several = (tmp_path / out / layer / "a.tif" for out in ("one", "several"))
        assert one.read_bytes() == several.read_bytes()


def test_adjoining_scenes_lie_on_one_lattice():
    left = grid_of(place(333, 333, 0.15), 0.2)
    right = grid_of(place(333, 333, 0.15, 500_000 + 333 * 0.15), 0.2)
    assert left.offset(right) is not None
    assert left.resolution == right.resolution == (0.2, 0.2)


def test_a_scene_that_suits_is_left_as_it_is(tmp_path):
    (scene,) = find_scenes(write(tmp_path / "a.tif", image(40, 40)))
    assert resampled(scene, CARD) is scene


def test_without_the_key_the_refusal_names_it(tmp_path):
    source = write(tmp_path / "a.tif", image(60, 60), grid=place(60, 60, 0.5))
    report = predict(network(replace(RUNNING, resample=False)), source, tmp_path / "maps")
    assert "with predict.resample=true" in report.refused["a"]
    with pytest.raises(InputError):
        report.raise_if_incomplete()
