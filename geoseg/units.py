"""Units: samples that a split never parts: squares of the ground, groups, values of a column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geoseg.errors import InputError
from geoseg.ground import ground
from geoseg.seriesset import Samples
from geoseg.split import BLOCKS

WAYS = ("block", "random", "column")
NOUNS = {"block": "blocks", "random": "groups", "column": "values of the column"}
"""What the units of each way are called."""
FEWEST_OCCUPIED = 20
"""Blocks that hold samples, at least, where their size isn't given."""
LEAST_BLOCK_M = 100.0
"""Smallest side in metres of a block whose size isn't given."""


@dataclass(frozen=True)
class Units:
    """Which samples go together."""

    by: str
    """block, random or column."""
    index: np.ndarray
    """(N,) number of each sample's unit, in an order that does not depend on the samples'."""

    @classmethod
    def of(cls, samples: Samples, by: str, *, block_m: float | None, crs: str | None) -> Units:
        """Squares by the groups' mean centres, the groups themselves, or values of the column.

        Raises: InputError if blocks are asked for and a sample has no place.
        """
        if by == "column":
            return cls(by, _numbered(samples.fold_by))
        group = _numbered(samples.group)
        if by == "random":
            return cls(by, group)
        places = centres_m(samples, crs)
        size = np.maximum(np.bincount(group), 1)
        middle = np.stack([np.bincount(group, places[:, i]) / size for i in (0, 1)], axis=1)
        cells = _cells(middle, _side(middle) if block_m is None else block_m)
        return cls(by, np.unique(cells, axis=0, return_inverse=True)[1].ravel()[group])

    def __len__(self) -> int:
        return int(self.index.max()) + 1 if len(self.index) else 0

    def counts(self, code: np.ndarray) -> np.ndarray:
        """Samples per unit and class (U, K), the classes in the order of their codes (N,)."""
        classes, place = np.unique(code, return_inverse=True)
        flat = np.bincount(
            self.index * len(classes) + place.ravel(), minlength=len(self) * len(classes)
        )
        return flat.reshape(len(self), len(classes))

    def take(self, mask: np.ndarray) -> Units:
        """The units of some samples, numbered anew."""
        return Units(self.by, _numbered(self.index[mask]))


def has_places(samples: Samples, crs: str | None) -> bool:
    """Whether all samples have coordinates of a known CRS."""
    return crs is not None and bool((np.isfinite(samples.x) & np.isfinite(samples.y)).all())


def centres_m(samples: Samples, crs: str | None) -> np.ndarray:
    """Centres (N, 2) in metres on the ground: of a CRS that is true there, as they are, else on an
    equal-area map around their middle.

    Raises: InputError if there are none.
    """
    if not has_places(samples, crs):
        lost = int((~(np.isfinite(samples.x) & np.isfinite(samples.y))).sum())
        why = f"{lost} of {len(samples)} have no coordinates" if lost else "their CRS is unknown"
        raise InputError(
            f"split.by=block: the samples can't be cut in space, as {why};"
            " set split.by=random, or split.by=column with split.column=<attribute>"
        )
    assert crs is not None
    return ground(crs).flat(np.stack([samples.x, samples.y], axis=1))


def nearest_m(places: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Distance (N,) from each sample to the nearest of another fold: what trains when it is judged.

    places: (N, 2) in metres. fold: (N,); inf where there is no other.
    """
    from scipy.spatial import cKDTree

    found = np.full(len(fold), np.inf)
    for one in np.unique(fold):
        held = fold == one
        if not held.all():
            found[held] = cKDTree(places[~held]).query(places[held])[0]
    return found


def _numbered(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].ravel()


def _cells(places: np.ndarray, side: float) -> np.ndarray:
    """Row and column (…, 2) of the squares that places lie in."""
    corner = places.min(axis=0) if len(places) else np.zeros(2)
    return np.floor((places - corner) / side).astype(np.int64)


def _side(places: np.ndarray) -> float:
    """Side in metres of blocks: about BLOCKS over the extent, more where much of it is empty."""
    if not len(places):
        return LEAST_BLOCK_M
    width, height = np.maximum(np.ptp(places, axis=0), LEAST_BLOCK_M)
    side = max(math.sqrt(width * height / BLOCKS), LEAST_BLOCK_M)
    wanted = min(FEWEST_OCCUPIED, len(places))
    while side > LEAST_BLOCK_M and len(np.unique(_cells(places, side), axis=0)) < wanted:
        side = max(side / math.sqrt(2), LEAST_BLOCK_M)
    return side
