"""Grow: decision trees of scikit-learn, learnt from features and turned into plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SMALLEST_LEAF = 3
"""Samples in a leaf at least."""
ASKED = 0.4
"""Share of the features among which each node has a choice."""


@dataclass(frozen=True)
class Grown:
    """T trees of depth D as heaps, as geoseg.models.trees reads them."""

    feature: np.ndarray
    """(T, 2^D) int32."""
    threshold: np.ndarray
    """(T, 2^D) float32."""
    share: np.ndarray
    """(T, 2^D, K) float32."""


def grow(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    *,
    trees: int,
    depth: int,
    classes: int,
    seed: int,
) -> Grown:
    """Extremely randomised trees (Geurts et al. 2006) of features (N, F) and class indices (N,).

    weight: (N,), what each sample counts. Classes without a sample get no share.
    """
    forest = fitted(x, y, weight, trees=trees, depth=depth, seed=seed)
    shape = (trees, 2**depth)
    grown = Grown(
        np.zeros(shape, np.int32),
        np.full(shape, np.inf, np.float32),
        np.zeros((*shape, classes), np.float32),
    )
    for number, one in enumerate(forest.estimators_):
        lay_out(one.tree_, grown, number, forest.classes_, depth)
    return grown


def fitted(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, *, trees: int, depth: int, seed: int
) -> Any:
    """The forest as scikit-learn has it."""
    # Only who grows a forest waits for it.
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        trees,
        max_depth=depth,
        min_samples_leaf=SMALLEST_LEAF,
        max_features=ASKED,
        random_state=seed,
        n_jobs=-1,
    )
    return forest.fit(x, y, sample_weight=weight)


def lay_out(tree: Any, grown: Grown, number: int, classes: np.ndarray, depth: int) -> None:
    """Write a tree of scikit-learn into the heap of that number.

    Below a leaf that lies higher than the others all samples go left, to shares like its own.
    """
    counts = tree.value[:, 0]
    shares = counts / counts.sum(axis=1, keepdims=True)
    node, place = np.zeros(1, np.intp), np.ones(1, np.intp)
    for _ in range(depth):
        leaf = tree.children_left[node] < 0
        here = np.where(leaf, 0, tree.feature[node])
        grown.feature[number, place] = here
        limits = _floored(tree.threshold[node])
        grown.threshold[number, place] = np.where(leaf, np.float32(np.inf), limits)
        left = np.where(leaf, node, tree.children_left[node])
        right = np.where(leaf, node, tree.children_right[node])
        on = ~leaf
        node = np.concatenate([left, right[on]])
        place = np.concatenate([2 * place, 2 * place[on] + 1])
    grown.share[number][np.ix_(place - 2**depth, classes)] = shares[node]


def _floored(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that do not exceed float64: the same float32 features lie above."""
    near = thresholds.astype(np.float32)
    above = near > thresholds
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near
