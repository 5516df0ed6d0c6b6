"""Points are drawn with the probabilities that the estimator believes in, however a map is read."""

import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from affine import Affine

from geoseg.assessment.sampling.count import Lattice, count, hectares
from geoseg.assessment.sampling.draw import (
    Blocks,
    cluster_points,
    random_points,
    systematic_points,
)
from geoseg.assessment.sampling.population import Stratum, _grown
from geoseg.geo.grid import Grid
from tests.made import maps


@dataclass
class Made:
    """Strata in memory; 0 = outside."""

    codes: np.ndarray
    grid: Grid = field(init=False)
    strata: dict = field(default_factory=lambda: {k: Stratum(str(k), k) for k in (1, 2, 5)})

    def __post_init__(self):
        self.grid = maps.place(*self.codes.shape)

    def read(self, window):
        part = self.codes[window.top : window.bottom, window.left : window.right]
        return part, part


@pytest.fixture
def made():
    codes = maps.truth(600, 520)
    codes[:40, :100] = 0
    return Made(codes)


def test_counts_are_those_of_the_raster_and_their_areas_those_of_its_pixels(made):
    found = count(made, Lattice.of(made.grid))
    values, pixels = np.unique(made.codes[made.codes > 0], return_counts=True)
    assert {k: found.pixels(k) for k in found.strata} == dict(
        zip(values.tolist(), pixels.tolist(), strict=True)
    )
    rows, columns = np.nonzero(made.codes == 2)
    exact = hectares(made.grid, rows + 0.5, columns + 0.5).sum()
    assert found.hectares(found.strata[2]) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 100, 256, 10_000])
def test_strips_of_any_height_give_the_same_points(made, rows):
    lattice, sizes = Lattice.of(made.grid), {1: (40, 4), 2: (30, 3), 5: (20, 2)}
    whole, strips = count(made, lattice), count(made, lattice, rows=rows)
    for k in whole.strata:
        assert np.array_equal(whole.strata[k], strips.strata[k])
    a, b = (random_points(made, counts, sizes, seed=3) for counts in (whole, strips))
    assert np.array_equal(a.row, b.row)
    assert np.array_equal(a.column, b.column)
    assert (made.codes[a.row, a.column] == a.number).all()


def test_random_points_are_as_many_as_asked_for_and_none_twice(made):
    counts = count(made, Lattice.of(made.grid))
    drawn = random_points(made, counts, {1: (400, 40), 5: (50, 5)}, seed=0)
    assert [(drawn.number == k).sum() for k in (1, 5)] == [440, 55]
    assert [(drawn.reserve & (drawn.number == k)).sum() for k in (1, 5)] == [40, 5]
    assert len(set(zip(drawn.row.tolist(), drawn.column.tolist(), strict=True))) == 495
    other = random_points(made, counts, {1: (400, 40), 5: (50, 5)}, seed=1)
    assert not np.array_equal(drawn.row, other.row)


@pytest.mark.parametrize("design", ["random", "systematic", "cluster"])
def test_every_pixel_of_a_stratum_is_as_likely(design):
    """A hundred pixels, drawn many times: each is hit about as often (chi-squared)."""
    codes = np.ones((12, 10), np.uint8)
    codes[:2] = 0  # outside
    made, hits = Made(codes), np.zeros(codes.shape)
    draws = 400
    counts = count(made, Lattice(made.grid, 5, 5))
    for seed in range(draws):
        if design == "random":
            drawn = random_points(made, counts, {1: (10, 0)}, seed)
        elif design == "systematic":
            drawn = systematic_points(made, counts, {1: (10, 0)}, seed)
        else:
            drawn = cluster_points(made, Blocks.of(counts), {1: 2}, 5, seed)
        share = drawn.block_pixels / 5 if design == "cluster" else 1
        np.add.at(hits, (drawn.row, drawn.column), share)
    inside = hits[2:]
    assert hits[:2].sum() == 0
    expected = draws * 10 / 100 if design != "cluster" else draws * 2 / 6
    assert inside.mean() == pytest.approx(expected, rel=0.06)
    spread = inside.std() / inside.mean()
    assert spread < (0.25 if design == "cluster" else 0.21)


def test_a_grid_spreads_points_more_evenly_than_chance(made):
    made.codes[:] = 1
    counts = count(made, Lattice.of(made.grid))

    def unevenness(drawn):
        cells = np.zeros((5, 5))
        np.add.at(cells, (drawn.row // 120, drawn.column // 104), 1)
        return cells.std()

    systematic = systematic_points(made, counts, {1: (400, 0)}, seed=0)
    assert len(systematic) == pytest.approx(400, rel=0.1)
    assert unevenness(systematic) < 0.6 * unevenness(random_points(made, counts, {1: (400, 0)}, 0))


def test_blocks_are_of_the_class_they_hold_most_of(made):
    lattice = Lattice(made.grid, 40, 40)
    blocks = Blocks.of(count(made, lattice))
    assert sum(blocks.number_of().values()) == (blocks.pixels > 0).sum()
    drawn = cluster_points(made, blocks, {1: 6}, 8, seed=0)
    assert len(np.unique(drawn.block)) == 6
    assert (drawn.row // 40 * lattice.columns + drawn.column // 40 == drawn.block).all()
    assert (made.codes[drawn.row, drawn.column] == drawn.code).all()
    assert (drawn.code > 0).all()


def test_cells_follow_the_area_of_pixels_in_degrees():
    grid = Grid("EPSG:4326", Affine(0.01, 0, 10, 0, -0.01, 70), 2000, 1000)
    lattice = Lattice.of(grid)
    assert lattice.height < 64
    assert lattice.width > 256
    assert lattice.rows * lattice.height >= 2000
    rows, columns = np.indices((2000, 1000)) + 0.5
    exact = hectares(grid, rows[:, :1], columns[:, :1]).sum() * 1000
    cells = np.zeros((lattice.rows, lattice.columns))
    for i in range(lattice.rows):
        for j in range(lattice.columns):
            cells[i, j] = lattice.cell(i, j).area
    assert (cells * lattice.areas()).sum() == pytest.approx(exact, rel=1e-5)


@dataclass
class Endless:
    """A raster that is made as it is read."""

    height: int
    width: int = 2000

    def __post_init__(self):
        self.grid = maps.place(self.height, self.width)
        self.strata = {k: Stratum(str(k), k) for k in (1, 2, 5)}
        self.pattern = maps.truth(256, self.width)

    def read(self, window):
        part = self.pattern[np.arange(window.top, window.bottom) % 256]
        part = np.ascontiguousarray(part[:, window.left : window.right])
        return part, part


def test_memory_does_not_grow_with_the_map():
    for height in (2000, 20_000):
        source = Endless(height)
        tracemalloc.start()
        counts = count(source, Lattice.of(source.grid))
        drawn = random_points(source, counts, {1: (100, 0), 2: (100, 0), 5: (50, 0)}, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(drawn) == 250
        # A few strips, of which some are read ahead: a tenth of the higher raster.
        assert peak < 8 * 256 * source.width


@pytest.mark.parametrize("pixels", [1, 2, 3, 5, 8])
def test_a_buffer_grows_by_just_that_many_pixels(pixels):
    inside = np.zeros((31, 33), bool)
    inside[15, 16] = True
    grown = _grown(inside, pixels)
    expected = np.zeros_like(inside)
    expected[15 - pixels : 16 + pixels, 16 - pixels : 17 + pixels] = True
    assert np.array_equal(grown, expected)
