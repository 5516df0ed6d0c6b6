import numpy as np
import pytest

from geoseg.vectors.rings import listed


@pytest.mark.parametrize(("count", "cuts"), [(1, 0), (2, 0), (9, 2), (500, 40), (3000, 1)])
def test_each_ring_is_listed_from_its_least_member(count, cuts):
    random = np.random.default_rng(count)
    parts = np.split(random.permutation(count), np.unique(random.integers(0, count, cuts)))
    after = np.empty(count, np.intp)
    for part in parts:
        after[part] = np.roll(part, -1)
    number, order = listed(after)
    turned = sorted((np.roll(part, -part.argmin()) for part in parts if len(part)), key=min)
    np.testing.assert_array_equal(order, np.concatenate(turned))
    lengths = [len(ring) for ring in turned]
    np.testing.assert_array_equal(number[order], np.repeat(range(len(turned)), lengths))


def test_no_members_no_rings():
    number, order = listed(np.zeros(0, np.intp))
    assert len(number) == len(order) == 0
