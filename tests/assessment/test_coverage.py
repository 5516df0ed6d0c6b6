"""Over many draws the estimates are right on average, and intervals hold the truth as promised."""

import numpy as np
import pytest

from geoseg.assessment.estimate import Observations, Sample, Strata
from geoseg.assessment.intervals import interval
from tests.made import maps

DRAWS = 1000
SIZES = {1: 250, 2: 200, 5: 150}


@pytest.fixture(scope="module")
def drawn():
    """True shares, and (value, held) of overall accuracy and areas over all draws."""
    truth = maps.truth(500, 500)
    mapped = maps.mistaken(truth, 0.3)
    truth, mapped = (np.searchsorted([1, 2, 5], a.ravel()) for a in (truth, mapped))
    places = [np.flatnonzero(mapped == k) for k in range(3)]
    strata = Strata(np.array([len(p) for p in places]))
    sizes = list(SIZES.values())
    random = np.random.default_rng(0)
    chosen = [
        np.stack([random.choice(p, n, replace=False) for _ in range(DRAWS)])
        for p, n in zip(places, sizes, strict=True)
    ]
    stratum = np.repeat(np.arange(3), sizes)
    expected = np.array([(truth == mapped).mean(), *(np.bincount(truth) / truth.size)])
    values, held = np.empty((DRAWS, 4)), np.empty((DRAWS, 4), bool)
    for number in range(DRAWS):
        at = np.concatenate([c[number] for c in chosen])
        sample = Sample(strata, Observations.of_pixels(stratum, mapped[at], truth[at]))
        for k, one in enumerate((sample.overall(), *(sample.share(i) for i in range(3)))):
            found = interval(one, 0.95)
            values[number, k] = found.value
            held[number, k] = found.low <= expected[k] <= found.high
    counted = np.bincount(mapped) / mapped.size
    return expected, values, held, counted


def test_the_estimator_is_unbiased(drawn):
    expected, values, _, _ = drawn
    assert values.mean(axis=0) == pytest.approx(expected, rel=0.01)


def test_intervals_hold_the_truth_as_often_as_they_say(drawn):
    """All classes have more than 20 observations outside their own stratum, but the rare one."""
    held = drawn[2].mean(axis=0)
    assert (held[:3] >= 0.93).all()
    assert (held[:3] <= 0.97).all()


def test_counting_pixels_is_biased_where_errors_do_not_cancel_out(drawn):
    expected, values, _, counted = drawn
    rare = expected[3]
    assert counted[2] > 2 * rare  # the map has more than twice as much as there is
    assert values[:, 3].mean() == pytest.approx(rare, rel=0.01)
