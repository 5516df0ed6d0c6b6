"""SampleSplit: which samples train, which choose the best weights (val), which judge (test).

Samples of one group, as the pixels of one parcel, are never parted, unless a column says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.keys import NUMERIC
from geoseg.legend import canonical
from geoseg.seriesset import Samples
from geoseg.split import SPLITS, share_out
from geoseg.units import NOUNS, WAYS, Units, has_places

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
        with faults.collect():
            check_way(self.by, self.block_m)
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


def check_way(by: str, block_m: float | None, ways: tuple[str, ...] = WAYS) -> None:
    """Raises: InputError for an unknown way, or blocks of no size."""
    faults = Faults()
    if by not in ways:
        faults.add(f"split.by={by}: choose from {', '.join(ways)}")
    if block_m is not None and not block_m > 0:
        faults.add(f"split.block_m={block_m}: must be above 0")
    faults.raise_if_any()


def assign(samples: Samples, split: SampleSplit, *, crs: str | None) -> np.ndarray:
    """Draw a split for each sample, so that every class is shared out as asked.

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
        counts = units.counts(left.code)
        drawn = share_out(dict(enumerate(counts)), shares, seed=split.seed)
        of_unit = np.array([drawn[i] for i in range(len(units))], dtype=object)
        _spare_for_train(of_unit, counts)
        part[rest] = of_unit[units.index]
    _check_all_got(part, split, by)
    return part


def folds(
    samples: Samples, *, by: str, count: int, block_m: float | None, seed: int, crs: str | None
) -> np.ndarray:
    """Draw a fold for each sample so that each fold gets about 1/count of every class.

    by=column with count 0, or with no more values than that: one fold per value, in their order.
    Returns: (N,) int64, 0..folds-1.
    Raises: InputError if there are fewer units than folds, in all or of a class.
    """
    check_way(by, block_m)
    return deal(
        Units.of(samples, by, block_m=block_m, crs=crs), samples.code, count=count, seed=seed
    )


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
            more = " …" if len(present) > _SHOWN else ""
            faults.add(
                f"split.{name}: no {', '.join(unknown)} in {split.column};"
                f" there are {', '.join(present[:_SHOWN])}{more}"
            )
        part[np.isin(samples.fold_by.astype(str), split.values(name))] = name
    both = sorted(set(split.values("val")) & set(split.values("test")))
    if both:
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
