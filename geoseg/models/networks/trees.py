"""Store a forest as plain arrays and evaluate it by gathers.

Letters of shapes: N samples, F features, T trees, M nodes of all trees, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PART = 4096
"""Samples that go down a tree together: what they need then stays in the processor's cache."""
HEAPED = 12
"""Levels up to which a tree is laid out as a heap, whose children need no looking up."""
DEEPEST = 512
"""Levels at most, whatever a file says: nobody shall wait for ever."""
Table = tuple[np.ndarray, ...]
"""Of one tree: feature, threshold, left child and class shares by node, or those of a heap."""


class Trees(nn.Module):
    """Decision trees, one after the other.

    A sample at node n goes on at child[n], or at child[n] + 1 where its feature[n] exceeds
    threshold[n]; a leaf leads to itself. Children count from the root of their tree.
    """

    feature: Tensor
    threshold: Tensor
    child: Tensor
    share: Tensor
    root: Tensor
    levels: Tensor

    def __init__(self, classes: int, features: int) -> None:
        """One tree that says nothing, until others are loaded."""
        super().__init__()
        self._features = features
        self.register_buffer("feature", torch.zeros(1, dtype=torch.int32))
        """(M,)."""
        self.register_buffer("threshold", torch.full((1,), torch.inf))
        """(M,); infinite in leaves."""
        self.register_buffer("child", torch.zeros(1, dtype=torch.int32))
        """(M,)."""
        self.register_buffer("share", torch.full((1, classes), 1 / classes))
        """(M, K): of each class among the samples of a node."""
        self.register_buffer("root", torch.zeros(1, dtype=torch.int64))
        """(T,): where each tree begins."""
        self.register_buffer("levels", torch.zeros((), dtype=torch.int64))
        """From a root to the deepest leaf."""
        self._tables: list[Table] = []

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        """Trees come in any number and size."""
        self._tables, classes = [], self.share.shape[1]
        for name, own in self.named_buffers():
            if (given := state.get(prefix + name)) is not None:
                setattr(self, name, torch.empty(given.shape, dtype=own.dtype, device=own.device))
        super()._load_from_state_dict(state, prefix, *args)
        errors: list[str] = args[-1]
        if fault := self._fault(classes):
            errors.append(fault)

    def _fault(self, classes: int) -> str | None:
        """What is wrong with trees that would lead a sample astray."""
        count = len(self.feature)
        flat = [self.feature, self.threshold, self.child]
        if any(one.shape != (count,) for one in flat) or self.root.ndim != 1:
            return "trees that do not hang together"
        size = self.root.diff(append=self.root.new_tensor([count]))
        whole = (
            self.share.shape == (count, classes)
            and self.levels.ndim == 0
            and len(self.root) > 0
            and int(self.root[0]) == 0
            and int(size.min()) > 0
            and 0 <= int(self.levels) <= DEEPEST
        )
        if not whole:
            return "trees that do not hang together"
        leaf = self.threshold == torch.inf
        last = (self.child + (~leaf).int()).long()
        inside = (self.child >= 0) & (last < size.repeat_interleave(size))
        known = (self.feature >= 0) & (self.feature < self._features)
        return None if bool((inside & known).all()) else "trees whose nodes lead nowhere"

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities (K, N) float32 of features (F, N) float32: the mean over all trees."""
        if len(x) != self._features:
            raise ValueError(f"{len(x)} features, but the trees know {self._features}")
        if x.device.type == "cpu":
            return torch.from_numpy(self._on_cpu(x.numpy(), torch.get_num_threads()))
        return self._on_device(x)

    def _on_device(self, x: Tensor) -> Tensor:
        count, size = len(x), x.shape[1]
        flat, start = x.t().flatten(), torch.arange(size, device=x.device) * count
        total = x.new_zeros(size, self.share.shape[1])
        for root in self.root:
            node = root.expand(size)
            for _ in range(int(self.levels)):
                above = flat[start + self.feature[node]] > self.threshold[node]
                node = root + self.child[node] + above
            total += self.share[node]
        return total.t() / len(self.root)

    def _on_cpu(self, x: np.ndarray, threads: int) -> np.ndarray:
        """The same by numpy, whose gathers take half of torch's time."""
        levels, tables = int(self.levels), self._of_each()
        walk: Callable[..., None] = _down_heap if levels <= HEAPED else _down
        found = np.empty((self.share.shape[1], x.shape[1]), np.float32)

        def sum_up(first: int) -> None:
            part = slice(first, first + PART)
            steps = Steps(np.ascontiguousarray(x[:, part].T))
            total = np.zeros((len(steps.rows), len(found)), np.float32)
            for table in tables:
                walk(steps, table, levels)
                total += table[-1].take(steps.node, axis=0)
            np.divide(total.T, len(tables), out=found[:, part])

        starts = range(0, x.shape[1], PART)
        if threads == 1 or len(starts) == 1:
            list(map(sum_up, starts))
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(sum_up, starts))
        return found

    def _of_each(self) -> list[Table]:
        """The table of each tree, made when it is first needed."""
        if not self._tables:
            columns = (self.feature.long(), self.threshold, self.child.long(), self.share)
            sizes = self.root.diff(append=self.root.new_tensor([len(self.feature)])).tolist()
            parts = zip(*(column.split(sizes) for column in columns), strict=True)
            tables = [tuple(part.numpy() for part in tree) for tree in parts]
            levels = int(self.levels)
            self._tables = [_heap(t, levels) for t in tables] if levels <= HEAPED else tables
        return self._tables


class Steps:
    """Samples on their way down a tree, and room for what each step needs."""

    def __init__(self, rows: np.ndarray) -> None:
        """rows: features (n, F)."""
        count = len(rows)
        self.rows, self.flat = rows, rows.ravel()
        self.start = np.arange(count) * rows.shape[1]
        self.node, self.place = np.empty(count, np.intp), np.empty(count, np.intp)
        self.value, self.limit = np.empty(count, np.float32), np.empty(count, np.float32)
        self.above = np.empty(count, bool)

    def ask(self, feature: np.ndarray, threshold: np.ndarray) -> None:
        """Which samples lie above the thresholds of their nodes."""
        # In this mode numpy does not look first whether all places are there; they are.
        np.take(feature, self.node, out=self.place, mode="clip")
        self.place += self.start
        np.take(self.flat, self.place, out=self.value, mode="clip")
        np.take(threshold, self.node, out=self.limit, mode="clip")
        np.greater(self.value, self.limit, out=self.above)


def _down(steps: Steps, table: Table, levels: int) -> None:
    """Bring samples from the root to their leaves."""
    feature, threshold, child, _ = table
    steps.node[:] = 0
    for _ in range(levels):
        steps.ask(feature, threshold)
        np.take(child, steps.node, out=steps.place, mode="clip")
        np.add(steps.place, steps.above, out=steps.node)


def _down_heap(steps: Steps, table: Table, levels: int) -> None:
    """The same in a heap: node n, from 1, goes on at 2n or 2n + 1."""
    feature, threshold, _ = table
    steps.node[:] = 1
    for level in range(levels):
        if level:
            steps.ask(feature, threshold)
        else:
            np.greater(steps.rows[:, feature[1]], threshold[1], out=steps.above)
        steps.node += steps.node
        steps.node += steps.above
    steps.node -= 2**levels


def _heap(table: Table, levels: int) -> Table:
    """A tree as a heap: feature and threshold (2^D,) by node, and shares (2^D, K) by leaf.

    Below a leaf that lies higher than others all samples go left, to shares like its own.
    """
    feature, threshold, child, share = table
    laid = np.zeros(2**levels, np.intp), np.full(2**levels, np.inf, np.float32)
    node, place = np.zeros(1, np.intp), np.ones(1, np.intp)
    for _ in range(levels):
        laid[0][place], laid[1][place] = feature[node], threshold[node]
        on = np.isfinite(threshold[node])
        node = np.concatenate([child[node], child[node][on] + 1])
        place = np.concatenate([2 * place, 2 * place[on] + 1])
    leaves = np.zeros((2**levels, share.shape[1]), np.float32)
    leaves[place - 2**levels] = share[node]
    return *laid, leaves
