"""Seams: whether classes change more often where windows of a tiling meet than elsewhere.

Numbers of lines are pixels: line 5 of an axis lies between pixels 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import nan, sqrt

import numpy as np

from geoseg.legend import NODATA


@dataclass(frozen=True)
class Seams:
    """Pairs of neighbouring valid pixels, and how many of them are of two classes."""

    pairs_across: int = 0
    """Pairs on the two sides of a line."""
    changes_across: int = 0
    pairs_elsewhere: int = 0
    """All other pairs."""
    changes_elsewhere: int = 0

    @property
    def share_across(self) -> float:
        """Share of the pairs across lines whose class differs; nan if there is no pair."""
        return self.changes_across / self.pairs_across if self.pairs_across else nan

    @property
    def share_elsewhere(self) -> float:
        """Share of all other pairs whose class differs; nan if there is no pair."""
        return self.changes_elsewhere / self.pairs_elsewhere if self.pairs_elsewhere else nan

    @property
    def ratio(self) -> float:
        """Share across lines over the share elsewhere: 1 = no seams; nan without any change."""
        return self.share_across / self.share_elsewhere if self.changes_elsewhere else nan

    def __add__(self, other: Seams) -> Seams:
        return Seams(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def count(
    codes: np.ndarray,
    rows: Iterable[int],
    columns: Iterable[int],
    *,
    valid: np.ndarray | None = None,
) -> Seams:
    """Count the pairs of neighbours of a map (H, W), up and down and left and right.

    rows, columns: lines between rows and between columns; those at the map's edges have no pairs.
    valid: (H, W) bool; by default all that is not nodata.
    """
    valid = codes != NODATA if valid is None else valid
    return _along(codes, valid, rows) + _along(codes.T, valid.T, columns)


def _along(codes: np.ndarray, valid: np.ndarray, lines: Iterable[int]) -> Seams:
    """Count the pairs of each row with the row above."""
    counts = valid[1:] & valid[:-1]
    changes = counts & (codes[1:] != codes[:-1])
    pairs_of, changes_of = (of.sum(axis=1, dtype=np.int64) for of in (counts, changes))
    inside = sorted({line - 1 for line in lines if 0 < line < len(codes)})
    pairs, changed = int(pairs_of[inside].sum()), int(changes_of[inside].sum())
    return Seams(pairs, changed, int(pairs_of.sum()) - pairs, int(changes_of.sum()) - changed)


def borders(starts: Sequence[int], size: int) -> list[int]:
    """Lines where windows of an axis begin or end."""
    return sorted({*starts, *(start + size for start in starts)})


def cuts(starts: Sequence[int], size: int) -> list[int]:
    """Lines in the middle of what neighbouring windows of an axis share."""
    return [(before + size + after) // 2 for before, after in pairwise(starts)]


def pooled(parts: Sequence[Seams]) -> tuple[float, float]:
    """Ratio of all parts together, and its standard error by leaving out one part at a time.

    The jackknife (Tukey 1958); the error is nan for fewer than two parts.
    """
    total = sum(parts, Seams())
    if len(parts) < 2:
        return total.ratio, nan
    without = [sum((*parts[:i], *parts[i + 1 :]), Seams()).ratio for i in range(len(parts))]
    mean = sum(without) / len(parts)
    spread = sum((ratio - mean) ** 2 for ratio in without)
    return total.ratio, sqrt((len(parts) - 1) / len(parts) * spread)
