"""Hold what tells ground that a network knows from ground that it does not.

Letters of shapes: N points, d features, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from geoseg.errors import InputError
from geoseg.received.tensor_file import TensorFile

PREFIX = "novelty."
"""Of the names of the tensors that lie beside a network's weights."""
WIDEST = 512
"""Features at most: of more, random mixtures are taken."""
QUANTILES = 101
HALF, UPPER = 50, 90
"""The quantiles that make the units in which scores are added."""
LEAST_SCORE = -2.0
"""In these units, of a score before it is added."""
LEAST_SPREAD = 0.1
"""Deviation of a feature at least, as a share of the median of all: one that hardly moved in the
training would outweigh all others."""
LARGEST_SHARE = 0.05
"""Of a scene: of more novel pixels people are warned."""

S = TypeVar("S", bound="_Stored")
T = TypeVar("T")


class _Stored:
    """What lies in a file as tensors, one for each field."""

    def tensors(self) -> dict[str, np.ndarray]:
        """By name, as they lie in a file."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        return {PREFIX + name: np.array(value, np.float32, order="C") for name, value in named}

    @classmethod
    def of_tensors(cls: type[S], tensors: Mapping[str, np.ndarray]) -> S:
        """Raises: KeyError for a missing one; InputError for shapes that do not go together."""
        made = cls(
            **{field.name: tensors[PREFIX + field.name] for field in fields(cls)}  # type: ignore[arg-type]
        )
        made.check()
        return made

    def check(self) -> None:
        """Raises: InputError for shapes that do not go together."""


@dataclass(frozen=True)
class FeatureNovelty(_Stored):
    """Of networks for images: Mahalanobis distance of features and of looks, and energy.

    Lee et al. 2018 (one Gaussian for all classes), Liu et al. 2020. They are added, and the sum is
    ranked among the pixels of val.
    """

    mean: np.ndarray
    """(d,) of the features of train."""
    precision: np.ndarray
    """(d, d) inverse of their covariance."""
    mixture: np.ndarray
    """(C, d) what makes d features of an encoder's C channels; (0, 0) = they are taken as is."""
    distance: np.ndarray
    """(Q,) quantiles of the distance over the pixels of val."""
    energy: np.ndarray
    """(Q,) quantiles of the energy over the pixels of val."""
    looks_mean: np.ndarray
    """(l,) of the looks of train."""
    looks_precision: np.ndarray
    """(l, l) inverse of their covariance."""
    looks: np.ndarray
    """(Q,) quantiles of the looks' distance, the higher ones of train and of val."""
    together: np.ndarray
    """(Q,) quantiles of the sum over the pixels of val."""

    @property
    def scores(self) -> tuple[np.ndarray, ...]:
        """The quantiles of each score, in the order of the planes."""
        return self.distance, self.energy, self.looks

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """What is usual (3,), and by how much val's upper tenth exceeds it (3,), of each score."""
        low, high = np.stack(self.scores)[:, [HALF, UPPER]].astype(np.float32).T
        return low, np.maximum(high - low, 1e-6)

    def sums(self, scores: np.ndarray) -> np.ndarray:
        """The sum (n,) of scores (n, 3), each in its units; one that is more usual than all others
        must not outweigh another that is new."""
        low, unit = self.units
        return np.asarray(np.maximum((scores - low) / unit, LEAST_SCORE).sum(axis=1))

    def check(self) -> None:
        size = len(self.mean)
        shapes = self.mean.shape, self.precision.shape, self.mixture.shape
        if (
            shapes[:2] != ((size,), (size, size))
            or len(shapes[2]) != 2
            or shapes[2][1] not in (0, size)
        ):
            raise InputError(f"novelty: tensors of shapes {shapes} do not go together")
        of_looks = self.looks_mean.shape, self.looks_precision.shape
        if of_looks != ((len(self.looks_mean),), (len(self.looks_mean),) * 2):
            raise InputError(f"novelty: looks of shapes {of_looks} do not go together")
        if {values.shape for values in (*self.scores, self.together)} != {(QUANTILES,)}:
            raise InputError(f"novelty: expected {QUANTILES} quantiles")


@dataclass(frozen=True)
class Applicability(_Stored):
    """Of networks for series: the area of applicability (Meyer & Pebesma 2021).

    The dissimilarity index is the distance to the nearest point of the training, in standardised
    features, over the mean distance between points of the training.
    """

    points: np.ndarray
    """(N, d) standardised features of samples of train."""
    mean: np.ndarray
    """(d,)"""
    std: np.ndarray
    """(d,)"""
    average: np.ndarray
    """() mean distance between points."""
    threshold: np.ndarray
    """() largest dissimilarity index inside the area."""

    def check(self) -> None:
        shapes = self.points.shape[1:], self.mean.shape, self.std.shape
        if len(set(shapes)) != 1 or self.average.size != 1 or self.threshold.size != 1:
            raise InputError(f"novelty: tensors of shapes {shapes} do not go together")
        if not (self.std > 0).all() or not self.average > 0 or not self.threshold > 0:
            raise InputError("novelty: deviations, average and threshold must be above 0")

    def index(self, features: np.ndarray) -> np.ndarray:
        """Dissimilarity index (n,) of features (n, d)."""
        return distances((features - self.mean) / self.std, self.points).min(axis=1) / float(
            self.average
        )


Novelty = FeatureNovelty | Applicability


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances (n, m) of points (n, d) and (m, d)."""
    from scipy.spatial.distance import cdist  # a third of a second that --help shall not take

    return np.asarray(cdist(one, other))


def has_novelty(path: Path) -> bool:
    """Whether a file of weights says what its network knows; False if it can't be read."""
    try:
        return any(name.startswith(PREFIX) for name in TensorFile.open(path).tensors)
    except (OSError, ValueError):
        return False


def read(path: Path, *, series: bool) -> Novelty | None:
    """What a file of weights says of what its network knows; None if it says nothing.

    Raises: InputError if it is incomplete.
    """
    if not has_novelty(path):
        return None
    remedy = "make it again: python -m geoseg.calibrate … novelty=true"
    try:
        tensors = dict(_tensors(TensorFile.open(path)))
        return (Applicability if series else FeatureNovelty).of_tensors(tensors)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: what it says of known ground is incomplete ({error}); {remedy}"
        ) from None
    except InputError as error:
        raise InputError(f"{path}: {error}; {remedy}") from None


def _tensors(file: TensorFile) -> Iterator[tuple[str, np.ndarray]]:
    """Raises: ValueError for tensors that are not as `tensors` gives them."""
    for name, told in file.tensors.items():
        if name.startswith(PREFIX):
            start, end = told["data_offsets"]
            if told["dtype"] != "F32":
                raise ValueError(f"{name}: {told['dtype']}, expected F32")
            values = np.fromfile(
                file.path, np.float32, count=(end - start) // 4, offset=file.begin + start
            )
            yield name, values.reshape(told["shape"])


def without(tensors: Mapping[str, T]) -> dict[str, T]:
    """The tensors of a file that are the network's."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}


def bounds(quantiles: np.ndarray) -> np.ndarray:
    """What lies between the ranks 1 to 100: the percentiles 1 to 98, and the largest of all."""
    return np.concatenate([quantiles[1:99], quantiles[-1:]])


def gaussian(
    count: int, total: np.ndarray, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (d,) and precision (d, d) of features, and how much the covariance was shrunk, 0..1.

    count: features seen. total: (d,) their sum. products: (d, d) sum of their outer products.
    Correlations are shrunk to none as far as few features demand it (oracle approximating
    shrinkage, Chen et al. 2010).
    """
    size = len(total)
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    spread = np.sqrt(np.clip(np.diag(covariance), 0, None))
    moving = spread[spread > 0]
    least = LEAST_SPREAD * (np.median(moving) if len(moving) else 1.0)
    spread = np.maximum(spread, least)
    correlation = covariance / np.outer(spread, spread)
    np.fill_diagonal(correlation, 1.0)  # of those that were set to the least spread, too
    trace, squares = float(np.trace(correlation)), float((correlation**2).sum())
    above = (1 - 2 / size) * squares + trace**2
    below = (count + 1 - 2 / size) * (squares - trace**2 / size)
    shrunk = 1.0 if below <= 0 else float(np.clip(above / below, 1e-3, 1.0))
    level = max(trace / size, 1e-6)
    inverse = np.linalg.inv((1 - shrunk) * correlation + shrunk * level * np.eye(size))
    inverse = (inverse + inverse.T) / 2
    return mean, inverse / np.outer(spread, spread), shrunk


def mahalanobis(points: Any, mean: Any, precision: Any) -> Any:
    """Mahalanobis distances (N,) of points (N, d), arrays of numpy or tensors of torch."""
    away = points - mean
    return ((away @ precision) * away).sum(-1).clip(0) ** 0.5


def applicability(features: np.ndarray, fold: np.ndarray) -> tuple[Applicability, np.ndarray]:
    """Area of applicability of points (N, d), and their cross-validated index (N,).

    fold: (N,) of points that are alike for standing side by side: the nearest one counts only of
    another fold. Threshold as CAST's trainDI has it: Q75 + 1.5 · IQR, at most the largest index.
    Raises: InputError if there are fewer than two folds, or all points are alike.
    """
    if len(np.unique(fold)) < 2:
        raise InputError(
            "novelty: the samples of train are of one group; at least two are needed, for each is"
            " compared with those of the others"
        )
    mean, std = features.mean(axis=0), features.std(axis=0, ddof=1)
    kept = np.where(std > 0, std, 1.0)
    points = (features - mean) / kept
    every = distances(points, points)
    average = float(every.sum() / (len(points) * (len(points) - 1)))
    if not average > 0:
        raise InputError("novelty: all samples of train look alike to the network")
    apart = np.where(fold[:, None] == fold[None, :], np.inf, every)
    index = apart.min(axis=1) / average
    made = Applicability(
        points, mean, kept, np.array(average), np.array(threshold_of(index), np.float64)
    )
    return made, index


def threshold_of(index: np.ndarray) -> float:
    """Q75 + 1.5 · IQR of the training's index, at most its maximum."""
    low, high = np.quantile(index, [0.25, 0.75])
    return float(min(high + 1.5 * (high - low), index.max()))
