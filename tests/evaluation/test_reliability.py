"""Calibration errors: as they are defined, and what chance alone makes."""

import numpy as np
import pytest

from geoseg.evaluation.reliability import Reliability, diagram
from tests.made.probabilities import made_up


def plain_error(sure, right, bins=15) -> float:
    """Expected calibration error as Guo et al. 2017 write it, bin by bin."""
    total = 0.0
    for low in range(bins):
        inside = (sure > low / bins) & (sure <= (low + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return float(total)


def test_it_is_the_sum_over_bins_however_it_is_cut():
    shown, truth = made_up(5000, sharp=2)
    sure, right = shown.max(axis=1), shown.argmax(axis=1) == truth
    expected = plain_error(sure, right)
    whole = Reliability.of(sure, right)
    assert whole.ece == pytest.approx(expected, abs=1e-6)
    parts = Reliability()
    for start in range(0, 5000, 700):
        parts.add(sure[start : start + 700], right[start : start + 700])
    assert parts.ece == pytest.approx(whole.ece, abs=1e-9)


def test_few_pixels_seem_uncalibrated_and_the_null_says_so():
    plain, debiased = [], []
    for seed in range(40):
        shown, truth = made_up(100, seed=seed)
        found = Reliability.of(shown.max(axis=1), shown.argmax(axis=1) == truth)
        plain.append(found.ece)
        debiased.append(found.ece - found.null(50))
    assert np.mean(plain) > 0.05
    assert abs(np.mean(debiased)) < 0.02


def test_nothing_has_no_error():
    assert Reliability().to_dict() == {"ece": None, "null": None, "debiased": None, "bins": []}


def test_picture():
    shown, truth = made_up(1000)
    found = Reliability.of(shown.max(axis=1), shown.argmax(axis=1) == truth)
    text = diagram({"before": (found, "#b3402c")})
    assert text.count("<circle") == np.count_nonzero(found.count)
    assert f"before: ECE {found.ece:.3f}" in text
