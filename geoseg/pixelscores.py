"""Pixel scores: what networks scored on pixels of images that were held out of their training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.foldtally import Tally, shown
from geoseg.summary import table

NOUNS = {"block": "blocks", "scene": "scenes", "random": "tiles"}
"""What is dealt out, by way."""


@dataclass(frozen=True)
class JudgedPixels(Tally):
    """One way of holding out pixels: every labelled pixel is judged once per seed."""

    by: str
    title: str
    units: int
    seeds: tuple[int, ...]
    matrices: np.ndarray
    names: tuple[str, ...]
    nearest_m: float | None
    """Smallest distance from a held-out pixel to one that trained its judge."""

    noun = "pixels"
    measures = (
        ("overall_accuracy", "overall accuracy"),
        ("miou", "mIoU"),
        ("macro_f1", "macro F1"),
    )

    @property
    def unit_noun(self) -> str:  # type: ignore[override]
        return NOUNS[self.by]

    def to_dict(self, codes: Sequence[int]) -> dict[str, object]:
        """As of samples, with the spread of each class and the matrix of each training."""
        values = super().to_dict(codes)
        iou, f1 = self.class_over_folds("iou"), self.class_over_folds("f1")
        for entry, a, b in zip(values["classes"], iou, f1, strict=True):
            entry["over_folds"] = {"iou": a.to_dict(), "f1": b.to_dict(), "trainings": a.count}
        flat = self.matrices.reshape(-1, *self.confusion.shape)
        for entry, matrix in zip(values["trainings"], flat, strict=True):
            entry["confusion"] = matrix.tolist()
        return values

    def text(self) -> str:
        """The table for a terminal: by class and on the whole, mean ± deviation and pooled."""
        s, trainings = self.scores, len(self.trainings)
        seeds = "seed" if len(self.seeds) == 1 else "seeds"
        iou, f1 = self.class_over_folds("iou"), self.class_over_folds("f1")
        rows = [
            (
                name,
                *(str(iou[i]), str(f1[i])),
                *(shown(values[i]) for values in (s.iou, s.f1)),
                f"{s.truth_pixels[i] // len(self.seeds):,}".replace(",", " "),
                f"{iou[i].count} of {trainings}",
            )
            for i, name in enumerate(self.names)
        ]
        means = [str(self.over_folds(what)) for what in ("miou", "macro_f1")]
        whole = [shown(value) for value in (s.miou, s.macro_f1)]
        total = f"{self.count:,}".replace(",", " ")
        rows.append(("mean", *means, *whole, total, f"{trainings} of {trainings}"))
        header = ("class", "IoU", "F1", "IoU pooled", "F1 pooled", "pixels", "in folds")
        accuracy = self.over_folds("overall_accuracy")
        return (
            f"held out {self.title}: {self.folds} folds × {len(self.seeds)} {seeds},"
            f" mean ± standard deviation over the {trainings} trainings\n{table(header, rows)}\n"
            f"  overall accuracy {accuracy}, pooled {shown(s.overall_accuracy)}"
        )
