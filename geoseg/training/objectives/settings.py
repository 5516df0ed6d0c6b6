"""Settings of what is learnt: the loss, and the tasks by which an encoder learns without labels.

They stand apart from the code that reads them because that code imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from geoseg.errors import Faults
from geoseg.received.keys import OPTIONS, WEIGHTS
from geoseg.received.target import check_target

LOSSES = (
    *("cross_entropy", "dice", "focal", "lovasz", "tversky", "hinge"),
    *("bootstrapped", "symmetric"),
)
BOOTSTRAPS = {"hard": 0.8, "soft": 0.95}
"""Kinds of bootstrapping, each with the share of the label that Reed et al. (2015) found best."""
PAIRED = ("tversky", "symmetric")
"""Losses with two parts, weighted by alpha and beta."""
CLASS_WEIGHTS = ("auto", "none", "inverse", "median", "tempered")


@dataclass
class Loss:
    """A weighted sum of losses; each ignores unlabelled pixels and knows class weights."""

    terms: dict[str, float] = field(default_factory=dict)
    """Weight of each term: cross_entropy, dice, focal, lovasz, tversky, hinge; for labels with
    errors bootstrapped, symmetric. Without any, the recipe chooses: cross_entropy and dice for
    images, cross_entropy for series and for classes of whole tiles."""
    class_weights: Any = field(default="auto", metadata=WEIGHTS)
    """none, inverse, median or tempered (by frequency over the train split; tempered is its fourth
    root), or weights by class name. auto: tempered for series, none for images."""
    label_smoothing: float | None = None
    """Cross-entropy: share of the target spread over all classes; by default 0.05 for series of
    parcels or pixels, else 0."""
    focal_gamma: float = 2.0
    """Focal: how far easy pixels are played down (Lin et al. 2017)."""
    tversky_alpha: float = 0.3
    """Tversky: weight of false positives (Salehi et al. 2017)."""
    tversky_beta: float = 0.7
    """Tversky: weight of false negatives."""
    bootstrap_target: str = "hard"
    """Bootstrapped: what joins the label: hard, the network's most probable class, or soft, its
    probabilities (Reed et al. 2015)."""
    bootstrap_beta: float | None = None
    """Bootstrapped: share of the label in what is learnt; by default as published, 0.8 if hard and
    0.95 if soft."""
    symmetric_alpha: float = 0.1
    """Symmetric: weight of cross-entropy, which learns fast; this and the next as in Wang et al.
    (2019) for CIFAR-10."""
    symmetric_beta: float = 1.0
    """Symmetric: weight of reverse cross-entropy, which wrong labels mislead less."""
    symmetric_log_zero: float = -4.0
    """Symmetric: what stands for log 0 in the reverse cross-entropy (Wang et al. 2019: A)."""
    target: str | None = None
    """An own loss instead: module:attribute, a class that is made with the options, or a function
    of logits and target; docs/own.md says what it takes and gives."""
    options: dict[str, Any] = field(default_factory=dict, metadata=OPTIONS)
    """Arguments for loss.target, as in loss.options.gamma=2."""

    @property
    def own_beta(self) -> float:
        """bootstrap_beta, or the published one."""
        beta = self.bootstrap_beta
        return BOOTSTRAPS[self.bootstrap_target] if beta is None else beta

    @property
    def own_terms(self) -> dict[str, float]:
        """The terms given, or cross-entropy.

        Neither a default of the field nor filled in afterwards: Hydra takes what a new Loss holds
        for the default, and merges the terms of a file into it.
        """
        return self.terms or {"cross_entropy": 1.0}

    def __post_init__(self) -> None:
        faults = Faults()
        faults.attempt(check_target, "loss", self.target, self.options)
        if self.target is not None:
            usual: dict[str, Any] = {"terms": {}, "class_weights": "auto", "label_smoothing": None}
            for name, value in usual.items():
                if getattr(self, name) not in (value, "none"):
                    faults.add(
                        f"loss.{name}: of geoseg's own losses, and loss.target names another; leave"
                        " it out"
                    )
        for name, weight in self.own_terms.items():
            if name not in LOSSES:
                faults.add(f"loss.terms.{name}: unknown; choose from {', '.join(LOSSES)}")
            elif weight < 0:
                faults.add(f"loss.terms.{name}={weight}: a weight must not be negative")
        if not any(weight > 0 for weight in self.own_terms.values()):
            faults.add("loss.terms: at least one term needs a weight above 0")
        if isinstance(self.class_weights, str) and self.class_weights not in CLASS_WEIGHTS:
            faults.add(
                f"loss.class_weights={self.class_weights}: give {', '.join(CLASS_WEIGHTS)}"
                " or a weight for each class: {forest: 1, road: 5}"
            )
        faults.within(self, "[0, 1)", "loss.", "label_smoothing")
        paired = (f"{s}_{t}" for s in PAIRED for t in ("alpha", "beta"))
        faults.at_least(self, "loss.", **dict.fromkeys(paired, 0), focal_gamma=0)
        for name in PAIRED:
            if getattr(self, f"{name}_alpha") == getattr(self, f"{name}_beta") == 0:
                faults.add(f"loss.{name}_alpha and {name}_beta are both 0; one must be above 0")
        faults.one_of(self, "loss.", bootstrap_target=BOOTSTRAPS)
        if self.bootstrap_beta is not None and not 0 < self.bootstrap_beta <= 1:
            faults.add(
                f"loss.bootstrap_beta={self.bootstrap_beta}: must be in (0, 1]; with none of the"
                " label there is nothing to learn"
            )
        if not -math.inf < self.symmetric_log_zero < 0:
            faults.add(f"loss.symmetric_log_zero={self.symmetric_log_zero}: must be below 0")
        faults.raise_if_any()


@dataclass
class Masking:
    """Random squares, the same number in each tile."""

    share: float = 0.6
    """Share of a tile's squares that are hidden (SimMIM: 0.6)."""
    size: int = 32
    """Side of a square in pixels: smaller ones are filled in from their edges, and teach little
    (SimMIM: 32)."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.within(self, "(0, 1)", "mask.", "share")
        if self.size < 1:
            faults.add(f"mask.size={self.size}: must be at least 1 pixel")
        faults.raise_if_any()


METHODS = RECONSTRUCT, DISTIL = ("reconstruct", "distil")
"""How an encoder learns without labels."""


@dataclass
class Distilling:
    """Self-distillation (DINO, Caron et al. 2021)."""

    prototypes: int = 1024
    """Kinds of tiles that the head may tell apart; more for large and varied archives (published:
    65536 for ImageNet)."""
    crops: int = 4
    """Small crops of each tile besides two large ones: the student must tell from a part what the
    teacher sees in the whole. 0 = none, in half the time."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.at_least(self, "distil.", prototypes=2, crops=0)
        faults.raise_if_any()


@dataclass(frozen=True)
class Pretext:
    """The task by which an encoder learns without labels."""

    masking: Masking
    distilling: Distilling | None = None
    """None = it learns by reconstruction."""
