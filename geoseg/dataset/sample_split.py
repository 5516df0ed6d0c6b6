"""Split samples into train, val and test without parting groups or blocks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoseg.dataset.samples import Samples
from geoseg.dataset.split import BLOCKS, SPLITS, share_out
from geoseg.errors import Faults, InputError
from geoseg.geo.ground import ground
from geoseg.geo.legend import canonical
from geoseg.outputs.counted import counted, first
from geoseg.received.keys import NUMERIC

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

    def counts(self, code: np.ndarray, amount: np.ndarray | None = None) -> np.ndarray:
        """Samples per unit and class (U, K), the classes in the order of their codes (N,).

        amount: (N,) what each sample counts; by default 1.
        """
        classes, place = np.unique(code, return_inverse=True)
        flat = np.bincount(
            self.index * len(classes) + place.ravel(), amount, minlength=len(self) * len(classes)
        )
        return flat.reshape(len(self), len(classes))

    def take(self, mask: np.ndarray) -> Units:
        """The units of some samples, numbered anew."""
        return Units(self.by, _numbered(self.index[mask]))


def parted_groups(samples: Samples, part: np.ndarray) -> list[str]:
    """Groups whose samples lie in several parts (N,): splits, or folds."""
    pairs = {*zip(samples.group.tolist(), part.tolist(), strict=True)}
    counts = Counter(group for group, _ in pairs)
    return sorted(group for group, count in counts.items() if count > 1)


def said_of_parted(samples: Samples, part: np.ndarray, where: str) -> list[str]:
    """What is to be said of groups in several parts (N,), as a column's values may part them.

    where: the parts, in words.
    """
    if not (parted := parted_groups(samples, part)):
        return []
    groups = counted(len(set(samples.group)), "group")
    return [
        f"split.by=column parts {len(parted)} of {groups} (samples.group) over several {where},"
        f" such as {first(parted)}: what judges is of the same groups as what trains;"
        " split.by=block and split.by=random keep them together"
    ]


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


DRAWS = 10
"""Draws of folds by samples, and then twice as many by presence, until all have all classes."""
FOLD_WAYS = (*WAYS, "scene")
"""What may go whole into one fold."""
_SHOWN = 20
"""Values that an error lists at most."""


@dataclass
class SampleSplit:
    """Shares of the samples by blocks of the ground or at random, or values of a column."""

    val: Any = field(default=0.15, metadata=NUMERIC)
    """Share of each class; with split.by=column also values of the column."""
    test: Any = field(default=0.15, metadata=NUMERIC)
    """Share of each class; with split.by=column also values of the column."""
    by: str = "block"
    """What goes whole into one split: block (squares of the ground), random (a group; without
    samples.group a sample), column (a value). A share beside values is cut from the other values
    by block, or at random where samples have no place."""
    column: str | None = None
    """Attribute that split.by=column goes by (year, region …); tile is always there."""
    block_m: float | None = None
    """Side of a block in metres; by default so that there are about 40, but at least 100 m."""
    seed: int = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.attempt(check_way, self.by, self.block_m)
        if self.by == "column" and self.column is None:
            faults.add("split.by=column: set split.column=<attribute>, or split.column=tile")
        for name in ("val", "test"):
            value = getattr(self, name)
            if self.by == "column" and not _is_share(value):
                values = value if isinstance(value, (list, tuple)) else [value]
                setattr(self, name, [canonical(v) for v in values])
            elif not _is_share(value):
                faults.add(
                    f"split.{name}={value}: give a share in [0, 1); values of a column need"
                    " split.by=column split.column=<attribute>"
                )
        if not faults.found and self.share("val") + self.share("test") >= 1:
            total = self.share("val") + self.share("test")
            faults.add(f"split.val + split.test = {total:g}: nothing would be left to train on")
        faults.raise_if_any()

    def share(self, name: str) -> float:
        """Share of a split, 0 where it has values."""
        value = getattr(self, name)
        return 0.0 if isinstance(value, list) else float(value)

    def values(self, name: str) -> list[str]:
        """Values of the column that a split has."""
        value = getattr(self, name)
        return value if isinstance(value, list) else []


def check_way(by: str, block_m: float | None, ways: tuple[str, ...] = WAYS) -> None:
    """Raises: InputError for an unknown way, or blocks of no size."""
    faults = Faults()
    if by not in ways:
        faults.add(f"split.by={by}: choose from {', '.join(ways)}")
    if block_m is not None and not block_m > 0:
        faults.add(f"split.block_m={block_m}: must be above 0")
    faults.raise_if_any()


def assign(
    samples: Samples, split: SampleSplit, *, crs: str | None, by_pixel: bool = False
) -> np.ndarray:
    """Draw a split for each sample, so that every class is shared out as asked.

    by_pixel: shares are of their pixels, which are then what is learnt from.

    A class that the draw leaves without a train sample gets one, where another split can spare it.
    crs: of the samples' coordinates. Returns: (N,) train, val or test, as text.
    Raises: InputError for unknown values, samples without a place, a split that gets nothing.
    """
    part = _named(samples, split)
    rest = np.flatnonzero(part == "")
    val, test = split.share("val"), split.share("test")
    shares = {"train": 1 - val - test, "val": val, "test": test}
    shares = {name: share for name, share in shares.items() if share > 0}
    by = split.by
    if by == "column" and len(rest) < len(part):
        by = "block" if has_places(samples, crs) else "random"
    if len(shares) == 1 or not len(rest):
        part[rest] = "train"
    else:
        left = samples.take(rest)
        units = Units.of(left, by, block_m=split.block_m, crs=crs)
        counts = units.counts(left.code, left.pixels if by_pixel else None)
        drawn = share_out(dict(enumerate(counts)), shares, seed=split.seed)
        of_unit = np.array([drawn[i] for i in range(len(units))], dtype=object)
        _spare_for_train(of_unit, counts)
        part[rest] = of_unit[units.index]
    _check_all_got(part, split, by)
    return part


def _is_share(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value < 1


def _named(samples: Samples, split: SampleSplit) -> np.ndarray:
    """The splits (N,) of samples whose value of the column is named, "" for the others."""
    part = np.full(len(samples), "", dtype=object)
    present = sorted({str(value) for value in samples.fold_by})
    faults = Faults()
    for name in ("val", "test"):
        unknown = [value for value in split.values(name) if value not in present]
        if unknown:
            faults.add(
                f"split.{name}: no {', '.join(unknown)} in {split.column};"
                f" there are {first(present, _SHOWN)}"
            )
        part[np.isin(samples.fold_by.astype(str), split.values(name))] = name
    if both := sorted(set(split.values("val")) & set(split.values("test"))):
        faults.add(f"{split.column} {', '.join(both)} is in split.val and split.test")
    faults.raise_if_any()
    return part


def _spare_for_train(of_unit: np.ndarray, counts: np.ndarray) -> None:
    """Move the smallest unit of each class that has none in train there, if its split has more."""
    size = counts.sum(axis=1)
    for place in range(counts.shape[1]):
        holders = np.flatnonzero(counts[:, place])
        if (of_unit[holders] == "train").any():
            continue
        spare = [unit for unit in holders if (of_unit == of_unit[unit]).sum() > 1]
        if spare:
            of_unit[min(spare, key=lambda unit: (size[unit], unit))] = "train"


def _check_all_got(part: np.ndarray, split: SampleSplit, by: str) -> None:
    """Raises: InputError if a split that was asked for got nothing."""
    faults = Faults()
    more = "a smaller split.block_m, " if by == "block" else ""
    for name in SPLITS:
        asked = name == "train" or split.values(name) or split.share(name) > 0
        if asked and not (part == name).any():
            faults.add(
                f"split.{name}: no sample is left for it, as there are too few"
                f" {NOUNS[by]}; give more samples, other shares, {more}or another split.by"
            )
    faults.raise_if_any()


def _check_enough(
    units: Units, code: np.ndarray, *, folds: int, least: int, names: Mapping[int, str] | None
) -> None:
    """Raises: InputError naming every class, or all samples, with fewer units than folds need."""
    remedy = {
        "block": "set fewer folds or a smaller split.block_m",
        "random": "set fewer folds",
        "column": "set split.by=block or split.by=random",
    }[units.by]
    noun = NOUNS[units.by]
    if len(units) < max(2, least):
        raise InputError(f"{max(2, folds)} folds need as many {noun}, got {len(units)}; {remedy}")
    faults = Faults()
    holders = (units.counts(code) > 0).sum(axis=0)
    for one, count in zip(np.unique(code), holders, strict=True):
        if count < least:
            name = (names or {}).get(int(one), f"of code {one}")
            samples = int((code == one).sum())
            faults.add(
                f"class {name}: in {count} of {len(units)} {noun} (samples: {samples}), but"
                f" {folds} folds need it in {least}; {remedy}, or join it with another class in"
                " the legend"
            )
    faults.raise_if_any()
