"""Sizes and allocations are those that the literature prints."""

import numpy as np
import pytest

from geoseg.assessment.sampling import allocation
from geoseg.assessment.sampling.plan import Plan
from geoseg.assessment.sampling.population import Stratum
from geoseg.assessment.sampling.settings import Sampling
from geoseg.outputs.summary import Summary
from tests.made.scenes import LEGEND

WEIGHTS = np.array([0.02, 0.015, 0.32, 0.645])
ACCURACY = np.array([0.7, 0.6, 0.9, 0.95])


def test_olofsson_2014_sample_size():
    size = allocation.size_for(WEIGHTS, ACCURACY, 0.01)
    assert size == pytest.approx(640.536, abs=5e-4)


@pytest.mark.parametrize(
    ("minimum", "rest"), [(75, (162.8, 328.2)), (100, (146.2, 294.8)), (50, (179.4, 361.6))]
)
def test_olofsson_2014_allocations_with_a_minimum(minimum, rest):
    points = allocation.balanced(WEIGHTS, 641, minimum)
    assert points == pytest.approx([minimum, minimum, *rest], abs=0.05)


def test_olofsson_2014_other_allocations():
    made = allocation.allocations(WEIGHTS, ACCURACY, 641, 75)
    assert made["proportional"] == pytest.approx([12.8, 9.6, 205.1, 413.4], abs=0.05)
    assert made["equal"] == pytest.approx([160.25] * 4)
    assert made["neyman"] == pytest.approx([23.2, 18.6, 243.1, 356.0], abs=0.05)
    ses = {k: allocation.expected_se(WEIGHTS, ACCURACY, v) for k, v in made.items()}
    assert min(ses, key=ses.get) == "neyman"
    assert ses["neyman"] == pytest.approx(0.01, abs=1e-5)


def test_area2_cambodia_the_area_of_a_rare_class():
    """p = 0.6 in its stratum, 0.01 in three others, 0 in two of 0.3 % and 0.2 % of the area."""
    own = 0.0667431639819303
    weights = np.array([258 / 625, 308 / 625, 14 / 625, own, 2 / 625, 1 / 625])
    shares = np.array([0.01, 0.01, 0.01, 0.6, 0, 0])
    assert round(allocation.size_for(weights, shares, 0.005)) == 625


def test_a_small_population_needs_fewer_points():
    whole = allocation.size_for(WEIGHTS, ACCURACY, 0.01)
    small = allocation.size_for(WEIGHTS, ACCURACY, 0.01, 1000)
    assert small < 0.65 * whole


def test_all_strata_rare_get_the_minimum():
    assert allocation.balanced(np.array([0.5, 0.5]), 60, 50).tolist() == [50, 50]


def test_rounding_keeps_the_sum_and_the_least():
    units = np.array([10**6] * 4)
    points = allocation.neyman(WEIGHTS, ACCURACY, 641)
    assert allocation.rounded(points, units).sum() == 641
    assert allocation.rounded(np.array([0.2, 9.8]), np.array([4, 9])).tolist() == [2, 9]


def test_what_a_small_stratum_can_not_take_goes_to_the_others():
    points, units = np.array([30.0, 30.0, 60.0, 180.0]), np.array([2, 10**6, 65, 10**6])
    assert allocation.rounded(points, units).tolist() == [2, 33, 65, 200]
    assert allocation.rounded(points, np.array([2, 3, 4, 5])).tolist() == [2, 3, 4, 5]
    own = Sampling(size=100, allocation={"a": 50, "b": 10})
    strata = {number: Stratum(name) for number, name in enumerate("abc", 1)}
    plan = Plan.of(strata, {1: (20, 1.0), 2: (500, 1.0), 3: (900, 1.0)}, own, LEGEND)
    assert plan.points.tolist() == [20, 10, 70]
    few = Sampling(size=100, minimum=30)
    measures = {1: (900, 1.0), 2: (9000, 1.0)}
    plan = Plan.of({1: strata[1], 2: strata[2]}, measures, few, LEGEND, most={1: 12, 2: 600})
    assert plan.points.tolist() == [12, 88]


def test_more_points_than_are_asked_for_are_told_of():
    strata = {number: Stratum(str(number)) for number in range(1, 9)}
    many = dict.fromkeys(strata, (900, 1.0))

    def said(**options):
        summary = Summary()
        Plan.of(strata, many, Sampling(**options), LEGEND).describe(summary)
        return str(summary)

    assert "400 points where 200 are asked for: each stratum gets sample.minimum=50" in said(
        size=200
    )
    assert "the strata hold no more" in said(size=9000)
    assert "asked for" not in said(size=400) + said(size=100, allocation={"1": 75})


def test_strata_that_are_expected_to_be_all_right_are_not_left_without_points():
    points = allocation.neyman(np.array([0.5, 0.5]), np.array([1.0, 0.8]), 100)
    assert allocation.rounded(points, np.array([100, 100])).tolist() == [2, 100]
