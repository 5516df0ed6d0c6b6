"""Compute class probabilities of windows, by one or several networks, with test-time augmentation.

Letters of shapes: B windows of a batch, C channels, K classes, H and W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.models.device import Device
from geoseg.prediction.layers import entropy
from geoseg.prediction.reader import Batch
from geoseg.scenes.bands import BandStatistics

Runner = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) float32 → logits (B, K, H, W)."""


class Scaling:
    """What a network sees of raw pixels, as scenes.bands.scale does it, where the network runs."""

    def __init__(self, statistics: BandStatistics, device: torch.device) -> None:
        mean, factor = (torch.from_numpy(values).to(device) for values in statistics.scaling())
        self._mean, self._factor = mean[:, None, None], factor[:, None, None]
        self._plain = self._scaled = torch.empty(0)

    def __call__(self, images: Tensor, seen: Tensor | None) -> Tensor:
        """Images (B, C, H, W) float32, 0 where nothing is seen (B, H, W); valid until next time."""
        if self._scaled.shape != images.shape:
            self._plain = torch.empty(images.shape, device=images.device)
            self._scaled = self._plain.to(memory_format=torch.channels_last, copy=True)
        # In this layout a band's numbers lie side by side: twice as fast as in the other.
        self._plain.copy_(images).sub_(self._mean).mul_(self._factor)
        if seen is not None:
            self._plain.mul_(seen[:, None])
        return self._scaled.copy_(self._plain)


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to lay a square: quarters of a turn, after a flip or without."""

    quarters: int
    flipped: bool

    def __call__(self, images: Tensor) -> Tensor:
        turned = torch.rot90(images.flip(-1) if self.flipped else images, self.quarters, (-2, -1))
        return turned.contiguous(memory_format=torch.channels_last)

    def back(self, images: Tensor) -> Tensor:
        turned = torch.rot90(images, -self.quarters, (-2, -1))
        return turned.flip(-1) if self.flipped else turned


TURNS = {
    "none": (Turn(0, False),),
    "flips": (Turn(0, False), Turn(0, True), Turn(2, False), Turn(2, True)),
    "d4": tuple(Turn(quarters, flipped) for flipped in (False, True) for quarters in range(4)),
}
"""By name: as it is; mirrored along both axes; all symmetries of the square."""


@dataclass
class Member:
    """A network on its device, and how it is to see pixels."""

    run: Runner
    scaling: Scaling | None
    """None = windows come as the network sees them."""
    scores: int = 0
    """Planes that the network adds to its logits, to be averaged as they are."""


@dataclass
class Forward:
    """Mean of the probabilities that all networks give to all turns of a window.

    Keeps the memory for what it says: fresh memory for every batch would cost more than the
    softmax itself.
    """

    members: Sequence[Member]
    device: Device
    tta: str = "none"
    smooth: int = 0
    """Side of the squares over which probabilities are averaged, in pixels; 0 = not."""
    spread: bool = False
    """Whether to add a plane: the mean, over networks and turns, of their entropies."""
    _logits: Tensor = field(default_factory=lambda: torch.empty(0), init=False)
    _probabilities: Tensor = field(default_factory=lambda: torch.empty(0), init=False)
    _sum: Tensor = field(default_factory=lambda: torch.empty(0), init=False)
    _scores: list[Tensor] = field(default_factory=list, init=False)

    def __call__(self, batch: Batch) -> Tensor:
        """Probabilities (B, K, H, W) float32 of a batch with images, valid until the next call.

        With `spread` a plane more, then the scores of the members that have some.
        """
        images, seen = batch.on(self.device.torch)
        return smoothed(self.mean(images, seen), seen, self.smooth)

    def mean(self, images: Tensor, seen: Tensor | None) -> Tensor:
        """The same of images (B, C, H, W) and where they are seen (B, H, W), not smoothed."""
        probabilities = self._probabilities_of(images, seen)
        if not self._scores:
            return probabilities
        scores = torch.stack(self._scores).mean(dim=0)
        self._scores.clear()
        return torch.cat([probabilities, scores], dim=1)

    def _probabilities_of(self, images: Tensor, seen: Tensor | None) -> Tensor:
        """Mean probabilities, and with `spread` the plane of that; scores are kept aside."""
        turns = TURNS[self.tta]
        count = len(turns) * len(self.members)
        first = True
        for member in self.members:
            scaled = images if member.scaling is None else member.scaling(images, seen)
            for turn in turns:
                if count == 1 and not self.spread:
                    return self._softmax(self._aside(member, turn, member.run(scaled)))
                logits = self._aside(member, turn, member.run(turn(scaled)))
                part = turn.back(self._spread(self._softmax(logits)))
                self._add(part, first)
                first = False
        return self._sum.mul_(1 / count)

    def _aside(self, member: Member, turn: Turn, made: Tensor) -> Tensor:
        """The logits of what a member made; its scores are kept, turned back."""
        if not member.scores:
            return made
        self._scores.append(turn.back(made[:, -member.scores :].float()))
        return made[:, : -member.scores]

    def _softmax(self, logits: Tensor) -> Tensor:
        if logits.shape != self._logits.shape:
            self._logits = torch.empty(logits.shape, device=logits.device)
            self._probabilities = torch.empty_like(self._logits)
        if logits.dtype != torch.float32 or not logits.is_contiguous():
            logits = self._logits.copy_(logits)
        return torch.softmax(logits, dim=1, out=self._probabilities)

    def _spread(self, probabilities: Tensor) -> Tensor:
        if not self.spread:
            return probabilities
        return torch.cat([probabilities, entropy(probabilities, dim=1)[:, None]], dim=1)

    def _add(self, part: Tensor, first: bool) -> None:
        if self._sum.shape != part.shape:
            self._sum = torch.empty(part.shape, device=part.device)
        if first:
            self._sum.copy_(part)
        else:
            self._sum.add_(part)


def smoothed(probabilities: Tensor, seen: Tensor | None, side: int) -> Tensor:
    """Probabilities (B, K, H, W) averaged over squares of pixels, only over those that are seen.

    seen: (B, H, W); None = everywhere. A side of 0 or 1 changes nothing.
    """
    if side < 2:
        return probabilities
    mean = partial(
        F.avg_pool2d, kernel_size=side, stride=1, padding=side // 2, count_include_pad=False
    )
    if seen is None:
        return mean(probabilities)
    weight = seen[:, None].float()
    return mean(probabilities * weight) / mean(weight).clamp_min(1e-6)
