"""Blend overlapping windows of class probabilities in one pass over rows.

Letters of shapes: B windows of a batch, C channels, K classes, H and W.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from geoseg.prediction.layers import Made
from geoseg.prediction.panels import Broken, Final, Panel, Piece
from geoseg.prediction.reader import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """Rows of a panel's map that nothing will change any more."""

    panel: Panel
    top: int
    indices: Tensor
    """(n, W) uint8, where the network ran; the most probable class."""
    layers: dict[str, Tensor]
    """By name: (n, W) uint8, or (K, n, W) for a band for each class."""
    undecided: Tensor | None
    """(n, W) bool: where the class is not sure enough; None = nowhere."""
    valid: np.ndarray
    """(n, W) bool; the others mean nothing elsewhere."""


Emit = Callable[[Rows | Broken], None]


class Maker(Protocol):
    """Who makes something of the sums of final rows."""

    device: torch.device
    """Of the sums."""

    @property
    def planes(self) -> int:
        """Of the sums."""

    def __call__(self, sums: Tensor) -> Made:
        """sums: (planes, n, W), which may be changed but not kept."""


def weights(starts: tuple[int, ...], size: int, margin: int = 0) -> np.ndarray:
    """How much each window of an axis counts at each of its pixels: (windows, size) float32.

    It falls, linearly, only toward a neighbour, over what they share; at each pixel the weights of
    all windows add up to 1. Above 0 everywhere, but for the last `margin` pixels toward a neighbour
    who sees more around them: so far as both share more than that, they count for nothing.
    """
    ramps = np.ones((len(starts), size))
    for i, (before, after) in enumerate(pairwise(starts)):
        shared = before + size - after
        if shared > 0:
            blind = min(margin, (shared - 1) / 2)
            rise = np.clip((np.arange(shared) + 0.5 - blind) / (shared - 2 * blind), 0, 1)
            ramps[i, size - shared :] *= rise[::-1]
            ramps[i + 1, :shared] *= rise
    first = starts[0]
    total = np.zeros(starts[-1] + size - first)
    for start, ramp in zip(starts, ramps, strict=True):
        total[start - first : start - first + size] += ramp
    for start, ramp in zip(starts, ramps, strict=True):
        ramp /= total[start - first : start - first + size]
    return ramps.astype(np.float32)


class Ramps:
    """The weights of the windows of an axis, those that are alike kept once."""

    def __init__(
        self, starts: tuple[int, ...], size: int, margin: int, device: torch.device
    ) -> None:
        kinds, kind = np.unique(weights(starts, size, margin), axis=0, return_inverse=True)
        self._kinds = torch.from_numpy(kinds).to(device)
        self.kind: list[int] = kind.ravel().tolist()
        """By window."""

    def of(self, kind: int) -> Tensor:
        """Weights (size,) of a kind."""
        return self._kinds[kind]


class Blender:
    """Weighted sums of probabilities for one row of windows of a panel: memory knows no height."""

    def __init__(self, panel: Panel, planes: int, device: torch.device, *, margin: int = 0) -> None:
        """planes: classes, and what else the network gives for each pixel.

        margin: pixels along a window's edge that its neighbours know better.
        """
        self.panel = panel
        self.sums = torch.zeros(planes, panel.size, panel.width, device=device)
        self._down = Ramps(panel.rows, panel.size, margin, device)
        self._across = Ramps(panel.columns, panel.size, margin, device)
        self._weights: dict[tuple[int, int], Tensor] = {}

    def add(self, probabilities: Tensor, row: int, column: int) -> None:
        """Add a window (planes, size, size) at a place in the panel's rows and columns."""
        panel = self.panel
        start = panel.columns[column]
        left, right = max(start, panel.left), min(start + panel.size, panel.right)
        part = slice(left - start, right - start)
        # Most windows have neighbours on all sides, and so the same weights.
        key = self._down.kind[row], self._across.kind[column]
        if key not in self._weights:
            self._weights[key] = self._down.of(key[0])[:, None] * self._across.of(key[1])
        self.sums[:, :, left - panel.left : right - panel.left].addcmul_(
            probabilities[:, :, part], self._weights[key][:, part]
        )

    def finish(self, row: int, make: Callable[[Tensor], T]) -> T:
        """Make something of the rows that no later window touches, and make place for more.

        make: takes sums (planes, n, width), n and place as Panel.final says; may change them.
        """
        start = self.panel.rows[row]
        top, bottom = self.panel.final(row)
        result = make(self.sums[:, top - start : bottom - start])
        if row + 1 < len(self.panel.rows):
            self._roll(self.panel.rows[row + 1] - start)
        return result

    def _roll(self, rows: int) -> None:
        kept = max(0, self.panel.size - rows)
        self.sums[:, :kept] = self.sums[:, rows:].clone()
        self.sums[:, kept:] = 0


@torch.inference_mode()
def run(
    batches: Iterable[Batch],
    forward: Callable[[Batch], Tensor],
    *,
    make: Maker,
    emit: Emit,
    margin: int = 0,
    seconds: defaultdict[str, float] | None = None,
) -> None:
    """Let the network see all windows, blend them and emit the rows of the maps as they get final.

    batches: of one panel after the other. forward: planes (B, K + extra, size, size) of a batch:
    probabilities, and what else `make` wants to know.
    margin: pixels along a window's edge that its neighbours know better.
    emit: gets rows, and news of a scene that could not be read on; both in the order of reading.
    seconds: gets the time spent waiting for batches, in the network, and blending.
    """
    seconds = defaultdict(float) if seconds is None else seconds
    blender: Blender | None = None
    clock = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[what] += now - clock
        clock = now

    for batch in batches:
        lap("wait")
        probabilities = None if batch.images is None else forward(batch)
        lap("network")
        number = 0
        for step in batch.steps:
            if isinstance(step, Broken):
                emit(step)
                continue
            if blender is None or blender.panel is not step.panel:
                blender = Blender(step.panel, make.planes, make.device, margin=margin)
            if isinstance(step, Piece):
                assert probabilities is not None
                blender.add(probabilities[number], step.row, step.column)
                number += 1
            elif isinstance(step, Final):
                top, bottom = step.panel.final(step.row)
                made = blender.finish(step.row, make)
                if bottom > top:
                    emit(
                        Rows(step.panel, top, made.indices, made.layers, made.undecided, step.valid)
                    )
        lap("blend")
