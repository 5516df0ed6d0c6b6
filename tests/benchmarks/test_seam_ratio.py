"""Seams: planted ones are found, and none where there are none."""

from math import isnan

import numpy as np
import pytest

from benchmarks.seam_ratio import Seams, borders, count, cuts, matched, pooled
from geoseg.geo.tiling import Tiling

LINES = [32, 64, 96]


def noise(share: float, seed: int = 0, side: int = 128) -> np.ndarray:
    """A field of class 1 with pixels of class 2."""
    return 1 + (np.random.default_rng(seed).random((side, side)) < share).astype(np.uint8)


def test_a_small_map_by_hand():
    codes = np.array([[1, 1, 2], [1, 2, 2], [3, 2, 2]], np.uint8)
    seams = count(codes, [1], [2])
    # Between rows 0 and 1: 1-1, 1-2, 2-2; between columns 1 and 2: 1-2, 2-2, 2-2.
    assert seams == Seams(6, 2, 6, 3)
    assert seams.ratio == pytest.approx((2 / 6) / (3 / 6))


def test_a_planted_seam_shows():
    quarters = np.kron([[1, 2], [2, 1]], np.ones((64, 64))).astype(np.uint8)
    codes = np.where(noise(0.01) == 2, 3, quarters).astype(np.uint8)
    assert count(codes, [64], [64]).ratio > 20
    assert count(codes, [32], [96]).ratio < 1.5


def test_a_random_field_has_none():
    parts = [count(noise(0.3, seed), LINES, LINES) for seed in range(20)]
    ratio, error = pooled(parts)
    assert error < 0.02
    assert abs(ratio - 1) < 3 * error


def test_the_error_is_that_of_repetition():
    """The jackknife's error of a half is the spread over many such halves."""
    parts = [count(noise(0.3, seed), LINES, LINES) for seed in range(200)]
    pools = [pooled(parts[i : i + 10]) for i in range(0, 200, 10)]
    spread = np.std([ratio for ratio, _ in pools], ddof=1)
    assert np.mean([error for _, error in pools]) == pytest.approx(spread, rel=0.4)


def test_the_same_ground_is_the_measure():
    """Where classes change often, lines are no seams if they change as often without lines."""
    ground = np.where(np.arange(128) < 40, noise(0.5), noise(0.02)).astype(np.uint8)
    maps = [(ground, [], [10 + i, 20 + i, 30 + i]) for i in range(5)]
    plain = sum((count(*one) for one in maps), Seams())
    assert plain.ratio > 2
    assert pooled(matched(maps)) == (1, 0)


def test_the_same_ground_shows_a_seam():
    maps = []
    for i in range(4):
        codes = noise(0.1)
        codes[30 + i :, :] = 3 - codes[30 + i :, :]
        maps.append((codes, [30 + i], []))
    seams = sum(matched(maps), Seams())
    assert seams.pairs_across == seams.pairs_elsewhere == 4 * 128
    # Two pixels differ with 0.18; across a line, where one is turned, with 0.82.
    assert seams.ratio == pytest.approx(0.82 / 0.18, rel=0.3)


def test_maps_of_parts_of_the_ground():
    first, second = noise(0.3), noise(0.3)
    first[:10], second[-10:] = 0, 0
    maps = [(first, [10, 60], []), (second, [5, 118], [])]
    # Rows 9 | 10 and 117 | 118 are at a map's edge; the second's row 4 | 5 is in no other map.
    assert [seams.pairs_across for seams in matched(maps)] == [128, 0]
    assert matched(maps[:1])[0].pairs_across == 0


def test_a_constant_map_has_no_ratio():
    seams = count(np.ones((128, 128), np.uint8), LINES, LINES)
    assert seams.changes_across == seams.changes_elsewhere == 0
    assert seams.share_across == 0
    assert isnan(seams.ratio)
    assert isnan(pooled([seams])[1])


def test_nodata_does_not_count():
    codes = noise(0.3)
    codes[:, 60:70] = 0  # no pair across column 64
    assert count(codes, [], [64]).pairs_across == 0
    seams = count(codes, [32], [])
    assert seams.pairs_across == 128 - 10
    everything = count(np.where(codes == 0, 9, codes), [], [])
    changes = sum(
        int(np.sum((a != b) & (a > 0) & (b > 0)))
        for a, b in ((codes[1:], codes[:-1]), (codes[:, 1:], codes[:, :-1]))
    )
    assert seams.changes_across + seams.changes_elsewhere == changes
    assert everything.changes_elsewhere > changes
    assert count(codes, [], [64], valid=codes > -1).pairs_across == 128


def test_lines_at_the_edges_and_given_twice():
    codes = noise(0.3)
    assert count(codes, [0, 64, 64, 128, 200, -3], []) == count(codes, [64], [])


def test_lines_of_a_tiling():
    tiling = Tiling(64, 16)
    starts = tiling.starts(160)
    assert starts == [0, 48, 96]
    assert borders(starts, 64) == [0, 48, 64, 96, 112, 160]
    assert cuts(starts, 64) == [56, 104]
    assert cuts(Tiling(64, 0).starts(192), 64) == [64, 128]
