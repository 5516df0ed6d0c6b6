"""Average of the weights along the way of a training: what is validated and saved."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import torch
from torch import nn

MANY = 10**6
"""Steps after which a moving average no longer is in its beginning."""


class Average:
    """A moving average; from some point on, if so told, an even one of all weights since.

    Norms' statistics are averaged with the weights. All tensors at once, and the count of steps in
    Python: torch's own AveragedModel makes a GPU wait at each step.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        """share: of the moving average that a step keeps; 0 = the weights as they are."""
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.evenly = False
        self._share = share
        self._steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the weights after a step in."""
        kept = self._kept()
        self._steps += 1
        new = list(chain(network.parameters(), network.buffers()))
        old = list(chain(self.network.parameters(), self.network.buffers()))
        # Whole numbers count the batches that a norm has seen.
        mixed = [kept > 0 and tensor.is_floating_point() for tensor in old]
        pairs = list(zip(old, new, mixed, strict=True))
        if any(mixed):
            torch._foreach_lerp_(
                [a for a, _, mix in pairs if mix], [b for _, b, mix in pairs if mix], 1 - kept
            )
        if not all(mixed):
            torch._foreach_copy_(
                [a for a, _, mix in pairs if not mix], [b for _, b, mix in pairs if not mix]
            )

    def begin_evenly(self) -> None:
        """From now on all weights count alike; the moving average so far counts as one of them."""
        self.evenly, self._steps = True, 1

    def begin_moving(self) -> None:
        """From now on a moving average again, which begins with the even one so far."""
        # As many steps as make the moving average keep its full share.
        self.evenly, self._steps = False, MANY

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "steps": self._steps,
            "evenly": self.evenly,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._steps, self.evenly = state["steps"], state["evenly"]

    def _kept(self) -> float:
        """Share of the average that stays."""
        steps = self._steps
        if self.evenly:
            return steps / (steps + 1)
        if not self._share or not steps:
            return 0.0
        # At first a mean, so that it soon forgets where the weights began.
        # (Polyak & Juditsky 1992; Tarvainen & Valpola 2017, section 3.)
        return min(self._share, (1 + steps) / (10 + steps))
