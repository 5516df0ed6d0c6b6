"""Temperatures that are recovered, and refused where they do not transfer; risk control."""

import numpy as np
import pytest

from geoseg.calibration.fit import (
    THRESHOLDS,
    Pixels,
    fit_temperature,
    fit_vector,
    judge,
    risk,
    scores,
)
from geoseg.errors import InputError
from geoseg.models.calibration import Calibration
from tests.made.probabilities import made_up


def pixels(parts):
    """parts: probabilities and truth, one pair for each block."""
    counts = [len(truth) for _, truth in parts]
    block = np.repeat(np.arange(len(parts)), counts)
    shown, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Pixels(shown, truth, block, block)


@pytest.mark.parametrize("temperature", [2.5, 0.5])
def test_the_temperature_is_found_again(temperature):
    shown, truth = made_up(100_000, sharp=temperature)
    assert fit_temperature(shown, truth) == pytest.approx(temperature, rel=0.01)


def test_scales_of_classes_are_found_again():
    """Probabilities of one class are halved, which a bias mends and no temperature can."""
    shown, truth = made_up(50_000, classes=3)
    spoilt = shown * np.array([0.5, 1, 1])
    spoilt /= spoilt.sum(axis=1, keepdims=True)
    found = fit_vector(spoilt, truth)
    mended = found.apply(spoilt)
    assert np.abs(mended - shown).mean() < 0.01
    assert scores(mended, truth)["nll"] < scores(spoilt, truth)["nll"]


def test_what_transfers_is_kept_and_judged_on_what_was_left_out():
    judged = judge(pixels([made_up(2000, sharp=3, seed=s) for s in range(5)]), "temperature")
    assert judged.kept
    assert 1 / judged.scales.scale[0] == pytest.approx(3, rel=0.1)
    assert scores(judged.after, made(judged))["ece"] < 0.03


def made(judged):
    """The truth of the test above."""
    return np.concatenate([made_up(2000, sharp=3, seed=s)[1] for s in range(5)])


def test_what_does_not_transfer_is_refused():
    """One block too sure, one not sure enough: what mends one makes the other worse."""
    two = pixels([made_up(2000, sharp=3, seed=0), made_up(2000, sharp=1 / 3, seed=1)])
    judged = judge(two, "temperature")
    assert not judged.kept
    assert not judged.scales.changes
    assert "does not transfer" in judged.why
    assert (judged.after == judged.before).all()
    assert "single block" in judge(pixels([made_up(2000, sharp=3)]), "temperature").why


def calibration(blocks, curve, thresholds=THRESHOLDS):
    return Calibration(
        "none", [1.0, 1.0], [0.0, 0.0], "a", ["a"], "none", 0, "val", blocks, 1, {},
        list(thresholds), list(curve),
    )  # fmt: skip


def test_the_risk_is_kept_on_blocks_to_come():
    """Conformal risk control: mean risk over draws of calibration and new block ≤ α."""
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 1, 101)
    # Of a block: the share of pixels that are wrong although as sure as the threshold.
    steep = rng.uniform(0.3, 4, 20_000)
    rate = rng.uniform(0, 0.5, 20_000)

    def curves(chosen):
        return rate[chosen, None] * (1 - grid) ** steep[chosen, None]

    losses = []
    for _ in range(500):
        chosen = rng.integers(0, 20_000, 41)
        every = curves(chosen)
        made = calibration(40, every[:40].mean(axis=0), grid)
        losses.append(every[40, round(made.threshold(0.1) * 100)])
    assert np.mean(losses) <= 0.1 + 2 * np.std(losses) / np.sqrt(500)
    assert np.mean(losses) > 0.05  # and it is not empty


def test_too_few_blocks_promise_nothing():
    with pytest.raises(InputError, match="needs a calibration on 19 blocks at least, and this one"):
        calibration(18, np.zeros(len(THRESHOLDS))).threshold(0.05)
    assert calibration(19, np.zeros(len(THRESHOLDS))).threshold(0.05) == 0
    with pytest.raises(InputError, match="even the most confident pixels"):
        calibration(40, np.full(len(THRESHOLDS), 0.2)).threshold(0.1)
    with pytest.raises(InputError, match="above 0 and below 1"):
        calibration(40, np.zeros(len(THRESHOLDS))).threshold(1.0)


def test_risk_is_the_share_of_wrong_pixels_accepted_in_blocks():
    shown = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], np.float32)
    found = risk(shown, Pixels(shown, np.array([1, 0, 0]), np.array([0, 0, 1]), np.zeros(3)))
    at = {t: found[np.abs(THRESHOLDS - t).argmin()] for t in (0.5, 0.85, 0.95)}
    assert at == {0.5: 0.75, 0.85: 0.25, 0.95: 0.0}
    assert (np.diff(found) <= 0).all()
