"""Trees: a forest as plain arrays, and its evaluation by gathers alone.

Letters of shapes: N samples, F features, T trees, K classes, D depth.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

PART = 4096
"""Samples that go down a tree together: what they need then stays in the processor's cache."""


class Trees(nn.Module):
    """Decision trees of one depth, each a heap: node n, from 1, goes on at 2n or at 2n + 1.

    It goes on at 2n + 1 where a sample's feature[n] exceeds threshold[n]. No child is looked up, so
    no file can lead a sample astray.
    """

    feature: Tensor
    threshold: Tensor
    share: Tensor

    def __init__(self, trees: int, depth: int, classes: int) -> None:
        super().__init__()
        self.depth = depth
        nodes = 2**depth
        self.register_buffer("feature", torch.zeros(trees, nodes, dtype=torch.int32))
        """(T, 2^D); node 0 is none."""
        self.register_buffer("threshold", torch.full((trees, nodes), torch.inf))
        self.register_buffer("share", torch.full((trees, nodes, classes), 1 / classes))
        """Of each class in a leaf; the leaves are the nodes 2^D … 2^(D+1) - 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities (K, N) float32 of features (F, N) float32: the mean over all trees."""
        features = self.feature.remainder(len(x)).long()  # a damaged file must not read elsewhere
        if x.device.type == "cpu":
            threads = torch.get_num_threads()
            return torch.from_numpy(self._on_cpu(x.numpy(), features.numpy(), threads))
        return self._on_device(x, features)

    def _on_device(self, x: Tensor, features: Tensor) -> Tensor:
        count, size = len(x), x.shape[1]
        flat, start = x.t().flatten(), torch.arange(size, device=x.device) * count
        total = x.new_zeros(size, self.share.shape[2])
        for feature, threshold, share in zip(features, self.threshold, self.share, strict=True):
            node = torch.ones_like(start)
            for _ in range(self.depth):
                node = 2 * node + (flat[start + feature[node]] > threshold[node])
            total += share[node - 2**self.depth]
        return total.t() / len(self.feature)

    def _on_cpu(self, x: np.ndarray, features: np.ndarray, threads: int) -> np.ndarray:
        """The same by numpy, whose gathers take half of torch's time."""
        found = np.empty((self.share.shape[2], x.shape[1]), np.float32)
        tables = list(zip(features, self.threshold.numpy(), self.share.numpy(), strict=True))

        def walk(first: int) -> None:
            part = slice(first, first + PART)
            rows = np.ascontiguousarray(x[:, part].T)
            np.divide(_walk(rows, tables, self.depth).T, len(tables), out=found[:, part])

        starts = range(0, x.shape[1], PART)
        if threads == 1 or len(starts) == 1:
            list(map(walk, starts))
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(walk, starts))
        return found


def _walk(
    rows: np.ndarray, tables: list[tuple[np.ndarray, np.ndarray, np.ndarray]], depth: int
) -> np.ndarray:
    """Sums (n, K) over the trees of what they say of features (n, F)."""
    count = len(rows)
    flat, start = rows.ravel(), np.arange(count) * rows.shape[1]
    total = np.zeros((count, tables[0][2].shape[1]), np.float32)
    node, place = np.empty(count, np.intp), np.empty(count, np.intp)
    value, limit = np.empty(count, np.float32), np.empty(count, np.float32)
    above = np.empty(count, bool)
    for feature, threshold, share in tables:
        np.greater(rows[:, feature[1]], threshold[1], out=above)
        np.add(above, 2, out=node)
        for _ in range(depth - 1):
            # In this mode numpy does not look first whether all places are there; they are.
            np.take(feature, node, out=place, mode="clip")
            place += start
            np.take(flat, place, out=value, mode="clip")
            np.take(threshold, node, out=limit, mode="clip")
            np.greater(value, limit, out=above)
            node += node
            node += above
        node -= 2**depth
        total += share.take(node, axis=0)
    return total
