"""Grow decision trees with scikit-learn and turn them into plain arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Growth:
    """How trees grow."""

    trees: int
    depth: int | None
    """Levels at most; None = until every leaf is of one class, or too small."""
    leaf: int
    """Samples in a leaf at least."""
    asked: float
    """Share of the features among which each node has a choice."""


@dataclass(frozen=True)
class Grown:
    """T trees of M nodes in all, as geoseg.models.trees reads them."""

    feature: np.ndarray
    """(M,) int32."""
    threshold: np.ndarray
    """(M,) float32, infinite in leaves."""
    child: np.ndarray
    """(M,) int32: of each tree from 0; the right one is the next; of a leaf itself."""
    share: np.ndarray
    """(M, K) float32."""
    root: np.ndarray
    """(T,) int64."""
    levels: np.ndarray
    """() int64."""


def few_asked(features: int) -> float:
    """Share of the features that suits pixels: two fifths, but no more than 24 and the root."""
    return max(math.sqrt(features), min(0.4 * features, 24)) / features


def grow(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, how: Growth, *, classes: int, seed: int
) -> Grown:
    """Extremely randomised trees (Geurts et al. 2006) of features (N, F) and class indices (N,).

    weight: (N,), what each sample counts. Classes without a sample get no share.
    """
    forest = fitted(x, y, weight, how, seed=seed)
    parts = [_laid_out(one.tree_, forest.classes_, classes) for one in forest.estimators_]
    feature, threshold, child, share = map(np.concatenate, zip(*parts, strict=True))
    sizes = [len(part[0]) for part in parts]
    levels = max(one.tree_.max_depth for one in forest.estimators_)
    root = np.cumsum([0, *sizes[:-1]])
    return Grown(feature, threshold, child, share, root.astype(np.int64), np.array(levels))


def fitted(x: np.ndarray, y: np.ndarray, weight: np.ndarray, how: Growth, *, seed: int) -> Any:
    """The forest as scikit-learn has it."""
    # Only who grows a forest waits for it.
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        how.trees,
        max_depth=how.depth,
        min_samples_leaf=how.leaf,
        max_features=how.asked,
        random_state=seed,
        # Its threads empty the process's list of warnings under each other's hands, and complain.
        n_jobs=1,
    )
    return forest.fit(x, y, sample_weight=weight)


def _laid_out(tree: Any, present: np.ndarray, classes: int) -> tuple[np.ndarray, ...]:
    """Arrays of a tree whose nodes come level by level, two of one parent side by side.

    present: (K',) the classes that the tree knows, of all.
    """
    order = [np.zeros(1, np.intp)]
    while len(inner := order[-1][tree.children_left[order[-1]] >= 0]):
        pairs = np.stack([tree.children_left[inner], tree.children_right[inner]], axis=1)
        order.append(pairs.ravel())
    nodes = np.concatenate(order)
    place = np.empty(len(nodes), np.int32)
    place[nodes] = np.arange(len(nodes))
    leaf = tree.children_left[nodes] < 0
    counts = tree.value[nodes, 0]
    share = np.zeros((len(nodes), classes), np.float32)
    share[:, present] = counts / counts.sum(axis=1, keepdims=True)
    return (
        np.where(leaf, 0, tree.feature[nodes]).astype(np.int32),
        np.where(leaf, np.float32(np.inf), _floored(tree.threshold[nodes])),
        np.where(leaf, np.arange(len(nodes)), place[tree.children_left[nodes]]).astype(np.int32),
        share,
    )


def _floored(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that do not exceed float64: the same float32 features lie above."""
    near = thresholds.astype(np.float32)
    above = near > thresholds
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near
