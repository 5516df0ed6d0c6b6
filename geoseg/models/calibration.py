"""Describe how a network's probabilities are calibrated, as a part of its model card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.outputs.counted import counted
from geoseg.received import fields

LEAST = 1e-12
"""Probability that stands for 0, whose logarithm nobody can take."""
NONE, TEMPERATURE, VECTOR = "none", "temperature", "vector"
METHODS = (TEMPERATURE, VECTOR, NONE)


@dataclass(frozen=True)
class Calibration:
    """What makes confidences of blended probabilities: p ∝ exp(scale · log p + bias)."""

    method: str
    """temperature (one scale for all classes), vector, or none: the probabilities as they are."""
    scale: list[float]
    """Of each class; 1 / T."""
    bias: list[float]
    """Of each class."""
    copied_from: str
    """Hash of the weights that this calibration was added to."""
    pooled: list[str]
    """Hashes of all networks whose mean was calibrated."""
    tta: str
    """Test-time augmentation that was calibrated with it."""
    smooth: int
    """predict.smooth that was calibrated with it."""
    fitted_on: str
    """Data set and split."""
    blocks: int
    pixels: int
    scores: dict[str, Any]
    """ece, nll and brier on left-out blocks, before and after."""
    thresholds: list[float] = field(default_factory=list)
    """Confidences from which on a class is taken …"""
    risk: list[float] = field(default_factory=list)
    """… and the share of wrong pixels among all of a block that then is accepted, mean of the
    blocks."""

    @classmethod
    def from_dict(cls, values: Any, classes: int) -> Calibration:
        """Raises: InputError if these aren't the values of a calibration."""
        fields.check(cls, values, "calibration")
        made = cls(**values)
        faults = Faults()
        if made.method not in METHODS:
            faults.add(f"calibration.method: {fields.shown(made.method)}, unknown")
        for name in ("scale", "bias"):
            numbers = getattr(made, name)
            if len(numbers) != classes or not all(map(math.isfinite, numbers)):
                faults.add(
                    f"calibration.{name}: {fields.shown(numbers)}, expected {classes} numbers"
                )
        if len(made.thresholds) != len(made.risk):
            faults.add("calibration.risk: expected a number for each threshold")
        faults.raise_if_any()
        return made

    @property
    def temperature(self) -> float:
        """By which logits are divided; NaN if each class has a scale of its own."""
        return 1 / self.scale[0] if self.method != VECTOR else math.nan

    @property
    def changes(self) -> bool:
        """Whether it changes any probability."""
        return any(s != 1 for s in self.scale) or any(self.bias)

    @property
    def keeps_classes(self) -> bool:
        """Whether the most probable class is the same before and after."""
        return self.method != VECTOR

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (N, K), calibrated; float32. NaN stays NaN."""
        if not self.changes:
            return probabilities
        return calibrated(probabilities, np.array(self.scale), np.array(self.bias))

    def check_pooled(
        self, hashes: list[str], tta: str, smooth: int, *, before: Sequence[Path] = ()
    ) -> None:
        """before: weights of before a network learnt from val, too, which may be what is meant.

        Raises: InputError if something else was calibrated than is to predict.
        """
        faults = Faults()
        what = "the calibration in the checkpoint"
        remedy = "calibrate anew (python -m geoseg.calibrate), or take the weights without one"
        if sorted(hashes) != sorted(self.pooled):
            meant = f"give {', '.join(map(str, before))} if that was calibrated, " if before else ""
            faults.add(
                f"checkpoint: {what} is that of {counted(len(self.pooled), 'network')}"
                f" ({', '.join(self.pooled)}), not of {', '.join(hashes)}; {meant}{remedy}"
            )
        if tta != self.tta:
            faults.add(f"tta={tta}: {what} is that of tta={self.tta}; set that, or {remedy}")
        if smooth != self.smooth:
            faults.add(
                f"predict.smooth={smooth}: {what} is that of predict.smooth={self.smooth}; set"
                f" that, or {remedy}"
            )
        faults.raise_if_any()

    def threshold(self, risk: float) -> float:
        """Least confidence of which the share of wrong pixels is controlled at a risk.

        Conformal risk control (Angelopoulos et al. 2024) with blocks as the exchangeable unit: the
        least λ with n/(n+1) · R(λ) + 1/(n+1) ≤ risk, R being the mean over n blocks.
        Raises: InputError if there are too few blocks, or no confidence is high enough.
        """
        key, n = f"predict.undecided={risk:g}", self.blocks
        if not 0 < risk < 1:
            raise InputError(f"{key}: expected a share of wrong pixels, above 0 and below 1")
        needed = math.ceil(1 / risk - 1 - 1e-9)
        if n < needed:
            raise InputError(
                f"{key}: needs a calibration on {needed} blocks at least, and this one saw {n}:"
                f" with n blocks nobody can promise less than 1 / (n + 1); accept"
                f" {1 / (n + 1):.3g} or more, calibrate on more blocks (calibrate.block=<pixels>,"
                " or a larger val split), or set predict.threshold"
            )
        for threshold, mean in zip(self.thresholds, self.risk, strict=True):
            if n / (n + 1) * mean + 1 / (n + 1) <= risk + 1e-12:
                return threshold
        raise InputError(
            f"{key}: even the most confident pixels of val are wrong more often; accept a larger"
            " share, or train a better network"
        )


def calibrated(probabilities: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) ∝ exp(scale · log p + bias), float32."""
    logits = np.log(np.maximum(probabilities, LEAST)) * scale + bias
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
