"""The estimator gives the numbers that are printed in the literature."""

import numpy as np
import pytest

from geoseg.assessment.estimate import Observations, Sample, Strata
from geoseg.assessment.intervals import interval, z_of

OLOFSSON_2014 = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS_2014 = np.array([200_000, 150_000, 3_200_000, 6_450_000])


def of_matrix(counts, units, *, corrected=False):
    """Sample of an error matrix (H, K) whose rows are strata and map classes in one."""
    rows, columns = (np.repeat(a.ravel(), counts.ravel()) for a in np.indices(counts.shape))
    observations = Observations.of_pixels(rows, rows, columns)
    return Sample(Strata(np.asarray(units, float), corrected), observations)


def values(estimates):
    return [e.value for e in estimates]


def margins(estimates):
    return [z_of(0.95) * e.se for e in estimates]


def near(expected, digits):
    """Equal when printed with so many digits, and half a digit of rounding in the print."""
    return pytest.approx(expected, abs=0.51 * 10**-digits)


def test_olofsson_2014_table_8():
    sample = of_matrix(OLOFSSON_2014, PIXELS_2014)
    k = range(4)
    cells = [[sample.cell(i, j).value for j in k] for i in k]
    expected = [
        [0.0176, 0, 0.001333, 0.001067],
        [0, 0.011, 0.0016, 0.0024],
        [0.001939, 0, 0.296727, 0.021333],
        [0.003969, 0.001985, 0.017862, 0.621185],
    ]
    assert np.array(cells) == near(np.array(expected), 6)
    overall = sample.overall()
    assert (overall.value, z_of(0.95) * overall.se) == near((0.946512, 0.018483), 6)
    users = [sample.users(i) for i in k]
    assert values(users) == near([0.88, 0.733333, 0.927273, 0.963077], 6)
    assert margins(users) == near([0.074040, 0.100755, 0.039745, 0.020533], 6)
    producers = [sample.producers(i) for i in k]
    assert values(producers) == near([0.748661, 0.847156, 0.934509, 0.961609], 6)
    assert margins(producers) == near([0.213306, 0.254404, 0.034324, 0.018361], 6)
    hectares = PIXELS_2014.sum() * 0.09
    areas = [sample.share(i) for i in k]
    assert np.array(values(areas)) * hectares == near([21157.8, 11686.2, 285769.9, 581386.2], 1)
    assert np.array(margins(areas)) * hectares == near([6157.5, 3755.8, 15509.6, 16281.4], 1)


def test_the_finite_population_makes_next_to_no_difference_in_a_map():
    se = [
        of_matrix(OLOFSSON_2014, PIXELS_2014, corrected=corrected).overall().se
        for corrected in (False, True)
    ]
    assert se == near([0.009430417, 0.009430153], 9)


def test_olofsson_2013_example_1():
    units = np.array([22353, 1122543, 610228])
    sample = of_matrix(np.array([[97, 0, 3], [3, 279, 18], [2, 1, 97]]), units)
    areas = [sample.share(i) for i in range(3)]
    assert values(areas) == near([0.025703, 0.598287, 0.376010], 6)
    pixels = np.array([areas[0].value, margins(areas)[0]]) * units.sum()
    assert pixels == near([45112.4, 21072.4], 1)
    overall = sample.overall()
    assert (overall.value, z_of(0.95) * overall.se) == near((0.944417, 0.021882), 6)
    users, producers = ([f(i) for i in range(3)] for f in (sample.users, sample.producers))
    assert values(users) == near([0.97, 0.93, 0.97], 6)
    assert margins(users) == near([0.033603, 0.028920, 0.033603], 6)
    assert values(producers) == near([0.480631, 0.994189, 0.896926], 6)
    assert margins(producers) == near([0.224530, 0.011325, 0.041205], 6)


def test_olofsson_2013_example_2():
    counts = np.array([[127, 66, 54], [2, 322, 17], [0, 15, 540]])
    sample = of_matrix(counts, np.array([0.007, 0.295, 0.698]) * 1e9)
    overall = sample.overall()
    assert (overall.value, z_of(0.95) * overall.se) == near((0.961297, 0.011864), 6)
    users, producers = ([f(i) for i in range(3)] for f in (sample.users, sample.producers))
    assert values(users) == near([0.514170, 0.944282, 0.972973], 6)
    assert margins(users) == near([0.062456, 0.024381, 0.013503], 6)
    assert values(producers) == near([0.675347, 0.930720, 0.976650], 6)
    assert margins(producers) == near([0.304584, 0.029382, 0.009604], 6)


def stehman_2014(*, corrected=True):
    """Ten points in each of four strata that are not the map's classes."""
    mapped = "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"
    reference = "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"
    indices = ([ord(letter) - ord("A") for letter in text] for text in (mapped, reference))
    observations = Observations.of_pixels(np.repeat(np.arange(4), 10), *indices)
    return Sample(Strata(np.array([40000, 30000, 20000, 10000]), corrected), observations)


def test_stehman_2014_strata_that_are_not_the_classes():
    sample = stehman_2014()
    k = range(4)
    areas = [sample.share(i) for i in k]
    assert values(areas) == near([0.35, 0.34, 0.20, 0.11], 9)
    assert [e.se for e in areas] == near([0.082248, 0.075853, 0.064280, 0.030722], 6)
    overall = sample.overall()
    assert (overall.value, overall.se) == near((0.63, 0.084642), 6)
    users = [sample.users(i) for i in k]
    assert values(users) == near([0.741935, 0.574468, 0.5, 0.7], 6)
    assert [e.se for e in users] == near([0.164542, 0.124782, 0.215112, 0.152676], 6)
    producers = [sample.producers(i) for i in k]
    assert values(producers) == near([0.657143, 0.794118, 0.3, 0.636364], 6)
    assert [e.se for e in producers] == near([0.147710, 0.116548, 0.150411, 0.162280], 6)
    cells = [[sample.cell(i, j).value for j in k] for i in k]
    expected = [
        [0.23, 0.04, 0.04, 0],
        [0.12, 0.27, 0.08, 0],
        [0, 0.02, 0.06, 0.04],
        [0, 0.01, 0.02, 0.07],
    ]
    assert np.array(cells) == near(np.array(expected), 9)
    assert stehman_2014(corrected=False).users(0).se == near(0.1645627, 7)


def test_f1_is_a_ratio_and_its_parts_are_not_independent():
    f1 = [stehman_2014(corrected=False).f1(i) for i in range(4)]
    assert values(f1) == near([0.696970, 0.666667, 0.375, 0.666667], 6)
    assert [e.se for e in f1] == near([0.128296, 0.100203, 0.161311, 0.128736], 6)


def test_openmrv_colombia_a_buffer_stratum_without_a_class_of_its_own():
    counts = np.array([[271, 3, 1], [6, 193, 1], [2, 1, 27], [23, 0, 7]])
    sample = of_matrix(counts, np.array([0.551, 0.407, 0.0137, 0.0287]) * 1e9)
    areas = [sample.share(i) for i in range(3)]
    total = 0.551 + 0.407 + 0.0137 + 0.0287  # the tutorial's weights sum up to 1.0004
    assert np.array(values(areas)) * total == near([0.57811, 0.39922, 0.02307], 5)
    assert np.array([e.se for e in areas]) * total == near([0.0067520, 0.0063466, 0.0037174], 6)
    assert 1.96 * areas[0].se * total == near(0.0132339, 6)
    assert [sample.users(i).value for i in range(3)] == near([0.985, 0.965, 0.900], 3)
    assert [sample.producers(i).value for i in range(3)] == near([0.939, 0.984, 0.535], 3)
    assert sample.overall().value * total == near(0.948, 3)


def test_pixels_of_unequal_area_weigh_by_it():
    """Two pixels of one hectare and one of two: half of the area is of each class."""
    stratum, none = np.zeros(3, int), np.zeros(3, int)
    area = np.array([1.0, 1.0, 2.0])
    sample = Sample(
        Strata(np.array([3])), Observations.of_pixels(stratum, none, [0, 0, 1], area=area)
    )
    assert values([sample.share(0), sample.share(1)]) == [0.5, 0.5]
    assert sample.total(np.ones(3)).value == 4.0
    assert sample.share(0).se == 0  # all pixels there are have been seen


TYUKAVINA_2025 = {
    # Stratum: units there are, km² of each, units seen by (share of the class in the map, in the
    # reference).
    1: (788889906, 0.000754548, {(0, 0): 132, (0, 1): 2}),
    2: (781490883, 0.0004261, {(0, 0): 96, (0, 1): 3, (0, 0.1): 1}),
    3: (1280971777, 0.00073879, {(0, 0): 204, (0, 1): 8, (0.3, 0.1): 1}),
    4: (859622001, 0.000565682, {(0, 0): 109}),
    5: (909836775, 0.000736237, {(0, 0): 143, (0, 1): 5, (0.2, 0): 1, (0.2, 0.3): 1}),
    6: (20652357, 0.000701678,
        {(1, 0): 44, (1, 1): 53, (0.5, 0): 1, (0.6, 0.7): 1, (0.7, 0.8): 1}),
    7: (1749051047, 0.000390463,
        {(1, 0): 27, (1, 1): 123, (0.7, 0.4): 1, (0.5, 0.5): 1, (0.9, 1): 1}),
    8: (199430534, 0.000740631, {(1, 0): 37, (1, 1): 62, (1, 0.9): 1}),
    9: (986295412, 0.000420496, {(1, 0): 7, (1, 1): 93}),
    10: (234157691, 0.000690284, {(1, 0): 37, (1, 1): 62, (0.8, 0.5): 1}),
}  # fmt: skip


def test_tyukavina_2025_units_of_unequal_area_that_hold_a_part_of_a_class():
    """Their example of A.1.1, counted: 1,259 units in ten strata."""
    strata = TYUKAVINA_2025.values()
    units, counts = np.array([one[0] for one in strata]), [len(one[2]) for one in strata]
    seen = [n for one in strata for n in one[2].values()]
    stratum = np.repeat(np.repeat(np.arange(10), counts), seen)
    area = np.array([one[1] for one in strata])[stratum]
    shares = np.array([pair for one in strata for pair in one[2]])
    mapped, reference = np.repeat(shares, seen, axis=0).T
    none = np.zeros(len(area), int)
    sample = Sample(Strata(units), Observations.of_pixels(stratum, none, none, area=area))
    assert len(area) == 1259
    total = sample.total(reference)
    assert (total.value, total.se) == near((1223902.897388578, 31611.10237731219), 7)
    both = np.minimum(mapped, reference)
    right = both + np.minimum(1 - mapped, 1 - reference)
    overall = sample.ratio(right, np.ones(len(area)))
    assert (100 * overall.value, 100 * overall.se) == near((92.08917027, 0.70803698), 8)
    users, producers = sample.ratio(both, mapped), sample.ratio(both, reference)
    assert (100 * users.value, 100 * users.se) == near((80.69106389, 1.82578495), 8)
    assert (100 * producers.value, 100 * producers.se) == near((93.62678077, 1.37889538), 8)


def test_classes_share_the_area_to_the_last_bit_whatever_the_pixels():
    random = np.random.default_rng(1)
    stratum, mapped, reference = (random.integers(0, 3, 300) for _ in range(3))
    given = Observations.of_pixels(stratum, mapped, reference, area=random.uniform(1, 5, 300))
    sample = Sample(Strata(np.array([1e6, 2e6, 5e5])), given)
    assert sum(sample.share(i).value for i in range(3)) == pytest.approx(1, abs=1e-12)
    cells = [[sample.cell(i, j).value for j in range(3)] for i in range(3)]
    assert np.sum(cells) == pytest.approx(1, abs=1e-12)
    columns = [sample.share(j).value for j in range(3)]
    assert np.sum(cells, axis=0) == pytest.approx(columns, abs=1e-12)


def test_clusters_of_one_pixel_are_pixels():
    given = stehman_2014(corrected=False).observations
    strata = Strata(np.array([40000, 30000, 20000, 10000]), corrected=False)
    shuffled = np.random.default_rng(0).permutation(len(given))
    blocks = Observations(
        given.stratum, given.mapped, given.reference, given.area, shuffled, given.pixels
    )
    for index in range(4):
        plain, other = (Sample(strata, one).f1(index) for one in (given, blocks))
        assert (plain.value, plain.se) == pytest.approx((other.value, other.se))


def test_points_of_one_cluster_count_once():
    """Ten points in each block that say the same are one observation: the spread is larger."""
    random = np.random.default_rng(2)
    of_block = random.integers(0, 2, 40)
    reference, unit = np.repeat(of_block, 10), np.repeat(np.arange(40), 10)
    zero, one = np.zeros(400, int), np.ones(400)
    blocks = Sample(
        Strata(np.array([1e4]), corrected=False),
        Observations(zero, zero, reference, one, unit, 10 * one),
    )
    points = Sample(Strata(np.array([1e6])), Observations.of_pixels(zero, zero, reference))
    assert blocks.share(0).value == pytest.approx(points.share(0).value)
    assert blocks.share(0).se == pytest.approx(np.sqrt(10) * points.share(0).se, rel=0.02)


def test_the_map_as_auxiliary_takes_the_spread_between_classes_out():
    """A simple random sample of a map with few errors: the difference is all that is unsure."""
    random = np.random.default_rng(3)
    mapped = random.integers(0, 2, 2000)
    reference = np.where(random.random(2000) < 0.02, 1 - mapped, mapped)
    sample = Sample(Strata(np.array([1e7])), Observations.of_pixels(0 * mapped, mapped, reference))
    plain, better = sample.share(0), sample.difference(0, 0.5)
    assert better.value == pytest.approx(0.5, abs=0.01)
    assert better.se < 0.31 * plain.se
    # Where the strata are the classes the map's shares are known anyway: nothing changes.
    classes = of_matrix(OLOFSSON_2014, PIXELS_2014)
    share = PIXELS_2014 / PIXELS_2014.sum()
    for index in range(4):
        same = classes.difference(index, share[index])
        assert same.value == pytest.approx(classes.share(index).value)
        assert same.se == pytest.approx(classes.share(index).se)


def test_no_class_in_the_map_is_neither_right_nor_wrong():
    given = Observations.of_pixels([0, 0, 0, 0], [0, 0, -1, -1], [0, 1, 0, 1])
    sample = Sample(Strata(np.array([1000])), given)
    assert sample.overall().value == 0.5  # of the two that the map decides
    assert sample.producers(0).value == 0.5  # it found one of the two
    assert sample.cell(-1, 0).value == 0.25


def test_a_stratum_with_one_point_has_no_variance():
    given = Observations.of_pixels([0, 0, 1], [0, 0, 1], [0, 0, 1])
    with pytest.raises(ValueError, match=r"strata \[1\]"):
        Sample(Strata(np.array([10, 10])), given)
    assert Sample(Strata(np.array([10, 1])), given).share(1).value == pytest.approx(1 / 11)


def test_intervals_stay_between_nothing_and_all():
    sample = of_matrix(OLOFSSON_2014, PIXELS_2014)
    for index in range(4):
        found = interval(sample.users(index), 0.95)
        assert 0 < found.low < found.value < found.high < 1
        assert found.value - found.low > found.high - found.value  # more room below
    rare = interval(sample.share(0), 0.95)
    assert rare.low < rare.value < rare.high
    assert rare.high - rare.value > rare.value - rare.low


def test_what_was_never_seen_wrong_is_not_sure():
    right = of_matrix(np.array([[100, 0], [0, 50]]), np.array([1e6, 1e6]))
    found = interval(right.users(0), 0.95)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - 3 / 100, abs=0.001)  # the rule of three
