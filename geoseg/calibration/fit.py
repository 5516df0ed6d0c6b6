"""Fit scales of log probabilities, and judge them on blocks that were left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.evaluation.reliability import Reliability
from geoseg.models.calibration import LEAST, NONE, VECTOR, calibrated

MOST = 100_000
"""Pixels by which scales are fitted: more change the third digit."""
LARGEST = 20.0
"""Temperature at most; 1 / this at least."""
FOLDS = 20
"""Groups that are left out in turn at most."""
THRESHOLDS = np.unique(np.round([*np.arange(0, 0.98, 0.01), *np.arange(0.98, 1.0005, 0.0005)], 4))
"""Confidences from which on a class may be taken."""


@dataclass(frozen=True)
class Pixels:
    """N labelled pixels of val, or samples of series."""

    probabilities: np.ndarray
    """(N, K) float32, blended, before calibration."""
    truth: np.ndarray
    """(N,) index of the class in the labels, int64."""
    block: np.ndarray
    """(N,) number of the block, int64, 0 to blocks − 1."""
    group: np.ndarray
    """(N,) number of what is left out at a time: scenes if there are several, else blocks."""
    scores: np.ndarray | None = None
    """(N, S) float32 of a network that says how novel pixels are."""

    def take(self, index: np.ndarray) -> Pixels:
        scores = None if self.scores is None else self.scores[index]
        return Pixels(
            self.probabilities[index], self.truth[index], self.block[index], self.group[index],
            scores,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def blocks(self) -> int:
        return len(np.unique(self.block))


@dataclass(frozen=True)
class Scales:
    """p ∝ exp(scale · log p + bias)."""

    scale: np.ndarray
    bias: np.ndarray

    @classmethod
    def same(cls, classes: int) -> Scales:
        return cls(np.ones(classes), np.zeros(classes))

    @property
    def changes(self) -> bool:
        return bool((self.scale != 1).any() or self.bias.any())

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        return calibrated(probabilities, self.scale, self.bias) if self.changes else probabilities


@dataclass(frozen=True)
class Judged:
    """What scales do on pixels that they were not fitted on."""

    scales: Scales
    """Fitted on all, if they are kept; else those that change nothing."""
    kept: bool
    why: str
    """Why they were, or were not, kept."""
    before: np.ndarray
    """(N, K) probabilities as they were."""
    after: np.ndarray
    """(N, K) with scales fitted on the other groups; as before if they are not kept."""
    tried: dict[str, float]
    """Scores on left-out groups with the scales, kept or not."""


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Temperature of the least negative log-likelihood (Guo et al. 2017).

    probabilities: (N, K). truth: (N,) indices.
    """
    from scipy.optimize import minimize_scalar  # a third of a second that --help shall not take

    logs = np.log(np.maximum(probabilities, LEAST)).astype(np.float64)
    mine = logs[np.arange(len(truth)), truth]
    logs -= logs.max(axis=1, keepdims=True)
    offset = np.log(np.maximum(probabilities.max(axis=1), LEAST))

    def loss(log_t: float) -> float:
        scale = np.exp(-log_t)
        spread = np.log(np.exp(logs * scale).sum(axis=1)) + offset * scale
        return float((spread - mine * scale).mean())

    edge = np.log(LARGEST)
    found = minimize_scalar(loss, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def fit_vector(probabilities: np.ndarray, truth: np.ndarray) -> Scales:
    """A scale and a bias for each class, of the least negative log-likelihood."""
    from scipy.optimize import minimize

    logs = np.log(np.maximum(probabilities, LEAST)).astype(np.float64)
    count, classes = logs.shape
    hot = np.eye(classes)[truth]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = values[:classes], values[classes:]
        z = logs * scale + bias
        z -= z.max(axis=1, keepdims=True)
        shares = np.exp(z)
        total = shares.sum(axis=1, keepdims=True)
        shares /= total
        value = float((np.log(total[:, 0]) - (z * hot).sum(axis=1)).mean())
        slope = (shares - hot) / count
        # A little weight keeps classes that hardly occur where they are.
        drift = np.concatenate([scale - 1, bias])
        value += 1e-4 * float(drift @ drift)
        return value, np.concatenate([(slope * logs).sum(0), slope.sum(0)]) + 2e-4 * drift

    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return Scales(found[:classes], found[classes:])


def fit(pixels: Pixels, method: str) -> Scales:
    """Scales of the method for pixels, of which a part will do."""
    step = max(1, len(pixels) // MOST)
    some = pixels.take(np.arange(0, len(pixels), step))
    classes = pixels.probabilities.shape[1]
    if method == NONE:
        return Scales.same(classes)
    if method == VECTOR:
        return fit_vector(some.probabilities, some.truth)
    temperature = fit_temperature(some.probabilities, some.truth)
    return Scales(np.full(classes, 1 / temperature), np.zeros(classes))


def judge(pixels: Pixels, method: str) -> Judged:
    """Fit on all groups but one, in turn, and keep what lowers the NLL on those left out."""
    classes, before = pixels.probabilities.shape[1], pixels.probabilities
    same = Scales.same(classes)
    folds = pixels.group % FOLDS
    groups = np.unique(folds)
    if method == NONE:
        why = "nothing was fitted (calibrate.method=none)"
        return Judged(same, False, why, before, before, {})
    if len(groups) < 2:
        why = (
            "val is a single block, on which nobody can see whether a calibration holds elsewhere:"
            " the probabilities stay as they are; label more blocks or scenes, or set a smaller"
            " calibrate.block"
        )
        return Judged(same, False, why, before, before, {})
    after = np.empty_like(before)
    for group in groups:
        out = folds == group
        after[out] = fit(pixels.take(np.flatnonzero(~out)), method).apply(before[out])
    old, new = (_by_group(p, pixels.truth, folds) for p in (before, after))
    tried = scores(after, pixels.truth)
    if new < old:
        why = f"on left-out groups the NLL falls from {old:.4f} to {new:.4f}"
        return Judged(fit(pixels, method), True, why, before, after, tried)
    why = (
        f"on left-out groups the NLL does not fall ({old:.4f} before, {new:.4f} after): the"
        " calibration does not transfer, and the probabilities stay as they are (T = 1)"
    )
    return Judged(same, False, why, before, before, tried)


def _by_group(probabilities: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> float:
    """NLL, each group counting alike: they are what another place is like, not their pixels."""
    each = _nll(probabilities, truth)
    return float(np.mean([each[folds == group].mean() for group in np.unique(folds)]))


def _nll(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    mine = probabilities[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.maximum(mine, LEAST)))


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> Reliability:
    """Of the most probable class."""
    return Reliability.of(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)


def scores(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """ECE with its null, NLL and Brier score of probabilities (N, K)."""
    found = reliability(probabilities, truth)
    squares = (probabilities.astype(np.float64) ** 2).sum(axis=1)
    mine = probabilities[np.arange(len(truth)), truth]
    return {
        "ece": found.ece,
        "ece_null": found.null(),
        "nll": float(_nll(probabilities, truth).mean()),
        "brier": float((squares - 2 * mine + 1).mean()),
    }


def risk(probabilities: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Share of wrong pixels accepted from each of THRESHOLDS on: mean of the blocks.

    It never rises with the threshold.
    """
    sure = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != pixels.truth
    total = np.zeros(len(THRESHOLDS))
    blocks = np.unique(pixels.block)
    for block in blocks:
        mine = pixels.block == block
        bad = np.sort(sure[mine & wrong])
        total += (len(bad) - np.searchsorted(bad, THRESHOLDS)) / mine.sum()
    return total / len(blocks)


def described(judged: Judged, pixels: Pixels) -> dict[str, Any]:
    """Scores before and after, for JSON."""
    return {
        "before": scores(judged.before, pixels.truth),
        "after": scores(judged.after, pixels.truth),
        "tried": judged.tried,
        "kept": judged.kept,
        "why": judged.why,
    }
