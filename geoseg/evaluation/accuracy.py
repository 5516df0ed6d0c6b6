"""Compute confusion matrices, the scores that follow from them, and boundary F1.

Everything here works on indices (0..K-1, 255 = ignored) and adds up over windows. Rows of a
confusion matrix are the labels (truth), columns the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.geo.legend import IGNORED
from geoseg.outputs.csv_cells import write_csv

CHUNK = 1 << 16
"""Pixels counted at once: their 64-bit indices then stay in the cache."""
Table = dict[str, Any]
"""What `to_dict` gives: JSON-safe, None where a score is undefined."""


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by label and map; those ignored in either are left out.

    truth, predicted: indices of the same shape, any integer type, 0..classes-1 or 255.
    Returns: (K, K) int64, rows labels, columns map; matrices of windows may be added.
    Raises: ValueError for other shapes or indices.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"labels are {truth.shape} but the map is {predicted.shape}")
    rows, columns = _shifted(truth, classes).ravel(), _shifted(predicted, classes).ravel()
    # Row and column 0 take the ignored pixels: cheaper than selecting the others.
    side = classes + 1
    counts = np.zeros(side * side, np.int64)
    for start in range(0, rows.size, CHUNK):
        joint = rows[start : start + CHUNK].astype(np.intp)
        joint *= side
        joint += columns[start : start + CHUNK]
        counts += np.bincount(joint, minlength=side * side)
    return counts.reshape(side, side)[1:, 1:].copy()


def _shifted(indices: np.ndarray, classes: int) -> np.ndarray:
    """A uint8 copy with classes at 1..K and, as 255 + 1 wraps around, ignored pixels at 0."""
    if indices.dtype != np.uint8:
        if indices.size and (indices.min() < 0 or indices.max() > IGNORED):
            raise ValueError(f"indices {indices.min()} to {indices.max()}: expected 0 to 255")
        indices = indices.astype(np.uint8)
    shifted = indices + np.uint8(1)
    if shifted.size and shifted.max() > classes:
        raise ValueError(f"index {shifted.max() - 1} but only {classes} classes (255 = ignored)")
    return shifted


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says. Undefined scores (0/0) are NaN.

    Means run over the classes that occur in the labels or in the map. A class in neither has no
    score and is left out; one that is only in the labels, or only in the map, counts as 0.
    """

    names: tuple[str, ...]
    truth_pixels: tuple[int, ...]
    """Pixels of each class in the labels."""
    map_pixels: tuple[int, ...]
    """Pixels of each class in the map, where there are labels."""
    iou: tuple[float, ...]
    """Intersection over union, of each class."""
    f1: tuple[float, ...]
    """Harmonic mean of user's and producer's accuracy (Dice)."""
    users_accuracy: tuple[float, ...]
    """Share of the class in the map that is right (precision); NaN if the map lacks the class."""
    producers_accuracy: tuple[float, ...]
    """Share of the class in the labels that is found (recall); NaN if the labels lack it."""
    miou: float
    macro_f1: float
    overall_accuracy: float
    kappa: float
    """Agreement beyond chance (Cohen 1960); NaN where chance alone agrees fully: a single class."""

    @classmethod
    def of(cls, confusion: np.ndarray, names: Sequence[str]) -> Scores:
        """From a confusion matrix (K, K), rows labels, columns map, and K class names."""
        if confusion.shape != (len(names), len(names)):
            raise ValueError(f"a confusion matrix {confusion.shape} for {len(names)} classes")
        counts = confusion.astype(np.float64)
        hits, truth, mapped = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        iou = ratio(hits, truth + mapped - hits)
        f1 = ratio(2 * hits, truth + mapped)
        total = counts.sum()
        agreement = float(ratio(hits.sum(), total))
        by_chance = float(ratio(truth @ mapped, total * total))
        return cls(
            names=tuple(names),
            truth_pixels=tuple(int(n) for n in truth),
            map_pixels=tuple(int(n) for n in mapped),
            iou=_floats(iou),
            f1=_floats(f1),
            users_accuracy=_floats(ratio(hits, mapped)),
            producers_accuracy=_floats(ratio(hits, truth)),
            miou=mean_of(iou),
            macro_f1=mean_of(f1),
            overall_accuracy=agreement,
            kappa=float(ratio(agreement - by_chance, 1 - by_chance)),
        )

    def to_dict(self) -> Table:
        """Overall scores, and under `classes` one entry per class; None where undefined."""
        values = vars(self)
        per_class = [f.name for f in fields(self) if isinstance(values[f.name], tuple)]
        overall = {k: defined(v) for k, v in values.items() if k not in per_class}
        classes = [
            {"name": name, **{k: defined(values[k][i]) for k in per_class if k != "names"}}
            for i, name in enumerate(self.names)
        ]
        return {**overall, "classes": classes}

    def table(self, unit: str = "px") -> str:
        """The scores as text for a terminal; – where undefined. unit: of what was counted."""
        width = max(map(len, (*self.names, "mean")))
        counted = f"{'labels, ' + unit:>10}  {'map, ' + unit:>10}"
        head = f"{'class':<{width}}    IoU     F1  user's  prod.'s  {counted}"
        lines = [head]
        for i, name in enumerate(self.names):
            lines.append(
                f"{name:<{width}}  {_text(self.iou[i])}  {_text(self.f1[i])}"
                f"   {_text(self.users_accuracy[i])}    {_text(self.producers_accuracy[i])}"
                f"  {self.truth_pixels[i]:>10}  {self.map_pixels[i]:>10}"
            )
        lines.append(f"{'mean':<{width}}  {_text(self.miou)}  {_text(self.macro_f1)}")
        lines.append(f"overall accuracy {_text(self.overall_accuracy).strip()}")
        return "\n".join(lines)


def write_confusion_csv(path: str | Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Write a confusion matrix with class names: rows labels, columns map."""
    rows = zip(names, confusion.tolist(), strict=True)
    write_csv(path, [["labels \\ map", *names], *([name, *counts] for name, counts in rows)])


class BoundaryF1:
    """Do the map's class boundaries lie where the labels have them? (Csurka et al. 2013)

    A pixel is boundary if one of its four neighbours is of another class; an ignored neighbour
    says nothing, nor does the edge of the array. A boundary pixel is found if the other side has
    boundary of the same class within `tolerance` pixels (Euclidean). Counts are summed over all
    windows before the ratios are taken, so the result does not depend on how they are cut.
    """

    def __init__(self, classes: int, tolerance: int = 2) -> None:
        if classes < 1 or tolerance < 0:
            raise ValueError(f"{classes} classes, tolerance {tolerance}: need ≥ 1 and ≥ 0 pixels")
        self.classes = classes
        self.tolerance = tolerance
        self.counts = np.zeros((4, classes), np.int64)
        """Boundary pixels by class: in the labels, of these found; in the map, of these found."""

    @property
    def halo(self) -> int:
        """Pixels needed around a keep: to the farthest boundary pixel and its neighbour."""
        return self.tolerance + 1

    def add(
        self,
        truth: np.ndarray,
        predicted: np.ndarray,
        keep: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> None:
        """Count the boundary pixels of one window's keep.

        truth, predicted: (H, W) indices, 255 = ignored. keep: rows and columns that count; around
        them the arrays reach `halo` pixels farther, fewer only where the map itself ends.
        """
        if truth.shape != predicted.shape or truth.ndim != 2:
            raise ValueError(f"labels are {truth.shape} but the map is {predicted.shape}")
        labels, mapped = (_shifted(a, self.classes) for a in (truth, predicted))
        ignored = (labels == 0) | (mapped == 0)
        labels[ignored] = mapped[ignored] = 0
        # Class where there is boundary, else 0: one array serves all classes.
        labels, mapped = (np.where(_edges(a), a, np.uint8(0)) for a in (labels, mapped))
        for row, (own, other) in enumerate(((labels, mapped), (mapped, labels))):
            wanted, found = self._search(own, other, keep)
            self.counts[2 * row] += self._count(wanted)
            self.counts[2 * row + 1] += self._count(wanted[found])

    def _search(
        self, own: np.ndarray, other: np.ndarray, keep: tuple[slice, slice]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Class of each boundary pixel of `own` in the keep, and whether `other` has it near."""
        reach = self.tolerance
        padded = np.pad(other, reach)
        top, left = (s.indices(n)[0] for s, n in zip(keep, own.shape, strict=True))
        rows, columns = np.nonzero(own[keep])
        wanted = own[rows + top, columns + left]
        places = (rows + top + reach) * padded.shape[1] + columns + left + reach
        flat, found = padded.ravel(), np.zeros(len(wanted), bool)
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                if down * down + right * right <= reach * reach:
                    found |= flat[places + (down * padded.shape[1] + right)] == wanted
        return wanted, found

    def _count(self, shifted: np.ndarray) -> np.ndarray:
        return np.bincount(shifted, minlength=self.classes + 1)[1:]

    @property
    def precision(self) -> tuple[float, ...]:
        """By class, the share of the map's boundary that the labels have too."""
        return _floats(ratio(self.counts[3], self.counts[2]))

    @property
    def recall(self) -> tuple[float, ...]:
        """By class, the share of the labels' boundary that the map has too."""
        return _floats(ratio(self.counts[1], self.counts[0]))

    @property
    def f1(self) -> tuple[float, ...]:
        """By class; NaN without boundary on either side, 0 with boundary on one side only."""
        precision = np.nan_to_num(np.array(self.precision))
        recall = np.nan_to_num(np.array(self.recall))
        f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
        f1[self.counts[[0, 2]].sum(axis=0) == 0] = np.nan
        return _floats(f1)

    @property
    def mean(self) -> float:
        """Mean F1 over the classes with boundary in the labels or in the map."""
        return mean_of(np.array(self.f1))

    def to_dict(self, names: Sequence[str]) -> Table:
        """Tolerance, mean F1, and precision, recall and F1 by class; None where undefined."""
        columns = zip(names, self.precision, self.recall, self.f1, strict=True)
        return {
            "tolerance": self.tolerance,
            "mean": defined(self.mean),
            "classes": [
                {"name": name, "precision": defined(p), "recall": defined(r), "f1": defined(f)}
                for name, p, r, f in columns
            ],
        }


def _edges(indices: np.ndarray) -> np.ndarray:
    """Where one of the four neighbours is of another class; 0 is none."""
    edges = np.zeros(indices.shape, bool)
    for axis in (0, 1):
        one, two = (np.moveaxis(a, axis, 0) for a in (indices, edges))
        before, after = one[:-1], one[1:]
        differ = (before != after) & (before != 0) & (after != 0)
        two[:-1] |= differ
        two[1:] |= differ
    return edges


def ratio(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """part / whole, NaN for 0 / 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    nothing = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.divide(part, whole, out=nothing, where=whole != 0)


def mean_of(values: np.ndarray) -> float:
    """Mean of the defined values; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(values.tolist())


def defined(value: Any) -> Any:
    """None for NaN, which JSON does not know."""
    return None if isinstance(value, float | np.floating) and np.isnan(value) else value


def _text(value: float) -> str:
    return "    –" if np.isnan(value) else f"{value:5.3f}"
