"""Seams: whether classes change more often where windows of a tiling meet than elsewhere.

Numbers of lines are pixels: line 5 of an axis lies between pixels 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import nan, sqrt

import numpy as np

from geoseg.geo.legend import NODATA


@dataclass(frozen=True)
class Seams:
    """Pairs of neighbouring valid pixels, and how many of them are of two classes."""

    pairs_across: int = 0
    """Pairs on the two sides of a line."""
    changes_across: int = 0
    pairs_elsewhere: int = 0
    """What they are compared with: all other pairs, or the same pairs in other maps."""
    changes_elsewhere: float = 0

    @property
    def share_across(self) -> float:
        """Share of the pairs across lines whose class differs; nan if there is no pair."""
        return self.changes_across / self.pairs_across if self.pairs_across else nan

    @property
    def share_elsewhere(self) -> float:
        """The same of what they are compared with."""
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
    pairs, changes = _pairs(codes, valid)
    on = _on(lines, len(pairs))
    across = int(pairs[on].sum()), int(changes[on].sum())
    return Seams(*across, int(pairs[~on].sum()), int(changes[~on].sum()))


def _pairs(codes: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H - 1, W) bool each: pairs of valid pixels of a row and the one above; those that differ."""
    pairs = valid[1:] & valid[:-1]
    return pairs, pairs & (codes[1:] != codes[:-1])


def _on(lines: Iterable[int], count: int) -> np.ndarray:
    """(count,) bool: which rows of pairs lie across a line."""
    on = np.zeros(count + 1, bool)
    on[[line for line in lines if 0 < line <= count]] = True
    return on[1:]


Laid = tuple[np.ndarray, Sequence[int], Sequence[int]]
"""A map (H, W) with its lines between rows and between columns."""


def matched(maps: Sequence[Laid]) -> list[Seams]:
    """Count each map's pairs across lines, and the same pairs where no line lies between them.

    maps: of one place, on one grid, made by windows that begin elsewhere each time; nodata where a
    map has no pixels. Elsewhere counts how often such a pair is of two classes in the other maps:
    the ground is the same, so only the lines make a difference.
    Returns: one for each map.
    """
    turned = [(codes.T, columns, rows) for codes, rows, columns in maps]
    both = zip(_matched_along(maps), _matched_along(turned), strict=True)
    return [down + right for down, right in both]


def _matched_along(maps: Sequence[Laid]) -> list[Seams]:
    found = [_pairs(codes, codes != NODATA) for codes, _, _ in maps]
    lines = [_on(rows, len(codes) - 1) for codes, rows, _ in maps]
    others, changed = (np.zeros(found[0][0].shape, np.int32) for _ in range(2))
    for (pairs, changes), on in zip(found, lines, strict=True):
        others[~on] += pairs[~on]
        changed[~on] += changes[~on]
    share = changed / np.maximum(others, 1)
    result = []
    for (pairs, changes), on in zip(found, lines, strict=True):
        known = pairs[on] & (others[on] > 0)
        number = int(known.sum())
        differ = int(changes[on][known].sum())
        result.append(Seams(number, differ, number, float(share[on][known].sum())))
    return result


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
