import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geoseg.geo.grid import Grid, Window, offsets, same_crs

UTM = Grid("EPSG:32632", Affine(0.5, 0, 600_000, 0, -0.5, 5_200_000), 100, 200)


def test_window_of_a_common_part():
    assert Window(0, 0, 10, 10).intersect(Window(8, 5, 10, 10)) == Window(8, 5, 2, 5)
    assert Window(0, 0, 10, 10).intersect(Window(10, 0, 5, 5)) is None


def test_slices_within_an_outer_window():
    assert Window(12, 23, 2, 3).within(Window(10, 20, 8, 8)) == (slice(2, 4), slice(3, 6))


def test_bounds_and_crop():
    assert UTM.bounds == (600_000, 5_199_950, 600_100, 5_200_000)
    assert UTM.crop(Window(10, 20, 4, 6)).bounds == (600_010, 5_199_993, 600_013, 5_199_995)


@given(st.integers(-50, 150), st.integers(-50, 150), st.integers(1, 90), st.integers(1, 90))
def test_window_of_its_own_bounds_is_itself(top, left, height, width):
    window = Window(top, left, height, width)
    assert UTM.window_of(UTM.bounds_of(window)) == window


def test_window_of_less_than_a_hair_of_a_pixel():
    x, y = UTM.transform @ (3, 4)
    assert UTM.window_of((x, y - 0.001, x + 0.001, y)) == Window(4, 3, 1, 1)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("easting", [300_000, 700_000])
def test_a_grid_of_the_whole_world_overlaps_all_others(crs, easting):
    world = Grid("EPSG:4326", Affine(0.5, 0, -180, 0, -0.5, 90), 360, 720)
    if crs != world.crs:
        world = Grid(crs, Affine(1e4, 0, -20_037_508, 0, -1e4, 20_037_508), 4007, 4007)
    for zone in (32610, 32633, 32751):
        there = Grid(f"EPSG:{zone}", Affine(10, 0, easting, 0, -10, 5_200_000), 100, 100)
        assert there.overlaps(world)
        assert world.overlaps(there)
    west = Grid("EPSG:4326", Affine(0.5, 0, -180, 0, -0.5, 84), 328, 360)
    east = Grid("EPSG:32633", Affine(10, 0, easting, 0, -10, 5_200_000), 100, 100)
    assert not west.overlaps(east)


def test_offset_of_aligned_grids():
    assert UTM.offset(UTM.crop(Window(3, 4, 10, 10))) == (3, 4)
    assert UTM.offset(UTM.crop(Window(-3, -4, 10, 10))) == (-3, -4)


@pytest.mark.parametrize(
    "other",
    [
        Grid(UTM.crs, Affine(0.5, 0, 600_000.2, 0, -0.5, 5_200_000), 100, 200),
        Grid(UTM.crs, Affine(0.51, 0, 600_000, 0, -0.5, 5_200_000), 100, 200),
        Grid("EPSG:32633", UTM.transform, 100, 200),
    ],
    ids=["shifted", "other resolution", "other CRS"],
)
def test_no_offset_where_pixels_differ(other):
    assert UTM.offset(other) is None
    assert not UTM.coincides(other)


def test_offsets_of_many_pairs_are_those_of_each():
    shifted = Affine(0.5, 0, 600_000.2, 0, -0.5, 5_200_000)
    coarser = Affine(0.51, 0, 600_000, 0, -0.5, 5_200_000)
    skewed = Affine(0.5, 0.1, 600_000, 0.1, -0.5, 5_200_000)
    grids = [UTM, UTM.crop(Window(3, -4, 10, 20)), UTM.crop(Window(-90, 40, 7, 9))]
    grids += [Grid(UTM.crs, t, 100, 200) for t in (shifted, coarser, skewed)]
    grids.append(grids[-1].crop(Window(5, 6, 7, 8)))
    own, other = np.indices((len(grids),) * 2).reshape(2, -1)
    at, fits = offsets(grids, own, other)
    one_by_one = [grids[a].offset(grids[b]) for a, b in zip(own, other, strict=True)]
    found = [tuple(a) if fit else None for a, fit in zip(at.tolist(), fits, strict=True)]
    assert found == one_by_one
    assert (5, 6) in found


def test_pixel_size_in_metres():
    assert UTM.pixel_size_m == pytest.approx(0.5, rel=1e-3)
    assert UTM.stated_pixel_size_m == 0.5
    feet = Grid("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000), 10, 10)  # US survey feet
    assert feet.pixel_size_m == pytest.approx(0.3048006, rel=1e-5)
    degrees = Grid("EPSG:4326", Affine(1e-5, 0, 11, 0, -1e-5, 48), 100, 100)
    # A degree is 111.19 km north-south and 74.6 km east-west at 48° N.
    assert degrees.pixel_size_m == pytest.approx(1e-5 * math.sqrt(111_190 * 74_630), rel=2e-3)


def test_wkt_and_code_name_the_same_crs():
    import pyproj

    assert same_crs("EPSG:32632", pyproj.CRS("EPSG:32632").to_wkt())
    assert not same_crs("EPSG:32632", "EPSG:25832")


def test_dictionary_round_trip():
    assert Grid.from_dict(UTM.to_dict()) == UTM
