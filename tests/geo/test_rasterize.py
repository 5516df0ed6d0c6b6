"""Burning: like a naive reference, and the same however the grid is cut."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.geo.grid import Grid, Window
from geoseg.geo.rasterize import LONG, burn, ignore_borders, resample

SIDE = 24
PIXELS = Grid("EPSG:32632", Affine(1, 0, 0, 0, -1, SIDE), SIDE, SIDE)
FIELD = Grid("EPSG:25832", Affine(0.3, 0, 512_345.678, 0, -0.3, 6_123_456.789), 120, 150)

eighths = st.integers(-16, 8 * SIDE + 16).map(lambda n: n / 8)


@st.composite
def polygons(draw):
    """Convex hulls, some with a hole, with vertices on eighths of a pixel: centres get hit too."""
    points = draw(st.lists(st.tuples(eighths, eighths), min_size=3, max_size=7))
    hull = shapely.convex_hull(shapely.multipoints(points))
    if draw(st.booleans()):
        around = draw(st.tuples(eighths, eighths))
        hull = hull.difference(shapely.box(around[0], around[1], around[0] + 5, around[1] + 4))
    return hull


shapes = st.lists(polygons(), max_size=6).map(
    lambda found: [part for shape in found for part in shapely.get_parts(shape).tolist()]
)


def to_field(pixels):
    """Columns and rows (N, 2) to map coordinates of FIELD."""
    transform = FIELD.transform
    return pixels * (transform.a, transform.e) + (transform.c, transform.f)


def areal(found):
    return np.array([s for s in found if s.geom_type == "Polygon" and not s.is_empty], object)


@given(shapes)
@settings(deadline=None)
def test_burn_equals_centres_in_polygons(found):
    found = areal(found)
    values = np.arange(1, len(found) + 1, dtype=np.uint8)
    burnt = burn(found, values, PIXELS)
    column, row = np.meshgrid(np.arange(SIDE) + 0.5, SIDE - 0.5 - np.arange(SIDE))
    expected = np.zeros((SIDE, SIDE), np.uint8)
    doubtful = np.zeros((SIDE, SIDE), bool)
    for polygon, value in zip(found, values, strict=True):
        expected[shapely.contains_xy(polygon, column, row)] = value
        # A centre on the line may go either way, but not one that is off it by a thousandth.
        doubtful |= shapely.distance(polygon.boundary, shapely.points(column, row)) < 1e-3
    np.testing.assert_array_equal(burnt[~doubtful], expected[~doubtful])


places = st.tuples(
    st.integers(-5, SIDE), st.integers(-5, SIDE), st.integers(1, 20), st.integers(1, 20)
)


@given(shapes, places, st.booleans())
@settings(deadline=None)
def test_burn_does_not_depend_on_the_window(found, place, all_touched):
    found = areal(found)
    values = np.arange(1, len(found) + 1, dtype=np.uint8)
    if all_touched:  # not through the corners of pixels
        found = shapely.transform(found, lambda pixels: pixels + 0.0123)
    # Pixels of 0.3 m far from the origin: none of the coordinates is a round number there.
    found = shapely.transform(found, to_field)
    outer = FIELD.window.grow(20)
    whole = burn(found, values, FIELD, window=outer, all_touched=all_touched)
    window = Window(*place)
    part = burn(found, values, FIELD, window=window, all_touched=all_touched)
    np.testing.assert_array_equal(part, whole[window.within(outer)])


@pytest.mark.parametrize("all_touched", [False, True])
def test_dropping_far_vertices_changes_no_pixel(all_touched):
    random = np.random.default_rng(3)
    angle = np.sort(random.uniform(0, 2 * np.pi, 40 * LONG))
    radius = random.uniform(10, 60, len(angle))[:, None]  # spikes in and out of every window
    ring = 75 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    hole = 75 + 0.15 * (ring - 75)
    polygon = shapely.transform(np.array([shapely.Polygon(ring, [hole])]), to_field)
    value = np.ones(1, np.uint8)
    whole = burn(polygon, value, FIELD, all_touched=all_touched)
    assert 0.05 < whole.mean() < 0.6 or all_touched
    for top in range(0, FIELD.height, 17):
        for left in range(0, FIELD.width, 23):
            window = Window(top, left, 17, 23).intersect(FIELD.window)
            part = burn(polygon, value, FIELD, window=window, all_touched=all_touched)
            np.testing.assert_array_equal(part, whole[window.within(FIELD.window)])


def test_burn_takes_numbers_of_parcels():
    boxes = shapely.box([2, 8], [2, 2], [6, 12], [6, 6])
    burnt = burn(boxes, np.array([70_000, 123_456], np.int32), PIXELS)
    assert burnt.dtype == np.int32
    assert burnt[SIDE - 4, 4] == 70_000
    assert burnt[SIDE - 4, 10] == 123_456
    assert (burnt > 0).sum() == 32


def test_all_touched_burns_what_misses_every_centre():
    sliver = np.array([shapely.box(3.1, 3.1, 8.9, 3.3)])
    value = np.ones(1, np.uint8)
    assert burn(sliver, value, PIXELS).sum() == 0
    assert burn(sliver, value, PIXELS, all_touched=True).sum() == 6


def test_no_polygons_burn_nothing():
    assert not burn(np.empty(0, object), np.empty(0, np.uint8), PIXELS).any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_ignored_borders_equal_a_naive_search(seed, pixels):
    random = np.random.default_rng(seed)
    codes = np.kron(random.choice([1, 5, 254, 255], (5, 5)), np.ones((3, 3))).astype(np.uint8)
    expected = codes.copy()
    for row, column in np.ndindex(codes.shape):
        near = codes[
            max(0, row - pixels) : row + pixels + 1, max(0, column - pixels) : column + pixels + 1
        ]
        if codes[row, column] != 255 and len(set(near.ravel()) - {255}) > 1:
            expected[row, column] = 255
    np.testing.assert_array_equal(ignore_borders(codes, pixels), expected)


FINE = Grid("EPSG:32632", Affine(1, 0, 500_000, 0, -1, 6_000_000), 60, 80)


def test_a_finer_raster_goes_by_mode_a_coarser_one_by_nearest():
    codes = np.full((60, 80), 1, np.uint8)
    codes[0:2, 0:5] = 2  # 10 of the 25 pixels beneath the first one
    codes[0:3, 5:10] = 3  # 15 of those beneath the second one
    codes[0:5, 10:15], codes[4, 10:15] = 0, 4  # nothing, but for 5
    coarse = Grid(FINE.crs, Affine(5, 0, 500_000, 0, -5, 6_000_000), 12, 16)
    by_mode = resample(codes, FINE, coarse, window=coarse.window, mode=True)
    assert by_mode[0, :4].tolist() == [1, 3, 4, 1]
    back = resample(by_mode, coarse, FINE, window=FINE.window, mode=False)
    np.testing.assert_array_equal(back, np.kron(by_mode, np.ones((5, 5), np.uint8)))


def test_resampled_pixels_outside_the_source_are_zero():
    codes = np.full((60, 80), 7, np.uint8)
    wide = Grid(FINE.crs, Affine(5, 0, 499_990, 0, -5, 6_000_010), 16, 20)
    target = resample(codes, FINE, wide, window=wide.window, mode=True)
    expected = np.zeros((16, 20), np.uint8)
    expected[2:14, 2:18] = 7
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035"])
@pytest.mark.parametrize("mode", [True, False])
def test_resampling_does_not_depend_on_the_window(crs, mode):
    random = np.random.default_rng(1)
    codes = np.kron(random.integers(1, 6, (15, 20)), np.ones((4, 4))).astype(np.uint8)
    left, _, _, top = FINE.bounds_in(crs)
    grid = Grid(crs, Affine(2.7, 0, left, 0, -2.7, top), 24, 31)
    whole = resample(codes, FINE, grid, window=grid.window, mode=mode)
    assert (whole > 0).mean() > 0.8
    for window in (Window(3, 5, 7, 11), Window(-4, 20, 20, 20), Window(13, 0, 1, 1)):
        part = resample(codes, FINE, grid, window=window, mode=mode)
        inside = window.intersect(grid.window)
        np.testing.assert_array_equal(
            part[inside.within(window)], whole[inside.within(grid.window)]
        )
