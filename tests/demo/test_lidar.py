"""The demo's LiDAR: points whose ground, houses and trees are known, and what they are worth."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from geoseg.demo import lidar
from geoseg.demo.__main__ import CORNER, CRS
from geoseg.demo.landscape.camera import Flight, photograph
from geoseg.demo.landscape.countryside import make
from geoseg.demo.landscape.ground import PIXEL_M
from geoseg.demo.landscape.paint import paint
from geoseg.demo.landscape.texture import Textures
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.heights.height import height

SEED, MARGIN, SIDE = 0, 48, 260


@pytest.fixture(scope="module")
def land():
    return make(SEED, 640.0, 480.0)


@pytest.fixture(scope="module")
def places(land):
    """Two windows apart from each other with the most houses there are."""
    houses = np.array([house.outline.centroid.coords[0] for house in land.houses]) / PIXEL_M
    sides = (land.height / PIXEL_M, land.width / PIXEL_M)
    tops, lefts = (range(0, int(side) - SIDE, 40) for side in sides)
    windows = [Window(top, left, SIDE, SIDE) for top in tops for left in lefts]
    found: list[Window] = []
    for _ in range(2):
        free = [w for w in windows if not any(w.intersect(other) for other in found)]
        counts = [
            (np.abs(houses - (w.left + SIDE / 2, w.top + SIDE / 2)) < SIDE / 2).all(axis=1).sum()
            for w in free
        ]
        found.append(free[int(np.argmax(counts))])
        assert max(counts) >= 4, max(counts)
    return found


@pytest.fixture(scope="module")
def scanned(land, places):
    """Of each window: bands (4, h, w), where houses are, heights that are true, and points."""
    textures, made = Textures(SEED), []
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    for window in places:
        ground = paint(land, window.grow(MARGIN), textures)
        points = lidar.scan(ground, land, margin=MARGIN, seed=SEED)
        image = photograph(ground, Flight(152, 51), np.random.default_rng(0))
        house = lidar._kinds(ground, land) == lidar.HOUSE
        made.append((image[:, *inner], house[inner], ground.height[inner], points))
    return made


def test_points_lie_where_their_class_says(scanned, places):
    (_, _, _, points), window = scanned[0], places[0]
    bare = lidar.terrain(SEED, points["x"], points["y"])
    rise, code = points["z"] - bare, points["code"]
    assert set(np.unique(code)) <= {1, 2, 5, 6, 9, 18}
    assert np.abs(rise[code == lidar.GROUND]).max() < 6 * lidar.ACCURACY_M
    assert np.median(rise[code == lidar.HOUSE]) > 2.5
    assert rise[code == lidar.TREE].min() > 0
    left = window.left * PIXEL_M
    assert points["x"].min() >= left - 1e-6
    assert points["x"].max() <= left + SIDE * PIXEL_M + 1e-6
    twice = points["returns"] == 2
    assert set(points["number"][twice]) == {1, 2}
    assert (code[points["number"] == 2] == lidar.GROUND).all()


@pytest.fixture(scope="module")
def ndsm(scanned, tmp_path_factory):
    """Heights (h, w) above the ground of both windows, made of the points."""
    folder = tmp_path_factory.mktemp("lidar")
    for number, (_, _, _, points) in enumerate(scanned):
        lidar.write(points, folder / "in" / f"{number}.laz", crs=CRS, corner=CORNER)
    height(folder / "in", folder / "out")
    made = []
    for number in (0, 1):
        with raster.Raster(folder / "out" / "ndsm" / f"{number}.tif") as file:
            values, valid = file.read(file.grid.window)
        assert valid.mean() > 0.99
        made.append(values[0, :SIDE, :SIDE])
    return made


def test_heights_are_those_of_the_landscape(scanned, ndsm):
    for (_, house, true, _), made in zip(scanned, ndsm, strict=True):
        assert made.shape == true.shape
        assert np.median(np.abs(made - true)[house]) < 0.3
        assert np.median(np.abs(made[true == 0])) < 0.05


def test_houses_are_found_better_with_heights(scanned, ndsm):
    """A forest of the pixels of one window, judged on the other, both ways round."""
    truth = [house.ravel() for _, house, *_ in scanned]
    iou = {}
    for name, layers in (("colours", slice(0, 4)), ("heights", slice(0, 5))):
        given = [
            np.concatenate([image, made[None]])[layers].reshape(-1, SIDE * SIDE).T
            for (image, *_), made in zip(scanned, ndsm, strict=True)
        ]
        each = []
        for here, there in ((0, 1), (1, 0)):
            forest = RandomForestClassifier(20, max_depth=10, random_state=0, max_samples=0.3)
            found = forest.fit(given[here], truth[here]).predict(given[there])
            each.append((found & truth[there]).sum() / (found | truth[there]).sum())
        iou[name] = np.mean(each)
    assert iou["heights"] > iou["colours"] + 0.03, iou


def test_the_same_seed_gives_the_same_bytes(scanned, tmp_path):
    points = scanned[0][3]
    for name in "ab":
        lidar.write(points, tmp_path / f"{name}.laz", crs=CRS, corner=CORNER)
    assert (tmp_path / "a.laz").read_bytes() == (tmp_path / "b.laz").read_bytes()
