"""Blend overlapping windows of class probabilities in one pass over rows.

Letters of shapes: B windows of a batch, C channels, K classes, H and W.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from geoseg.prediction.panels import Broken, Final, Panel, Piece
from geoseg.prediction.reader import Batch

ROUND_UP = 0.501
"""Added before percent are cut to whole numbers: just over a half, so that sums of weights that
miss 1 by a rounding error don't scatter 12.5 % over 12 and 13."""


@dataclass(frozen=True)
class Rows:
    """Rows of a panel's map that nothing will change any more."""

    panel: Panel
    top: int
    indices: Tensor
    """(n, W) uint8, where the network ran; the most probable class."""
    confidence: Tensor
    """(n, W) uint8: its probability in percent, 1..100."""
    valid: np.ndarray
    """(n, W) bool; indices and confidence mean nothing elsewhere."""


Emit = Callable[[Rows | Broken], None]


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

    def __init__(
        self, panel: Panel, classes: int, device: torch.device, *, margin: int = 0
    ) -> None:
        """margin: pixels along a window's edge that its neighbours know better."""
        self.panel = panel
        self.sums = torch.zeros(classes, panel.size, panel.width, device=device)
        self._down = Ramps(panel.rows, panel.size, margin, device)
        self._across = Ramps(panel.columns, panel.size, margin, device)
        self._weights: dict[tuple[int, int], Tensor] = {}
        # Of equal sums the first class counts: labels fall, so that their maximum names it.
        labels = 255 - torch.arange(classes, dtype=torch.uint8, device=device)
        self._labels = labels[:, None, None]

    def add(self, probabilities: Tensor, row: int, column: int) -> None:
        """Add a window (K, size, size) at a place in the panel's rows and columns of windows."""
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

    def finish(self, row: int) -> tuple[Tensor, Tensor]:
        """Indices and confidence of the rows that no later window touches; makes place for more.

        Returns: two (n, W) uint8, n and place as Panel.final says.
        """
        start = self.panel.rows[row]
        top, bottom = self.panel.final(row)
        done = self.sums[:, top - start : bottom - start]
        highest = done.amax(dim=0)
        labels = (done == highest).view(torch.uint8).mul_(self._labels).amax(dim=0)
        percent = highest.mul_(100).add_(ROUND_UP).clamp_(1, 100)
        result = 255 - labels, percent.to(torch.uint8)
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
    classes: int,
    device: torch.device,
    emit: Emit,
    margin: int = 0,
    seconds: defaultdict[str, float] | None = None,
) -> None:
    """Let the network see all windows, blend them and emit the rows of the maps as they get final.

    batches: of one panel after the other. forward: probabilities (B, K, size, size) of a batch.
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
                blender = Blender(step.panel, classes, device, margin=margin)
            if isinstance(step, Piece):
                assert probabilities is not None
                blender.add(probabilities[number], step.row, step.column)
                number += 1
            elif isinstance(step, Final):
                top, bottom = step.panel.final(step.row)
                rows = blender.finish(step.row)
                if bottom > top:
                    emit(Rows(step.panel, top, *rows, step.valid))
        lap("blend")
