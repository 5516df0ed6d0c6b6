"""Make classes, and what lies beside them, of blended probabilities.

Letters of shapes: K classes, n rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg.maps.layers import (
    BEYOND,
    CONFIDENCE,
    DISAGREEMENT,
    ENTROPY,
    MARGIN,
    NOVELTY,
    PROBABILITIES,
    SECOND,
)
from geoseg.models.calibration import LEAST, Calibration
from geoseg.models.novelty import LEAST_SCORE, Applicability, FeatureNovelty, Novelty, bounds

ROUND_UP = 0.501
"""Added before percent are cut to whole numbers: just over a half, so that sums of weights that
miss 1 by a rounding error don't scatter 12.5 % over 12 and 13."""
OF_SHARES = {ENTROPY, MARGIN, PROBABILITIES}
"""Layers that want the probabilities of all classes as they are, not only their order."""


@dataclass(frozen=True)
class Made:
    """What final rows become."""

    indices: Tensor
    """(n, W) uint8: the most probable class; IGNORED where the network gave no number."""
    layers: dict[str, Tensor]
    """By name: (n, W) uint8, or (K, n, W) for a band for each class."""
    undecided: Tensor | None
    """(n, W) bool; None = nowhere."""


class Ranker:
    """Makes novelty, 1 to 100, of the scores that a network adds to its logits."""

    def __init__(self, novelty: Novelty, *, refuse: bool = False) -> None:
        """refuse: whether novel pixels stay without class."""
        self._novelty, self.refuses = novelty, refuse
        self._known: tuple[Tensor, ...] = ()
        """Of networks for images the scores' medians, their units, and the bounds of the ranks."""
        if isinstance(novelty, FeatureNovelty):
            low, unit = novelty.units
            known = low[:, None, None], unit[:, None, None], bounds(novelty.together)
            self._known = tuple(torch.tensor(values, dtype=torch.float32) for values in known)

    def to(self, device: torch.device) -> Ranker:
        """Itself, for scores on a device."""
        self._known = tuple(known.to(device) for known in self._known)
        return self

    @property
    def planes(self) -> int:
        """Scores of a pixel."""
        return len(self._novelty.scores) if isinstance(self._novelty, FeatureNovelty) else 1

    def __call__(self, scores: Tensor) -> Tensor:
        """Novelty (n, W) uint8 of scores (planes, n, W); several are added, each in its units."""
        if isinstance(self._novelty, Applicability):
            return self._of_index(scores[0], float(self._novelty.threshold))
        low, unit, ranks = self._known
        added = ((scores - low) / unit).clamp_min(LEAST_SCORE).sum(dim=0)
        return torch.bucketize(added, ranks, out_int32=True).add_(1).to(torch.uint8)

    @staticmethod
    def _of_index(index: Tensor, threshold: float) -> Tensor:
        """Index in percent of its threshold, 1 to 99; 100 beyond it."""
        inside = (index * ((BEYOND - 1) / threshold)).ceil().clamp(1, BEYOND - 1)
        return torch.where(index <= threshold, inside, float(BEYOND)).to(torch.uint8)


class RowMaker:
    """Makes maps of the sums of final rows."""

    def __init__(
        self,
        classes: int,
        layers: Sequence[str] = (CONFIDENCE,),
        *,
        thresholds: Sequence[float] | None = None,
        calibration: Calibration | None = None,
        parts: int = 1,
        ranker: Ranker | None = None,
    ) -> None:
        """thresholds: probability from which on a class is taken, for each; None = always.

        parts: networks × turns whose probabilities are averaged. ranker: of scores that come after
        the probabilities; None = there are none.
        """
        self.device = torch.device("cpu")
        """Of the sums."""
        self._ranker = ranker
        self._classes = classes
        self._layers = tuple(layers)
        # Of equal sums the first class counts: labels fall, so that their maximum names it.
        labels = 255 - torch.arange(classes, dtype=torch.uint8)
        self._labels = labels[:, None, None]
        self._thresholds = None
        if thresholds is not None and any(thresholds):
            self._thresholds = torch.tensor(thresholds, dtype=torch.float32)
        self._calibration = calibration if calibration and calibration.changes else None
        if self._calibration:
            self._scale, self._bias = (
                torch.tensor(numbers, dtype=torch.float32)[:, None, None]
                for numbers in (self._calibration.scale, self._calibration.bias)
            )
        alike = self._thresholds is not None and len(set(thresholds or ())) == 1
        self._common = float(self._thresholds[0]) if alike else None  # type: ignore[index]
        """The threshold of all classes, if it is one: looking it up by class takes time."""
        self._most = math.log(max(2, min(classes, parts)))
        self._extra = [name for name in (DISAGREEMENT,) if name in layers]

    def to(self, device: torch.device) -> RowMaker:
        """Itself, for sums on a device."""
        self.device, self._labels = device, self._labels.to(device)
        if self._thresholds is not None:
            self._thresholds = self._thresholds.to(device)
        if self._calibration:
            self._scale, self._bias = self._scale.to(device), self._bias.to(device)
        if self._ranker is not None:
            self._ranker.to(device)
        return self

    @property
    def planes(self) -> int:
        """Of the sums: classes, the mean entropy of the parts if there is disagreement, scores."""
        scores = 0 if self._ranker is None else self._ranker.planes
        return self._classes + len(self._extra) + scores

    def __call__(self, sums: Tensor) -> Made:
        """sums: (planes, n, W), which are changed."""
        blended = shares = sums[: self._classes]
        highest = shares.amax(dim=0)
        indices = self._first(shares, highest)
        if self._calibration and self._calibration.keeps_classes:
            shares, highest = self._tempered(blended, highest)
        elif self._calibration:
            shares = self.calibrated(blended)
            highest = shares.amax(dim=0)
            indices = self._first(shares, highest)
        undecided = None
        if self._common is not None:
            undecided = highest < self._common
        elif self._thresholds is not None:
            undecided = highest < self._thresholds[self._place(indices)]
        novel = None
        if self._ranker is not None:
            novel = self._ranker(sums[self._classes + len(self._extra) :])
            if self._ranker.refuses:
                far = novel == BEYOND
                undecided = far if undecided is None else undecided | far
        made = _Layers(blended, shares, highest, indices, sums[self._classes :], self, novel)
        layers = {name: MAKERS[name](made) for name in self._layers}
        return Made(indices, layers, undecided)

    def _first(self, shares: Tensor, highest: Tensor) -> Tensor:
        """Index (n, W) uint8 of the first class with the highest share."""
        return 255 - (shares == highest).view(torch.uint8).mul_(self._labels).amax(dim=0)

    def _place(self, indices: Tensor) -> Tensor:
        """Indices that name a class, also where the network gave no number."""
        return indices.clamp(max=self._classes - 1).long()

    def _tempered(self, blended: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities with a temperature, and the highest of them.

        (p / highest)^(1/T) makes fewer passes over memory than a softmax of logarithms, and the
        sums may be changed unless somebody still wants them.
        """
        assert self._calibration is not None
        wanted = DISAGREEMENT in self._layers
        ratio = blended / highest if wanted else blended.div_(highest)
        ratio.log_().mul_(self._calibration.scale[0]).exp_()
        total = ratio.sum(dim=0)
        if set(self._layers) & OF_SHARES:
            ratio.div_(total)
        return ratio, total.reciprocal_()

    def calibrated(self, blended: Tensor) -> Tensor:
        """Calibrated probabilities (K, n, W)."""
        logits = blended.clamp_min(LEAST).log_().mul_(self._scale)
        if self._calibration and any(self._calibration.bias):
            logits.add_(self._bias)
        return logits.softmax(dim=0)

    def others(self, shares: Tensor, indices: Tensor) -> Tensor:
        """Shares (K, n, W) with that of the first class out of the way."""
        return shares.scatter(0, self._place(indices)[None], -1.0)

    def second(self, others: Tensor) -> Tensor:
        """Index (n, W) uint8 of the second class."""
        return self._first(others, others.amax(dim=0))

    @property
    def classes(self) -> int:
        return self._classes

    @property
    def most(self) -> float:
        """The largest disagreement, in nats."""
        return self._most


@dataclass(frozen=True)
class _Layers:
    """What layers are made of."""

    blended: Tensor
    """Probabilities before calibration."""
    shares: Tensor
    """After it."""
    highest: Tensor
    indices: Tensor
    extra: Tensor
    maker: RowMaker
    novel: Tensor | None = None

    def confidence(self) -> Tensor:
        return percent(self.highest)

    def entropy(self) -> Tensor:
        return percent(entropy(self.shares) / math.log(max(2, self.maker.classes)))

    def margin(self) -> Tensor:
        others = self.maker.others(self.shares, self.indices)
        return percent(self.highest - others.amax(dim=0).clamp_min(0))

    def second(self) -> Tensor:
        """A class that is alone has none after it: it stands for itself."""
        if self.maker.classes == 1:
            return self.indices
        return self.maker.second(self.maker.others(self.shares, self.indices))

    def disagreement(self) -> Tensor:
        """Entropy of the mean less the mean of the entropies (Houlsby et al. 2011).

        Both before calibration, which is one of the mean, not of its parts.
        """
        return percent((entropy(self.blended) - self.extra[0]) / self.maker.most)

    def novelty(self) -> Tensor:
        assert self.novel is not None
        return self.novel

    def probabilities(self) -> Tensor:
        return (self.shares * 100 + ROUND_UP).clamp_(0, 100).to(torch.uint8)


MAKERS: dict[str, Callable[[_Layers], Tensor]] = {
    CONFIDENCE: _Layers.confidence,
    ENTROPY: _Layers.entropy,
    MARGIN: _Layers.margin,
    SECOND: _Layers.second,
    DISAGREEMENT: _Layers.disagreement,
    PROBABILITIES: _Layers.probabilities,
    NOVELTY: _Layers.novelty,
}
"""By name of the layer."""


def entropy(shares: Tensor, dim: int = 0) -> Tensor:
    """Entropy in nats of probabilities along an axis."""
    return torch.special.entr(shares).sum(dim=dim)


def percent(shares: Tensor) -> Tensor:
    """Shares 0..1 as whole percent, 1..100 uint8: 0 stands for no image."""
    return (shares * 100).add_(ROUND_UP).clamp_(1, 100).to(torch.uint8)
