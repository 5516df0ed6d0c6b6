import numpy as np
import pytest
import rasterio.features
import shapely
from shapely import affinity

from geoseg.vectors.center_lines import center_lines, skeleton
from geoseg.vectors.components import runs
from geoseg.vectors.outlines import Frame, trace
from geoseg.vectors.regular import squared


def outline(mask: np.ndarray) -> shapely.Polygon:
    """The largest polygon of a mask."""
    labels = runs(mask.astype(np.uint8)).label
    assert labels.max() >= 1
    codes = runs(mask.astype(np.uint8))
    number = codes.paint(np.arange(len(codes.codes) + 1))
    pieces = trace(number, (0, 0), Frame(False, False, False, False))
    return max(pieces.polygons, key=lambda shape: shape.area)


def corners(polygon: shapely.Polygon) -> np.ndarray:
    """Angles in degrees at the corners of an outline."""
    ring = shapely.get_coordinates(polygon.exterior)[:-1]
    back, onward = np.roll(ring, 1, axis=0) - ring, np.roll(ring, -1, axis=0) - ring
    cosine = (back * onward).sum(1) / np.linalg.norm(back, axis=1) / np.linalg.norm(onward, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def drawn(shape: shapely.Polygon, seed: int = 0) -> np.ndarray:
    """A mask (100, 100) whose edge is noisy."""
    mask = rasterio.features.rasterize([(shape, 1)], out_shape=(100, 100))
    edge = shape.exterior.buffer(0.7)
    near = rasterio.features.rasterize([(edge, 1)], out_shape=(100, 100)) > 0
    flip = near & (np.random.default_rng(seed).random((100, 100)) < 0.25)
    return (mask > 0) ^ flip


@pytest.mark.parametrize("angle", [0, 10, 30, 45, 77])
def test_a_noisy_turned_rectangle_gets_four_square_corners(angle):
    shape = affinity.rotate(shapely.box(25, 35, 75, 65), angle)
    made = squared(outline(drawn(shape)), 1.0)
    assert len(corners(made)) == 4
    np.testing.assert_allclose(corners(made), 90, atol=0.1)
    assert made.intersection(shape).area / made.union(shape).area >= 0.95


def test_an_l_shape_keeps_its_six_corners():
    shape = shapely.box(20, 20, 80, 80) - shapely.box(50, 50, 80, 80)
    shape = affinity.rotate(shape, 25)
    made = squared(outline(drawn(shape)), 1.0)
    assert len(corners(made)) == 6
    np.testing.assert_allclose(corners(made), 90, atol=0.1)
    assert made.intersection(shape).area / made.union(shape).area >= 0.93


def test_a_courtyard_stays_open():
    shape = shapely.box(20, 20, 80, 80) - shapely.box(40, 40, 60, 60)
    made = squared(shape, 1.0)
    assert len(made.interiors) == 1
    assert made.symmetric_difference(shape).area < 1e-6


def test_what_has_no_corners_is_not_squared():
    star = shapely.Polygon(
        [
            (50 + r * np.cos(a), 50 + r * np.sin(a))
            for a, r in zip(
                np.linspace(0, 2 * np.pi, 10, endpoint=False), [40, 12] * 5, strict=True
            )
        ]
    )
    assert squared(star, 1.0) is None


def lines_of(mask: np.ndarray, rows: int = 1000, sides=(1.0, 1.0)):
    blocks = ((top, mask[top : top + rows]) for top in range(0, len(mask), rows))
    return center_lines(skeleton(blocks, sides), mask.shape[1], sides)


@pytest.mark.parametrize("rows", [1000, 30])
def test_a_straight_road_is_one_line_in_its_middle(rows):
    mask = np.zeros((60, 200), bool)
    mask[27:32] = True
    lines, widths = lines_of(mask, rows)
    assert len(lines) == 1
    assert abs(shapely.get_coordinates(lines)[:, 1] - 29.5).max() <= 0.5
    assert shapely.length(lines)[0] >= 190
    assert widths[0] == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("sides", [(0.5, 2.0), (1.4, 0.7)])
def test_widths_heed_that_pixels_need_not_be_square(sides):
    mask = np.zeros((60, 60), bool)
    mask[27:32] = True
    for road, side in ((mask, sides[0]), (mask.T.copy(), sides[1])):
        lines, widths = lines_of(road, sides=sides)
        assert widths[np.argmax(shapely.length(lines))] == pytest.approx(5 * side, abs=0.01)
        assert len(lines) == 1


def test_a_slanting_road_is_one_line():
    axis = shapely.LineString([(-20, 10), (220, 90)])
    mask = rasterio.features.rasterize([(axis.buffer(3.5), 1)], out_shape=(100, 200)) > 0
    lines, widths = lines_of(mask)
    assert len(lines) == 1
    assert shapely.distance(shapely.points(shapely.get_coordinates(lines)), axis).max() < 1.6
    assert widths[0] == pytest.approx(7, abs=1)


def test_a_crossing_has_four_arms():
    mask = np.zeros((101, 101), bool)
    mask[48:53] = mask[:, 48:53] = True
    lines, widths = lines_of(mask)
    long = lines[shapely.length(lines) > 10]
    assert len(long) == 4
    assert np.median(widths) == pytest.approx(5, abs=0.5)


def test_no_road_no_line():
    lines, widths = lines_of(np.zeros((10, 10), bool))
    assert len(lines) == len(widths) == 0
