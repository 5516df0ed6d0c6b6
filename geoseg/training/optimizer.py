"""Set learning rates over time, and average the weights."""

from __future__ import annotations

import copy
import math
from itertools import chain
from typing import Any

import torch
from torch import nn

from geoseg.training.settings import Fit

LOWEST = 0.01
"""Where the learning rate ends, as a share of its peak."""
SWA_RATE = 0.25
"""Where it stays while weights are averaged evenly: high enough to walk around in the valley
(Izmailov et al. 2018 take a constant rate near the peak's half to tenth)."""


def learning_rate(fit: Fit, progress: float) -> float:
    """Linear rise over the warm-up, then a cosine down to 1 % (Loshchilov & Hutter 2017).

    With fit.swa the cosine ends earlier, at 25 %, where the rate stays (Izmailov et al. 2018).
    progress: share of the training that is done, 0..1.
    """
    if progress < fit.warmup:
        return fit.peak * max(progress / fit.warmup, 0.01)
    lowest = SWA_RATE if fit.swa else LOWEST
    falling = min((progress - fit.warmup) / (1 - fit.swa - fit.warmup), 1.0)
    return fit.peak * (lowest + (1 - lowest) * (1 + math.cos(math.pi * falling)) / 2)


def encoder_of(network: nn.Module) -> nn.Module | None:
    """The encoder of a network for images; networks for series have none."""
    encoder = getattr(network, "encoder", None)
    return encoder if isinstance(encoder, nn.Module) else None


def is_frozen(network: nn.Module) -> bool:
    """Whether its encoder takes part in no training, as that of a probe."""
    return bool(getattr(network, "frozen", False))


def optimizer_of(network: nn.Module, fit: Fit) -> torch.optim.Optimizer:
    """AdamW; biases and norms do not decay, and the encoder may learn at another rate.

    The encoder of a probe, which never moves, is left out.

    A bias or a norm's scale has nothing to over-fit with, and decay pulls it from where it should
    be (He et al. 2019, "Bag of tricks", section 3.1).
    """
    encoder = encoder_of(network)
    inside = set() if encoder is None else {id(weights) for weights in encoder.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for weights in network.parameters():
        if is_frozen(network) and id(weights) in inside:
            continue
        scale = fit.encoder_scale if id(weights) in inside else 1.0
        decay = fit.weight_decay if weights.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(weights)
    return torch.optim.AdamW(
        [
            {"params": weights, "scale": scale, "weight_decay": decay}
            for (scale, decay), weights in groups.items()
        ],
        lr=fit.peak,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def set_frozen(network: nn.Module, *, frozen: bool) -> None:
    """Let the encoder stand still, statistics of its norms included, or move; for training."""
    network.train()
    frozen = frozen or is_frozen(network)
    encoder = encoder_of(network)
    if encoder is not None:
        encoder.requires_grad_(not frozen)
        encoder.train(not frozen)


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
