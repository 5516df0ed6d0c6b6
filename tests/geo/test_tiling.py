"""Tiling: windows cover every axis, tiles partition every region."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling


@st.composite
def tilings(draw):
    size = draw(st.integers(8, 64))
    return Tiling(size, draw(st.integers(0, size // 2)))


@given(tilings(), st.integers(1, 500))
def test_windows_cover_an_axis_share_the_overlap_and_stay_inside(tiling, length):
    starts = tiling.starts(length)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] + tiling.size == max(length, tiling.size)
    for before, after in pairwise(starts):
        assert before + tiling.size - after >= tiling.overlap
    steps = np.diff(starts)
    assert (steps[:-1] == tiling.size - tiling.overlap).all()


def test_windows_of_lengths_about_one_window():
    tiling = Tiling(256, 64)
    assert [tiling.starts(n) for n in (1, 255, 256, 257, 448, 449)] == [
        *([0], [0], [0], [0, 1], [0, 192], [0, 192, 193]),
    ]


@given(
    tilings(),
    st.builds(
        Window, st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 200), st.integers(1, 200)
    ),
)
def test_tiles_partition_a_region(tiling, region):
    count = np.zeros((region.height, region.width), int)
    for tile in tiling.tiles(region):
        assert max(tile.height, tile.width) <= tiling.size
        count[tile.within(region)] += 1
    assert (count == 1).all()


def test_faults_are_told_together():
    with pytest.raises(InputError) as caught:
        Tiling(4, 3)
    assert len(caught.value.faults) == 2
    with pytest.raises(InputError, match=r"tiling\.overlap=-1"):
        Tiling(64, -1)
