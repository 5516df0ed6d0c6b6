"""Draw folds that keep groups and blocks together.

Samples of one group, as the pixels of one parcel, are never parted, unless a column says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoseg.dataset.sample_split import DRAWS, FOLD_WAYS, Units, _check_enough, check_way
from geoseg.dataset.split import share_out
from geoseg.errors import InputError


@dataclass
class Folding:
    """What goes whole into one fold."""

    by: str = "block"
    """block (squares of the ground), random, of series column (a tile, region or year), of images
    scene."""
    column: str | None = None
    """With split.by=column: that of prepare_series (split.column), the default, or tile."""
    block_m: float | None = None
    """Side of a block in metres; by default so that there are about 40, but at least 100 m; of
    images as prepare makes them."""
    buffer_m: float | None = None
    """Images: metres around what is held out that do not train; by default as in prepare."""

    def __post_init__(self) -> None:
        check_way(self.by, self.block_m, FOLD_WAYS)
        if self.buffer_m is not None and self.buffer_m < 0:
            raise InputError(f"split.buffer_m={self.buffer_m}: must not be negative")


def deal(
    units: Units,
    code: np.ndarray,
    *,
    count: int,
    seed: int,
    names: Mapping[int, str] | None = None,
) -> np.ndarray:
    """`folds` for units that are known. code: (N,). names: of the codes, for errors."""
    if units.by == "column" and (count == 0 or count >= len(units) > 0):
        # A class must train when a value that has it is held out: two values are enough.
        _check_enough(units, code, folds=len(units), least=2, names=names)
        return units.index.astype(np.int64)
    if count < 2:
        raise InputError(
            f"folds={count}: give at least 2, or 0 with split.by=column for one fold per value"
        )
    _check_enough(units, code, folds=count, least=count, names=names)
    return draw_folds(units.counts(code), count=count, seed=seed)[units.index]


def draw_folds(counts: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Draw a fold for each unit so that each gets about 1/count of every class.

    counts: (U, K) amount of each class. A class that lies in `count` units or more gets into each
    fold, if one of the draws finds how. Returns: (U,) int64, 0..count-1.
    """
    many = (counts > 0).sum(axis=0) >= count
    best, fewest = np.zeros(0, np.int64), -1
    for draw in range(3 * DRAWS):
        # Where classes lie in few units, sharing out the units of each finds a way more often.
        dealt = counts if draw < DRAWS else counts > 0
        drawn = share_out(
            dict(enumerate(dealt)), dict.fromkeys(range(count), 1 / count), seed=[seed, draw]
        )
        fold = np.array([drawn[i] for i in range(len(counts))], np.int64)
        got = [counts[fold == one].sum(axis=0) > 0 for one in range(count)]
        lacking = sum(int((~one & many).sum()) + int(not one.any()) for one in got)
        if fewest < 0 or lacking < fewest:
            best, fewest = fold, lacking
        if not fewest:
            break
    return best
