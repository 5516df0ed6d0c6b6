"""Keep the history of a training and say what it shows."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from geoseg.outputs.counted import counted
from geoseg.outputs.files import replacing
from geoseg.training.settings import Fit

METRICS = "metrics.csv"
MEAN = 3
"""Epochs whose mean validation says how good the last of them is."""
ENOUGH = 3
"""Epochs after which a loss should have fallen."""
FALL = 0.98
"""A mean loss above this share of the first epoch's has not fallen."""
NOTHING = 0.01
"""An IoU up to this is none."""
IOU = "val_iou_"
"""Start of the names of the columns with a class's IoU."""


@dataclass(frozen=True)
class Validation:
    """What a network is worth on the val samples."""

    score: float
    """The larger the better; decides which weights are kept."""
    columns: dict[str, float]
    """Numbers for metrics.csv."""
    details: dict[str, Any]
    """JSON values for the model card."""


@dataclass
class History:
    """How far a training has come."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Batches done."""
    minutes: float = 0.0
    """Time spent, stops not counted."""
    before: float = 0.0
    """What of it had gone before the first step."""
    best: float = -math.inf
    """Validation of the best epoch."""
    best_epoch: int = 0
    risen: int = 0
    """Epoch in which that score was reached first, from which patience counts."""
    highest: float = -math.inf
    """Mean validation of that epoch and those just before it, by which it is the best."""
    scores: list[float] = field(default_factory=list)
    """Validation of each epoch."""
    difficulty: list[float] | None = None
    """Losses of the train samples, where they decide how often each is drawn (fit.hard)."""
    rows: list[dict[str, float]] = field(default_factory=list)
    """One per epoch: what metrics.csv holds."""
    labelled: list[str] | None = None
    """Classes that the val labels have; None = not known."""

    def add(self, row: dict[str, float], validation: Validation | None, minutes: float) -> bool:
        """Count an epoch as done; whether it is the best so far.

        A single epoch may please a small val part by chance: the mean of three epochs decides. Of
        equal ones the last counts, which has learnt more, at a lower rate: ten val samples are soon
        all right.
        """
        self.epoch += 1
        self.minutes = minutes
        if validation and "classes" in validation.details:
            classes = validation.details["classes"]
            self.labelled = [c["name"] for c in classes if c.get("truth_pixels")]
        self.rows.append(row | {"minutes": minutes} | (validation.columns if validation else {}))
        # Without validation the last weights are the best there are.
        value = validation.score if validation else float(self.epoch)
        self.scores.append(value)
        known = [score for score in self.scores[-MEAN:] if math.isfinite(score)]
        mean = fmean(known) if known else math.nan
        if mean < self.highest or (math.isnan(mean) and self.best_epoch):
            return False
        if mean != self.highest:
            self.risen = self.epoch
        self.highest, self.best, self.best_epoch = mean, value, self.epoch
        return True

    def finished(self, fit: Fit) -> str | None:
        """Why the training is over, or None."""
        if self.epoch >= fit.most:
            return f"{counted(int(fit.most), 'epoch', 'are')} done, as asked for"
        if fit.max_minutes is not None and self.minutes >= fit.max_minutes:
            return f"fit.max_minutes={fit.max_minutes:g} are over"
        if fit.patience and self.epoch - self.risen >= fit.patience:
            return f"no better validation for {counted(fit.patience, 'epoch')} (fit.patience)"
        return None

    def minutes_left(self, fit: Fit) -> float | None:
        """Until the training is over, if no patience ends it before; None = not known yet."""
        if not self.epoch:
            return None
        left = (fit.most - self.epoch) * self.minutes / self.epoch
        if fit.max_minutes is not None:
            left = min(left, fit.max_minutes - self.minutes)
        return max(left, 0.0)

    def remarks(self) -> list[str]:
        """What a person should know of a training that is over before trusting what it made."""
        return [text for text in (self._flat_loss(), self._lone_class()) if text]

    def _flat_loss(self) -> str | None:
        if len(self.rows) < ENOUGH:
            return None
        first, last = self.rows[0]["loss"], self.rows[-1]["loss"]
        if min(row["loss"] for row in self.rows) <= FALL * first:
            return None
        return (
            f"the loss did not fall ({first:.4g} in the first epoch, {last:.4g} in the last): try"
            " the learning rate that lr_find=true shows, and look whether labels and images match"
            " (the data set's targets/ in QGIS)"
        )

    def _lone_class(self) -> str | None:
        """Said of the epoch that is kept."""
        best = self.rows[self.best_epoch - 1] if self.best_epoch else {}
        known = {k.removeprefix(IOU): v for k, v in best.items() if k.startswith(IOU) and v == v}
        if self.labelled is not None:  # what the map has and no label is nothing to train longer on
            known = {name: iou for name, iou in known.items() if name in self.labelled}
        found = [name for name, iou in known.items() if iou > NOTHING]
        if not known or len(found) > 1:
            return None
        if len(known) == 1:
            return (
                f"the val tiles know one class only, {next(iter(known))}: their score says nothing;"
                " prepare the data set with another split"
            )
        others = ", ".join(name for name in known if name not in found)
        which = f"{found[0]} alone makes the val score" if found else "no class was found"
        return (
            f"{which}; nothing is right of {others}: train longer, or set"
            " loss.class_weights=inverse or fit.balance=1"
        )


def write_metrics(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the rows as CSV, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        # A training that an older version began had fewer columns.
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v if isinstance(v, int) else f"{v:.6g}" for k, v in row.items()})
