"""Folds of tiles over made-up layouts: each pixel is held out once, and nothing of it trains."""

from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.crossvalidation.draw import Folding, draw_folds
from geoseg.crossvalidation.layout import Layout, check_units
from geoseg.dataset.prepare import NOTHING
from geoseg.dataset.split import Split
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.scenes.scene import Scene

LEGEND = Legend.parse(
    [{"code": code, "name": name, "color": "#000000"} for code, name in ((1, "a"), (2, "b"))],
    "test",
)
K = len(LEGEND)
SIZE = 32
UTM, NEXT_UTM = "EPSG:32632", "EPSG:32633"


@cache
def change(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


class Made:
    """A data set without files: scenes, their labels, and what prepare makes of them."""

    def __init__(self, grids: dict[str, Grid], split: Split, *, seed: int = 0, labelled=0.8):
        self.grids, random = grids, np.random.default_rng(seed)
        self.labels = {}
        for name, grid in grids.items():
            patches = random.random((grid.height // 8 + 1, grid.width // 8 + 1))
            patches = patches.repeat(8, axis=0).repeat(8, axis=1)[: grid.height, : grid.width]
            labels = np.where(patches < 0.7 * labelled, 0, 1)
            labels[patches > labelled] = 255
            self.labels[name] = labels
        tiling, self.tiles = Tiling(SIZE, 8), []
        for region in split.regions(grids, SIZE, self.count):
            for window in tiling.tiles(region.window):
                counts = tuple(int(n) for n in self.count(region.scene, window))
                if sum(counts):
                    self.tiles.append(
                        Tile(region.scene, region.split, window, region.window, counts)
                    )
        scenes = tuple(Scene(name, grid, (), ("g",), "uint8") for name, grid in grids.items())
        told = {"split": {"block_m": split.block_m, "buffer_m": split.buffer_m}}
        self.dataset = Dataset(Path("made"), scenes, NOTHING, LEGEND, tiling, 1.0, told)
        self.pool = [tile for tile in self.tiles if tile.split != "test"]

    def count(self, scene: str, window: Window) -> np.ndarray:
        rows, columns = window.within(self.grids[scene].window)
        return np.bincount(self.labels[scene][rows, columns].ravel(), minlength=256)[:K]

    def layout(self, folding: Folding) -> Layout:
        with patch("geoseg.crossvalidation.layout.counter", lambda _: self.count):
            return Layout.of(self.dataset, self.pool, folding)

    def marked(self, windows) -> dict[str, np.ndarray]:
        """How many of (scene, window) hold each pixel."""
        marks = {name: np.zeros((g.height, g.width), int) for name, g in self.grids.items()}
        for scene, window in windows:
            assert window.intersect(self.grids[scene].window) == window
            marks[scene][window.within(self.grids[scene].window)] += 1
        return marks


def grid(height, width, *, left=0.0, top=0.0, pixel=1.0, crs=UTM) -> Grid:
    place = Affine(pixel, 0, 500_000 + left, 0, -pixel, 5_000_000 - top)
    return Grid(crs, place, height, width)


@st.composite
def layouts(draw) -> tuple[Made, Folding, int]:
    """Scenes apart, side by side and one over the other, on shared and other grids and CRS."""
    grids = {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        side = st.integers(70, 260)
        pixel = draw(st.sampled_from([1.0, 1.0, 2.5]))
        height, width = draw(side), draw(side)
        left, top = draw(st.integers(-200, 300)), draw(st.integers(-200, 300))
        if name == "c" and draw(st.booleans()):  # the same ground in the next zone
            x, y = change(UTM, NEXT_UTM).transform(500_000 + left, 5_000_000 - top)
            place = Affine(pixel, 0, x, 0, -pixel, y)
            grids[name] = Grid(NEXT_UTM, place, height, width)
        else:
            shift = draw(st.sampled_from([0.0, 0.4]))
            grids[name] = grid(height, width, left=left + shift, top=top, pixel=pixel)
    by = draw(st.sampled_from(["block", "block", "west_east", "named"]))
    metres = st.one_of(st.none(), st.integers(0, 30))
    how = {"buffer_m": draw(metres), "seed": draw(st.integers(0, 99))}
    if by == "named":
        split = Split(val=[list(grids)[-1]] if len(grids) > 1 else 0, test=0, **how)
    else:
        split = Split(val=0.2, test=0.2, by=by, **how)
    made = Made(grids, split, seed=draw(st.integers(0, 99)), labelled=draw(st.floats(0.3, 1)))
    folding = Folding(
        draw(st.sampled_from(["block", "block", "scene", "random"])),
        block_m=draw(st.one_of(st.none(), st.integers(40, 200))),
        buffer_m=draw(metres),
    )
    return made, folding, draw(st.integers(2, 4))


def dealt(layout: Layout, count: int, seed: int = 0) -> list[np.ndarray]:
    """Units of each fold."""
    fold = draw_folds(layout.counts, count=count, seed=seed)
    return [np.flatnonzero(fold == one) for one in range(count)]


@settings(deadline=None, max_examples=30)
@given(layouts())
def test_each_labelled_pixel_is_held_out_once(case):
    made, folding, count = case
    if not made.pool:
        return
    layout = made.layout(folding)
    given_ = made.marked((t.scene, t.window) for t in made.pool)
    held = [t for units in dealt(layout, count) for t in layout.held_out(units)]
    marks = made.marked((t.scene, t.window) for t in held)
    for name, labels in made.labels.items():
        assert marks[name].max() <= 1
        known = labels != 255
        np.testing.assert_array_equal(marks[name][known], given_[name][known])
    for tile in held:
        np.testing.assert_array_equal(tile.counts, made.count(tile.scene, tile.window))
        assert sum(tile.counts)
    np.testing.assert_array_equal(
        np.sum([t.counts for t in held], axis=0), layout.counts.sum(axis=0)
    )


def metres_apart(one: tuple[Grid, Window], other: tuple[Grid, Window]) -> float:
    """Distance of two windows in the CRS of the first, by the pixels of the other's rim."""
    (grid_, window), (there, rim) = one, other
    along = [np.linspace(0, n, 2 * n + 1) for n in (rim.width, rim.height)]
    x = np.concatenate([along[0], along[0], 0 * along[1], 0 * along[1] + rim.width]) + rim.left
    y = np.concatenate([0 * along[0], 0 * along[0] + rim.height, along[1], along[1]]) + rim.top
    east, north = (
        there.transform.c + there.transform.a * x,
        there.transform.f + there.transform.e * y,
    )
    if there.crs != grid_.crs:
        east, north = change(there.crs, grid_.crs).transform(east, north)
    left, bottom, right, top = grid_.bounds_of(window)
    across = np.maximum(np.maximum(left - east, east - right), 0)
    along_ = np.maximum(np.maximum(bottom - north, north - top), 0)
    return float(np.hypot(across, along_).min())


@settings(deadline=None, max_examples=30)
@given(layouts())
def test_nothing_that_trains_comes_near_what_is_held_out(case):
    made, folding, count = case
    if not made.pool:
        return
    layout = made.layout(folding)
    regions = {(tile.scene, tile.home) for tile in made.pool}
    buffer_m = folding.buffer_m
    if buffer_m is None:
        buffer_m = made.dataset.settings["split"]["buffer_m"]
    for units in dealt(layout, count):
        held = layout.held_out(units)
        train = layout.train(units)
        homes = {(tile.scene, tile.home) for tile in train}
        assert homes <= set(layout.homes(units))
        for tile in train:
            assert tile.window.intersect(tile.home) == tile.window
            np.testing.assert_array_equal(tile.counts, made.count(tile.scene, tile.window))
        for scene, home in homes:
            inside = [r for s, r in regions if s == scene and r.intersect(home) == home]
            assert inside, "what trains lies in a region of the data set, and so clear of test"
            own = made.grids[scene]
            wanted = SIZE // 8 * own.pixel_size_m if buffer_m is None else buffer_m
            if folding.by == "random":
                wanted = 0
            tolerance = 0.02 * own.pixel_size_m
            a = own.bounds_of(home)
            for tile in held:
                there = (made.grids[tile.scene], tile.window)
                if there[0].crs == own.crs:
                    b = there[0].bounds_of(tile.window)
                    across = max(a[0] - b[2], b[0] - a[2])
                    along = max(a[1] - b[3], b[1] - a[3])
                    # Grids half a pixel apart count as one only to a hundredth of a pixel.
                    assert max(across, along) >= wanted - tolerance
                elif wanted:
                    assert metres_apart((own, home), there) >= wanted * 0.999 - 0.05


@settings(deadline=None, max_examples=25)
@given(layouts())
def test_what_is_clear_anyway_trains_whole(case):
    """The buffer takes nothing beyond its width: a pixel farther away than that trains."""
    made, folding, count = case
    if not made.pool or len(made.grids) > 1 or folding.by == "random":
        return
    (name,) = made.grids
    layout = made.layout(folding)
    for units in dealt(layout, count):
        held = made.marked((t.scene, t.window) for t in layout.held_out(units))[name]
        train = made.marked((t.scene, t.window) for t in layout.train(units))[name]
        assert train.max() <= 1
        given_ = made.marked((t.scene, t.window) for t in made.pool)[name]
        # A corner of what is held out takes a whole row or column of the block beside it.
        side = max(max(p.window.height, p.window.width) for p in layout.parts)
        reach = layout.buffers[name] + side
        rows, columns = np.nonzero(held)
        far = np.ones(held.shape, bool)
        if len(rows):
            for row, column in {(r // 8, c // 8) for r, c in zip(rows, columns, strict=True)}:
                far[
                    max(0, 8 * row - reach) : 8 * row + 8 + reach,
                    max(0, 8 * column - reach) : 8 * column + 8 + reach,
                ] = False
        lost = far & (given_ > 0) & (train == 0) & (made.labels[name] != 255)
        assert not lost.any()


windows = st.builds(
    Window, st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 60), st.integers(1, 60)
)


@given(windows, st.lists(windows, max_size=5))
def test_a_cleared_window_lies_inside_and_meets_no_obstacle(window, obstacles):
    rest = window.clear_of(obstacles)
    if rest is None:
        assert obstacles
        return
    assert rest.intersect(window) == rest
    assert not any(rest.intersect(obstacle) for obstacle in obstacles)


def test_clearing_takes_no_more_than_it_must():
    window = Window(0, 0, 100, 100)
    left, corner = Window(0, -50, 100, 60), Window(-50, -50, 60, 60)
    assert window.clear_of([]) == window
    assert window.clear_of([corner, left]) == Window(0, 10, 100, 90)
    assert window.clear_of([window.grow(1)]) is None


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_class_in_enough_blocks_is_in_every_fold_and_shared_out(data):
    count = data.draw(st.integers(2, 5))
    units = data.draw(st.integers(3 * count, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    counts = (1000 * random.lognormal(0, 1, (units, 4))).astype(int) + 1
    for place in range(4):
        counts[random.permutation(units)[: random.integers(0, units)], place] = 0
    fold = draw_folds(counts, count=count, seed=0)
    assert set(fold) == set(range(count))
    for one in range(count):
        got = counts[fold == one].sum(axis=0)
        assert (got[(counts > 0).sum(axis=0) >= count] > 0).all()


def test_folds_get_about_the_same_of_each_class():
    made = Made({"a": grid(640, 640)}, Split(val=0, test=0))
    layout = made.layout(Folding())
    shares = [layout.counts[units].sum(axis=0) for units in dealt(layout, 4)]
    np.testing.assert_allclose(shares / layout.counts.sum(axis=0), 0.25, atol=0.05)


def test_the_blocks_are_those_of_the_split():
    made = Made({"a": grid(320, 320)}, Split(val=0.2, test=0.2, seed=3))
    layout = made.layout(Folding())
    regions = {tile.home for tile in made.pool}
    assert {part.window for part in layout.parts} == regions
    assert len(layout.counts) == len(regions)


def test_scenes_of_the_same_ground_are_held_out_together():
    grids = {"spring": grid(256, 256), "autumn": grid(256, 256)}
    made = Made(grids, Split(val=0, test=0))
    layout = made.layout(Folding())
    for units in dealt(layout, 3):
        held = made.marked((t.scene, t.window) for t in layout.held_out(units))
        np.testing.assert_array_equal(held["spring"] > 0, held["autumn"] > 0)
        assert {tile.scene for tile in layout.train(units)} == set(grids)


def test_scenes_that_are_clear_keep_their_regions():
    grids = {name: grid(150, 150, left=1000 * i) for i, name in enumerate("abc")}
    made = Made(grids, Split(val=0, test=0))
    layout = made.layout(Folding("scene"))
    assert len(layout.counts) == 3
    for units in dealt(layout, 3):
        held = {tile.scene for tile in layout.held_out(units)}
        assert len(held) == 1
        assert layout.train(units) == [tile for tile in made.pool if tile.scene not in held]
        assert layout.nearest_m(units) == pytest.approx(850 / 0.9996, abs=0.01)


def test_too_few_blocks_are_named_with_the_remedy():
    made = Made({"a": grid(100, 100)}, Split(val=0, test=0))
    with pytest.raises(
        InputError, match=r"9 folds need as many blocks with labels, got 4; set few"
    ):
        check_units(made.layout(Folding()), 9)
    with pytest.raises(
        InputError, match=r"2 folds need as many scenes .* got 1; .*split\.by=block"
    ):
        check_units(made.layout(Folding("scene")), 0)
