import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.evaluation.difference import Difference
from geoseg.evaluation.pairs import PairCodes, PairNumbers
from geoseg.geo.legend import LegendClass

OLOFSSON = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]], float)
"""Olofsson et al. 2014, Table 8: sample counts, rows map."""
SHARES = np.array([200_000, 150_000, 3_200_000, 6_450_000]) / 10_000_000
STEHMAN = np.array([[23, 4, 4, 0], [12, 27, 8, 0], [0, 2, 6, 4], [0, 1, 2, 7]], float)
"""Stehman 2014: area matrix in percent."""


def test_published_matrices_to_the_digit():
    area = OLOFSSON / OLOFSSON.sum(axis=1, keepdims=True) * SHARES[:, None]
    found = Difference.of(area)
    parts = (found.disagreement, found.quantity, found.exchange, found.shift)
    assert [round(p, 6) for p in parts] == [0.053488, 0.004493, 0.044492, 0.004503]
    found = Difference.of(STEHMAN)
    parts = (found.disagreement, found.quantity, found.exchange, found.shift)
    assert parts == pytest.approx((0.37, 0.13, 0.16, 0.08))


def test_the_same_twice_differs_in_nothing():
    found = Difference.of(np.diag([5.0, 0.3, 12.7]))
    assert (found.disagreement, found.quantity, found.exchange, found.shift) == (0, 0, 0, 0)
    assert not found.by_class.any()


@settings(deadline=None)
@given(st.floats(1e-3, 1e9))
def test_a_ring_of_three_is_all_shift(area):
    found = Difference.of(area * np.roll(np.eye(3), 1, axis=1))
    assert found.disagreement == pytest.approx(1)
    assert found.exchange == 0
    assert found.quantity == pytest.approx(0)
    assert found.shift == pytest.approx(found.disagreement)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_parts_add_up_and_are_the_same_both_ways(size, seed):
    matrix = np.random.default_rng(seed).integers(0, 50, (size, size)).astype(float)
    matrix[0, 0] += 1
    found, turned = Difference.of(matrix), Difference.of(matrix.T)
    whole = found.quantity + found.exchange + found.shift
    assert whole == pytest.approx(found.disagreement, abs=1e-12)
    assert found.disagreement == pytest.approx(1 - np.trace(matrix) / matrix.sum())
    assert found.by_class.sum(axis=0) / 2 == pytest.approx(
        [found.quantity, found.exchange, found.shift]
    )
    assert np.allclose(turned.by_class, found.by_class)


def test_nothing_compared_has_no_difference():
    found = Difference.of(np.zeros((2, 2)))
    assert np.isnan(found.disagreement)
    assert found.to_dict(["a", "b"])["quantity"] is None
    with pytest.raises(ValueError, match="as many rows as columns"):
        Difference.of(np.zeros((2, 3)))


def codes(weights, before=()):
    return PairCodes.of(
        weights, name=lambda i, j: f"{i} to {j}", color=lambda i, j: "#102030", before=before
    )


def test_codes_are_fixed_while_all_pairs_fit():
    weights = np.zeros((3, 3))
    weights[2, 1] = weights[0, 0] = 1
    found = codes(weights)
    assert found.legend.codes == [1, 8]
    assert found.legend.names == ["0 to 0", "2 to 1"]
    right = LegendClass(1, "2 to 1", "#ffffff", ("right",))
    found = codes(weights, before=[right])
    assert found.table[2, 1] == 2 + 2 * 3 + 1
    assert len(set(found.legend.names)) == 3, "no name is there twice"


def test_the_smallest_pairs_are_other_where_there_are_too_many():
    weights = np.arange(400, dtype=float).reshape(20, 20)
    found = codes(weights)
    assert len(found.legend) == 254
    assert found.other == 254
    assert found.table[0, 0] == 0, "does not occur"
    assert found.table[0, 1] == found.table[7, 6] == 254
    assert found.table[19, 19] == 253
    fewer = np.where(weights > 390, weights, 0)
    kept = found.only(fewer)
    assert len(kept.legend) == 9
    assert kept.other is None
    assert kept.table[19, 19] == 253


@pytest.mark.parametrize("size", [1, 3, 15, 16, 40])
def test_numbers_of_pairs(size):
    rng = np.random.default_rng(size)
    one, two = rng.integers(0, size, (2, 90, 1000)).astype(np.uint8)
    one[0, :50] = 255
    two[3, 7] = 255
    pairs = PairNumbers(size)
    numbers = pairs.of_indices(one, two)
    assert numbers.dtype == (np.uint8 if size <= 15 else np.uint16)
    naive = np.zeros((size, size), int)
    compared = (one < 255) & (two < 255)
    np.add.at(naive, (one[compared], two[compared]), 1)
    counts = pairs.counts(numbers)
    assert np.array_equal(pairs.split(counts), naive)
    assert counts[0] == 51
    differ = pairs.look_up(pairs.table(~np.eye(size, dtype=bool)), numbers)
    assert np.array_equal(differ, compared & (one != two))
