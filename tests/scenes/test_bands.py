import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.scenes.bands import Bands, BandStatistics, Measure, nominal_range, scale


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_statistics_do_not_depend_on_windows(seed, parts):
    random = np.random.default_rng(seed)
    image = random.integers(0, 3000, (2, 40, 30)).astype(np.uint16)
    valid = random.random((40, 30)) < 0.8
    measure = Measure(2)
    for rows in np.array_split(np.arange(40), parts):
        measure.add(image[:, rows], valid[rows])
    got, pixels = measure.result(), image[:, valid].astype(float)
    assert got.mean == pytest.approx(pixels.mean(axis=1))
    assert got.std == pytest.approx(pixels.std(axis=1))
    assert got.p2 == pytest.approx(np.percentile(pixels, 2, axis=1))
    assert got.low == tuple(pixels.min(axis=1))
    assert got.high == tuple(pixels.max(axis=1))


def test_percentiles_of_more_pixels_than_are_kept(monkeypatch):
    monkeypatch.setattr("geoseg.scenes.bands.SAMPLE", 5000)
    random = np.random.default_rng(1)
    measure = Measure(1)
    for _ in range(20):
        measure.add(random.normal(100, 10, (1, 50, 50)), np.ones((50, 50), bool))
    assert sum(part.shape[1] for part in measure._sample) <= 5000
    assert measure.result().p98[0] == pytest.approx(100 + 10 * 2.054, abs=1)


def test_no_valid_pixel_is_an_error():
    measure = Measure(1)
    measure.add(np.ones((1, 4, 4)), np.zeros((4, 4), bool))
    with pytest.raises(InputError, match="no valid pixel"):
        measure.result()


def statistics(mean, std):
    zeros = (0.0,) * len(mean)
    return BandStatistics(mean, std, zeros, zeros, zeros, zeros)


def test_scaled_to_zero_mean_and_unit_deviation_and_0_where_not_valid():
    image = np.array([[[10, 20]], [[5, 5]]], np.uint8)
    valid = np.array([[True, False]])
    got = scale(image, valid, statistics((20.0, 5.0), (5.0, 0.0)))
    assert got.dtype == np.float32
    assert got.tolist() == [[[-2.0, 0.0]], [[0.0, 0.0]]]


@pytest.mark.parametrize(
    ("high", "expected"),
    [(0.4, 1), (1.3, 1), (91, 256), (255, 256), (300, 512), (4095, 4096), (65535, 65536)],
)
def test_nominal_range(high, expected):
    assert nominal_range(high) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"order": ["red", "red"]}, "twice"),
        ({"pattern": "(?P<scene>.*"}, "regular expression"),
        ({"pattern": r"(?P<scene>\w+)\.tif"}, "needs the groups"),
        ({"nodata": "white"}, "number, nan or none"),
    ],
)
def test_bad_settings(values, words):
    with pytest.raises(InputError, match=words):
        Bands(**values)
