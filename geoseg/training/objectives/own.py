"""Use a loss of other people's code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor, nn

from geoseg.errors import InputError, shown
from geoseg.geo.legend import IGNORED
from geoseg.received.target import called, load_target, what_went_wrong
from geoseg.training.objectives import loss
from geoseg.training.objectives.settings import Loss
from geoseg.training.processes.ranks import ALONE, Ranks
from geoseg.training.settings import TrainingSettings


class OwnLoss(Protocol):
    """A loss of logits and labels."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A number, of logits (B, K, H, W) float32 and target (B, H, W) int64, 255 = no label.

        Of series of parcels or pixels logits are (B, K) and the target (B,).
        """
        ...


def criterion_of(
    study: TrainingSettings, shares: npt.ArrayLike, *, names: Sequence[str], ranks: Ranks = ALONE
) -> nn.Module:
    """The loss of a training: an own one, or what `loss.build` makes of the settings.

    shares, names: as there. Raises: InputError.
    """
    if study.loss.target is None:
        return loss.build(study.loss, shares, names=names, ranks=ranks)
    return Criterion(own_loss(study.loss, study.own.loss), ranks)


def own_loss(settings: Loss, given: Any = None) -> Callable[[Tensor, Tensor], Any]:
    """What the settings name: a class made with the options, or a function that gets them.

    given: an object instead. Raises: InputError if it can't be had.
    """
    made = load_target("loss.target", str(settings.target)) if given is None else given
    key = f"loss.target={settings.target}" if given is None else "loss"
    if isinstance(made, type):
        if given is not None:
            raise InputError(f"{key}: is the class {made.__name__}; give an instance of it")
        made = called(key, made, **settings.options)
    elif settings.options and inspect.isroutine(made):
        made = partial(made, **settings.options)
    elif settings.options:
        raise InputError(
            f"loss.options: {settings.target} is a finished {type(made).__name__}, which takes"
            " none; name its class, or leave them out"
        )
    if not callable(made):
        raise InputError(f"{key}: is {shown(made)}; expected a class or a function")
    if isinstance(made, nn.Module) and any(p.requires_grad for p in made.parameters()):
        raise InputError(
            f"{key}: has parameters to train, but only the network is trained; put them into the"
            " network, or make them buffers"
        )
    function: Callable[[Tensor, Tensor], Any] = made
    return function


class Criterion(nn.Module):
    """An own loss, called with float32 on batches that have labels; without any it is 0.

    Over several processes it is the mean of what it is on each one's part of a batch.
    """

    def __init__(self, own: Callable[[Tensor, Tensor], Any], ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.own = own
        self._ranks = ranks

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, target = logits.float().contiguous(), target.long()
        with torch.autocast(logits.device.type, enabled=False):
            if bool((target != IGNORED).any()):
                made = checked(self.own, logits, target)
            else:
                made = 0 * logits.sum()
        return self._ranks.total(made) / self._ranks.count


def checked(own: Callable[[Tensor, Tensor], Any], logits: Tensor, target: Tensor) -> Tensor:
    """What an own loss says. Raises: InputError if it fails, or is not one number."""
    try:
        made = own(logits, target)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # foreign code may raise anything
        hint = ""
        if isinstance(error, IndexError) or "out of bounds" in str(error):
            hint = "; pixels without label have index 255: leave them out, as by ignore_index=255"
        raise InputError(
            f"loss: called with logits {tuple(logits.shape)} and target {tuple(target.shape)}:"
            f" {what_went_wrong(error)}{hint}"
        ) from None
    if not isinstance(made, Tensor):
        raise InputError(f"loss: gives a {type(made).__name__}; expected a tensor of one number")
    if made.numel() != 1:
        raise InputError(
            f"loss: gives a tensor {tuple(made.shape)}; expected one number, as by .mean()"
        )
    return made.reshape(())
