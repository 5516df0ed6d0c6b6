"""Learn several classes of a tile at once: each is there or not, whatever the others are.

Letters of shapes: B or N tiles, K classes. A target is (B, K) uint8: 1 = the class is there, 0 = it
is not, 255 = too little of the tile is labelled to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from geoseg.evaluation.accuracy import defined, mean_of, ratio
from geoseg.geo.legend import IGNORED
from geoseg.outputs.numbers import score
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import ALONE, Ranks
from geoseg.training.run.history import IOU, Validation
from geoseg.training.validation import inputs

HALF = 0.5
"""Probability from which on a class counts as found where no threshold has been chosen."""


class SeveralLoss(nn.Module):
    """Mean binary cross-entropy over the classes of the labelled tiles; 0 without any."""

    def __init__(self, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self._ranks = ranks

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            losses, known = entropies(logits.float(), target)
            total = self._ranks.total(known.sum())
            return self._ranks.total(losses.sum()) / total.clamp(min=1)


def entropies(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy (B, K), 0 where there is no label, and where there is one (B, K)."""
    known = target != IGNORED
    wanted = torch.where(known, target, 0).float()
    losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return losses * known, known


class SeveralObjective(Supervised):
    """As its base, without a confusion matrix: of several classes at once there is none."""

    def add(self, logits: Tensor, target: Tensor) -> None:
        """Nothing is counted on the way; the error of train is told in the end."""


@dataclass(frozen=True)
class SeveralScores:
    """How well the classes of tiles were found, each for itself. Undefined scores are NaN."""

    names: tuple[str, ...]
    hits: np.ndarray
    """(K,) tiles in which the class is, and was found."""
    found: np.ndarray
    """(K,) tiles in which it was found."""
    there: np.ndarray
    """(K,) tiles in which it is."""
    tiles: int

    @classmethod
    def of(cls, found: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> SeveralScores:
        """found, truth: (N, K) bool."""
        hits = (found & truth).sum(0)
        return cls(tuple(names), hits, found.sum(0), truth.sum(0), len(truth))

    @property
    def iou(self) -> np.ndarray:
        """(K,) of the tiles in which the class is or was found, the share where both is so."""
        return ratio(self.hits, self.found + self.there - self.hits)

    @property
    def f1(self) -> np.ndarray:
        return ratio(2 * self.hits, self.found + self.there)

    @property
    def miou(self) -> float:
        """Over the classes that are somewhere, or were found."""
        return mean_of(self.iou)

    @property
    def error(self) -> float:
        """Share of the answers, one for each tile and class, that are wrong."""
        wrong = (self.found + self.there - 2 * self.hits).sum()
        return float(wrong / max(1, self.tiles * len(self.names)))

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where undefined."""
        precision, recall = ratio(self.hits, self.found), ratio(self.hits, self.there)
        columns = {"iou": self.iou, "f1": self.f1, "precision": precision, "recall": recall}
        classes = [
            {
                "name": name,
                "there": int(self.there[k]),
                "found": int(self.found[k]),
                **{key: defined(float(values[k])) for key, values in columns.items()},
            }
            for k, name in enumerate(self.names)
        ]
        return {
            "tiles": self.tiles,
            "miou": defined(self.miou),
            "macro_f1": defined(mean_of(self.f1)),
            "error": self.error,
            "classes": classes,
        }

    def table(self) -> str:
        """The scores as text for a terminal; – where undefined."""
        width = max(map(len, (*self.names, "class")))
        lines = [f"{'class':<{width}}     F1  precision  recall  tiles with it  found"]
        for entry in self.to_dict()["classes"]:
            f1, precision, recall = (score(entry[key]) for key in ("f1", "precision", "recall"))
            lines.append(
                f"{entry['name']:<{width}}  {f1:>5}  {precision:>9}  {recall:>6}"
                f"  {entry['there']:>13}  {entry['found']:>5}"
            )
        return "\n".join(lines)


def best_thresholds(probabilities: np.ndarray, truth: np.ndarray) -> list[float]:
    """For each class the probability from which on calling it there has the highest F1.

    probabilities: (N, K). truth: (N, K) bool. Of several as good the one nearest to a half; a
    class that is in no tile, or in all, has a half: nothing can be chosen from these.
    """
    return [
        _best_threshold(p, there)
        for p, there in zip(probabilities.T.astype(np.float64), truth.T, strict=True)
    ]


def _best_threshold(p: np.ndarray, there: np.ndarray) -> float:
    if there.all() or not there.any():
        return HALF
    order = np.argsort(-p, kind="stable")
    upper, hits = p[order], np.cumsum(there[order])
    lower = np.append(upper[1:], 0.0)
    f1 = 2 * hits / (np.arange(1, len(p) + 1) + there.sum())
    f1[upper == lower] = -1  # equal ones can't be parted
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    middle = (lower[best] + upper[best]) / 2
    cuts = np.where((lower[best] < HALF) & (upper[best] >= HALF), HALF, middle)
    return float(cuts[np.argmin(abs(cuts - HALF))])


class SeveralValidator:
    """Scores at a probability of a half; the mean IoU of the classes decides."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: of the K classes."""
        self._names = tuple(names)

    @torch.inference_mode()
    def __call__(self, network: nn.Module, batches: Any, fabric: Fabric) -> Validation | None:
        if not len(batches.dataset):
            return None
        network.eval()
        counts = torch.zeros(3, len(self._names), dtype=torch.int64, device=fabric.device)
        loss = torch.zeros(2, device=fabric.device)
        tiles = torch.zeros((), dtype=torch.int64, device=fabric.device)
        with fabric.autocast():
            for given, target in batches:
                logits = network(*inputs(given)).float()
                losses, known = entropies(logits, target)
                found, there = (logits >= 0) & known, (target == 1) & known
                counts += torch.stack([part.sum(0) for part in (found & there, found, there)])
                loss += torch.stack([losses.sum(), known.sum().float()])
                tiles += known.all(1).sum()
        ranks = Ranks.of(fabric)
        hits, found, there = ranks.total(counts).cpu().numpy()
        total = ranks.total(loss).cpu().numpy()
        scores = SeveralScores(self._names, hits, found, there, int(ranks.total(tiles)))
        columns = {
            "val_loss": float(total[0] / max(1.0, total[1])),
            "val_miou": scores.miou,
            "val_overall_accuracy": 1 - scores.error,
        }
        for name, iou, f1 in zip(self._names, scores.iou, scores.f1, strict=True):
            columns |= {f"{IOU}{name}": float(iou), f"val_f1_{name}": float(f1)}
        return Validation(scores.miou, columns, scores.to_dict())
