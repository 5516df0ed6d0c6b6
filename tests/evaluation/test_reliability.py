"""Calibration errors: as torchmetrics has them, and what chance alone makes."""

import numpy as np
import pytest

from geoseg.evaluation.reliability import Reliability, diagram
from tests.made.probabilities import made_up


def test_as_torchmetrics_has_it_however_it_is_cut():
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    shown, truth = made_up(5000, sharp=2)
    sure, right = shown.max(axis=1), shown.argmax(axis=1) == truth
    given = torch.from_numpy(shown), torch.from_numpy(truth)
    expected = float(multiclass_calibration_error(*given, 4, n_bins=15, norm="l1"))
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
