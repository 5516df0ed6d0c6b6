"""Zoom: windows agree with the whole, with arithmetic, and with a general warp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.zoom import Zoom
from geoseg.scenes.layers import Image
from tests.made.scenes import grid, write

COARSE = grid(12, 15, pixel=20)
RNG = np.random.default_rng(0)
DATA = RNG.integers(0, 5000, (2, 12, 15)).astype(np.uint16)


def source(zoom, array, window):
    """Pixels of the source, 0 outside the array."""
    place = zoom.source(window)
    whole = np.pad(array, [(0, 0)] * (array.ndim - 2) + [(50, 50), (50, 50)])
    return whole[(..., *place.shift(50, 50).within(Window(0, 0, 1, 1)))]


def test_grids_that_nest_and_those_that_do_not():
    assert Zoom.between(COARSE, grid(24, 30, pixel=10)) == Zoom(2, 0, 0)
    assert Zoom.between(COARSE, grid(24, 30, pixel=10).crop(Window(3, -5, 9, 9))) == Zoom(2, 3, -5)
    assert Zoom.between(grid(4, 4, pixel=60), grid(24, 24, pixel=10)) == Zoom(6, 0, 0)
    for fine in (
        COARSE,
        grid(24, 30, pixel=15),
        grid(24, 30, pixel=10, left=500_003),
        grid(5, 5, pixel=40),
    ):
        assert Zoom.between(COARSE, fine) is None


@given(
    factor=st.integers(2, 6),
    corner=st.tuples(st.integers(-7, 7), st.integers(-7, 7)),
    place=st.builds(
        Window, st.integers(-9, 60), st.integers(-9, 60), st.integers(1, 20), st.integers(1, 20)
    ),
    gaps=st.booleans(),
)
def test_a_window_is_cut_out_of_the_whole(factor, corner, place, gaps):
    zoom = Zoom(factor, *corner)
    valid = np.random.default_rng(1).random((12, 15)) < (0.7 if gaps else 1)
    whole = Window(-10, -10, 90, 110)
    every, clear = zoom.bilinear(source(zoom, DATA, whole), source(zoom, valid, whole), whole)
    part, here = zoom.bilinear(source(zoom, DATA, place), source(zoom, valid, place), place)
    cut = place.within(whole)
    assert (here == clear[cut]).all()
    assert (part[:, here] == every[(slice(None), *cut)][:, here]).all()


def test_gaps_have_no_weight_and_stay_where_they_are():
    zoom, window = Zoom(2, 0, 0), Window(0, 0, 24, 30)
    data = np.full((1, 12, 15), 800, np.uint16)
    valid = RNG.random((12, 15)) < 0.6
    data[:, ~valid] = 60_000
    values, clear = zoom.bilinear(source(zoom, data, window), source(zoom, valid, window), window)
    assert (clear == np.kron(valid, np.ones((2, 2), bool))).all()
    assert (values[0, clear] == 800).all()
    bands = np.stack([valid, ~valid])
    both = np.repeat(data, 2, axis=0)
    _, clear = zoom.bilinear(source(zoom, both, window), source(zoom, bands, window), window)
    assert (clear[0] != clear[1]).all()


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_agrees_with_a_general_warp(tmp_path, factor):
    path = write(tmp_path / "a.tif", DATA, grid=COARSE, nodata=None)
    fine = grid(12 * factor, 15 * factor, pixel=20 / factor)
    zoom = Zoom.between(COARSE, fine)
    inner = fine.window.grow(-factor)
    with raster.Raster(path, grid=fine) as warped, raster.Raster(path) as file:
        expected, _ = warped.read(inner)
        values, clear = zoom.bilinear(*file.read(zoom.source(inner)), inner)
    assert clear.all()
    assert values.dtype == np.uint16
    assert np.abs(values.astype(int) - expected).max() <= 1
    with raster.Raster(path, grid=fine, resampling="nearest") as warped, raster.Raster(path) as own:
        near = zoom.nearest(own.read(zoom.source(inner))[0], inner)
        assert (near == warped.read(inner)[0]).all()


def test_real_numbers_are_not_rounded():
    zoom, window = Zoom(2, 0, 0), Window(2, 2, 4, 4)
    data = np.arange(180, dtype=np.float32).reshape(1, 12, 15)
    values, _ = zoom.bilinear(
        source(zoom, data, window), source(zoom, np.ones((12, 15), bool), window), window
    )
    assert values[0, 0].tolist() == [12 + 0.5 * n for n in range(4)]


def test_windows_at_the_edges_of_a_file_agree_with_the_whole(tmp_path):
    data = DATA.copy()
    data[:, 0, 3:6] = data[:, -1, -1] = data[:, 4:6, 7] = 0
    path = str(write(tmp_path / "a.tif", data, grid=COARSE))
    fine = grid(40, 50, pixel=10).crop(Window(-6, -8, 40, 50))
    with_frame = Image(path, (1, 2), fine, None, False).open()
    values, clear = with_frame.read(fine.window)
    assert clear[6:30, 8:38].sum() == 4 * (data[0] > 0).sum() == clear.sum()
    inner = Image(path, (1, 2), grid(24, 30, pixel=10), None, False).open()
    for top, left in np.ndindex(6, 6):
        window = Window(4 * top, 5 * left, 4, 5)
        part, here = inner.read(window)
        cut = window.shift(6, 8).within(fine.window)
        assert (here == clear[cut]).all()
        assert (part[:, here] == values[(slice(None), *cut)][:, here]).all()
    with_frame.close()
    inner.close()
