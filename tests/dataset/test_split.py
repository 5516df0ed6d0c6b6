import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.dataset.split import Split, leakage_m
from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window, transformer


def grid(height=512, width=512, left=0.0, top=0.0, crs="EPSG:32632"):
    return Grid(crs, Affine(1, 0, 500_000 + left, 0, -1, 5_000_000 - top), height, width)


def two_classes(scene, window):
    """A rare class in the left tenth of the scene, a common one elsewhere."""
    rare = window.intersect(Window(0, 0, 10_000, 51))
    n = rare.area if rare else 0
    return np.array([window.area - n, n])


def shares(regions, grids):
    area = {"train": 0, "val": 0, "test": 0}
    for region in regions:
        area[region.split] += region.window.area
    total = sum(g.window.area for g in grids.values())
    return {name: n / total for name, n in area.items()}


def test_scenes_by_name():
    grids = {"a": grid(), "b": grid(left=600), "c": grid(left=1200), "d": grid(left=1800)}
    split = Split(train=["a"], val=["b"], test=["c"])
    found = {(r.scene, r.split) for r in split.regions(grids, 256, two_classes)}
    assert found == {("a", "train"), ("b", "val"), ("c", "test")}  # d is left out


def test_rest_of_the_scenes_train():
    grids = {"a": grid(), "b": grid(left=600), "c": grid(left=1200)}
    regions = Split(val=["b"], test=0).regions(grids, 256, two_classes)
    assert {(r.scene, r.split) for r in regions} == {
        ("a", "train"),
        ("b", "val"),
        ("c", "train"),
    }


def test_a_name_that_yaml_read_as_a_number():
    grids = {"22978945_15": grid(), "23429155_15": grid(left=600)}
    split = Split(train=[2297894515], val=0, test=[2342915515])
    assert {(r.scene, r.split) for r in split.regions(grids, 256, two_classes)} == {
        ("22978945_15", "train"),
        ("23429155_15", "test"),
    }


def test_unknown_and_double_names_are_said_together():
    with pytest.raises(InputError) as error:
        Split(train=["a", "x"], val=["a"], test=["y"])._named(["a", "b"])
    assert len(error.value.faults) == 3
    assert "no scene x; there are a, b" in str(error.value)
    assert "scene a is in split.train and split.val" in str(error.value)


@pytest.mark.parametrize("by", ["block", "west_east", "south_north"])
def test_shares_are_about_as_asked(by):
    grids = {"a": grid(2000, 2000)}
    split = Split(val=0.2, test=0.3, by=by, buffer_m=0)
    got = shares(split.regions(grids, 256, two_classes), grids)
    assert got["val"] == pytest.approx(0.2, abs=0.05)
    assert got["test"] == pytest.approx(0.3, abs=0.05)
    assert sum(got.values()) == pytest.approx(1)


def test_west_trains_and_east_tests():
    regions = Split(val=0, test=0.5, by="west_east", buffer_m=10).regions(
        {"a": grid(300, 400)}, 256, two_classes
    )
    assert [(r.split, r.window) for r in regions] == [
        ("train", Window(0, 0, 300, 190)),
        ("test", Window(0, 200, 300, 200)),
    ]


def test_strips_share_out_what_is_labelled_not_what_is_imaged():
    def labelled_in_the_east(scene, window):
        part = window.intersect(Window(0, 600, 100, 400))
        return np.array([part.area if part else 0])

    regions = Split(val=0, test=0.5, by="west_east", buffer_m=0).regions(
        {"a": grid(100, 1000)}, 64, labelled_in_the_east
    )
    assert [(r.split, r.window.left) for r in regions] == [("train", 0), ("test", 800)]


def test_every_split_gets_its_share_of_a_rare_class():
    grids = {"a": grid(2000, 2000)}
    rare = dict.fromkeys(("train", "val", "test"), 0)
    for region in Split(val=0.2, test=0.2, buffer_m=0).regions(grids, 64, two_classes):
        rare[region.split] += two_classes("a", region.window)[1]
    share = rare["test"] / sum(rare.values())
    assert 0.05 < share < 0.4


def test_overlapping_scenes_agree_on_the_split():
    grids = {"a": grid(1000, 1000), "b": grid(1000, 1000, left=300, top=200)}
    regions = Split(val=0.2, test=0.2, buffer_m=0).regions(
        grids, 64, lambda s, w: np.array([w.area])
    )
    marks = {name: np.full((1000, 1000), -1) for name in grids}
    for region in regions:
        rows, columns = region.window.within(Window(0, 0, 1000, 1000))
        marks[region.scene][rows, columns] = ["train", "val", "test"].index(region.split)
    assert (marks["a"][200:, 300:] == marks["b"][:800, :700]).all()


def areas(scene, window):
    return np.array([window.area])


def test_one_crs_in_two_spellings_is_one():
    names = "EPSG:32632", pyproj.CRS("EPSG:32632").to_wkt("WKT1_ESRI")
    grids = {name: grid(1000, 1000, crs=crs) for name, crs in zip("ab", names, strict=True)}
    grids["b"] = grids["b"].crop(Window(130, 170, 1000, 1000))
    apart = {name: grid(1000, 1000) for name in grids} | {"b": grid(1000, 1000, left=170, top=130)}
    split = Split(val=0.2, test=0.2, buffer_m=0)
    assert split.regions(grids, 64, areas) == split.regions(apart, 64, areas)


def test_scenes_of_two_zones_that_overlap_keep_their_splits_apart():
    east = transformer("EPSG:32632", "EPSG:32633").transform(500_300, 4_999_800)
    grids = {
        "a": grid(800, 800),
        "b": Grid("EPSG:32633", Affine(1, 0, east[0], 0, -1, east[1]), 800, 800),
    }
    regions = Split(val=0.2, test=0.2, buffer_m=10).regions(grids, 64, areas)
    assert {(r.scene, r.split) for r in regions} >= {(s, "train") for s in "ab"}
    windows = {
        split: [(grids[r.scene], r.window) for r in regions if r.split == split]
        for split in ("train", "val", "test")
    }
    for a, b in (("train", "test"), ("train", "val"), ("val", "test")):
        distance = leakage_m(windows, a, b)
        assert distance is not None
        assert distance > 5


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 1000),
    st.integers(300, 700),
    st.integers(300, 700),
    st.integers(0, 40),
    st.sampled_from(["block", "west_east", "north_south", "east_west"]),
)
def test_splits_are_a_buffer_apart(seed, height, width, buffer, by):
    grids = {"a": grid(height, width)}
    split = Split(val=0.2, test=0.2, by=by, buffer_m=buffer, seed=seed)
    regions = split.regions(grids, 64, lambda s, w: np.array([w.area]))
    used = np.zeros((height, width), int)
    for region in regions:
        used[region.window.within(grids["a"].window)] += 1
    assert used.max() == 1
    windows = {
        n: [(grids["a"], r.window) for r in regions if r.split == n]
        for n in ("train", "val", "test")
    }
    for a, b in (("train", "test"), ("train", "val"), ("val", "test")):
        distance = leakage_m(windows, a, b)
        assert distance is None or distance >= buffer - 1e-6


def test_leakage_is_in_metres_whatever_the_crs():
    feet = Grid("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000), 100, 100)
    windows = {"train": [(feet, Window(0, 0, 10, 10))], "test": [(feet, Window(0, 20, 10, 10))]}
    assert leakage_m(windows, "train", "test") == pytest.approx(3.048006, rel=1e-4)
    assert leakage_m(windows, "train", "val") is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"val": 0.6, "test": 0.5}, "nothing would be left"),
        ({"val": -0.1}, "share in"),
        ({"by": "circle"}, "choose from block"),
        ({"train": 0.5}, "names of scenes"),
    ],
)
def test_bad_settings(values, words):
    with pytest.raises(InputError, match=words):
        Split(**values)
