"""Try own networks, losses and augmentations before the first step."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.errors import Faults, InputError
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.device import laid_out
from geoseg.models.settings import OWN
from geoseg.received.target import what_went_wrong
from geoseg.samples.own_augment import check_augment, own_augment
from geoseg.training.objectives.own import checked, own_loss
from geoseg.training.optimizer import encoder_of
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.validation import RESERVED, columns

SIDES = ((64, 64), (45, 70))
"""Rows and columns of the images that a network is tried on."""
DATES = (4, 7)


@dataclass(frozen=True)
class Trial:
    """Made-up inputs of a network, and the logits that they should give."""

    inputs: tuple[Tensor, ...]
    expected: tuple[int, ...]
    said: str
    """The inputs in words."""


def check_own(study: TrainingSettings, card: ModelCard) -> None:
    """Try what a training was given of other code: build it, call it, take a gradient.

    card: of the network that is to be trained.
    Raises: InputError with all that is wrong, a sentence each.
    """
    faults = Faults()
    network = criterion = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if study.model.name == OWN:
            with faults.collect():
                network = _network(study, card)
        if study.loss.target is not None:
            with faults.collect():
                criterion = own_loss(study.loss, study.own.loss)
                trial = trials(card)[0]
                logits = torch.randn(trial.expected, requires_grad=True)
                _gradient(criterion, logits, [logits])
        if network is not None:
            faults.attempt(_learn, network, criterion, trials(card)[0])
        if study.augment.target is not None:
            faults.attempt(_augmentation, study, card)
    if study.own.metric is not None:
        faults.attempt(check_metric, study.own.metric, len(card.legend))
    if (study.fit.devices or 1) * study.fit.nodes > 1:
        faults.attempt(_check_sendable, study)
    faults.raise_if_any()


def _network(study: TrainingSettings, card: ModelCard) -> nn.Module:
    """The network, tried in evaluation mode. Raises: InputError."""
    network = checkpoint.build(card, study.network)
    _check_encoder(network, study.fit)
    try:
        copy.deepcopy(network)
    except Exception as error:  # foreign code may raise anything
        raise InputError(
            f"model: {type(network).__name__} can't be copied ({what_went_wrong(error)}), which the"
            " moving average of the weights needs"
        ) from None
    network = laid_out(network.eval())
    for trial in trials(card):
        with torch.no_grad():
            logits = _called(network, trial)
        if not torch.isfinite(logits).all():
            raise InputError(
                f"model: {type(network).__name__} gives values that are no numbers (NaN or"
                f" infinite) for {trial.said}"
            )
    return network


def _check_encoder(network: nn.Module, fit: Fit) -> None:
    """Raises: InputError for settings of an encoder if the network names none."""
    if encoder_of(network) is None:
        for key in ("freeze", "encoder_lr_scale"):
            value = getattr(fit, key)
            if value != getattr(Fit(), key):
                raise InputError(
                    f"fit.{key}={value:g}: {type(network).__name__} has no attribute `encoder`, the"
                    " part that it is for; name that part so, or leave it out"
                )


def trials(card: ModelCard) -> list[Trial]:
    """What a network of this card is to be called with."""
    bands, classes = len(card.bands), len(card.legend)
    if card.series is None:
        return [
            Trial(
                (torch.randn(2, bands, *side).contiguous(memory_format=torch.channels_last),),
                (2, classes, *side),
                f"images of 2 × {bands} bands × {side[0]} × {side[1]} pixels",
            )
            for side in SIDES
        ]
    grid = card.series.grid
    made = []
    for dates, side in zip((len(grid),) * 2 if grid else DATES, SIDES, strict=True):
        days = torch.arange(dates, dtype=torch.float32).mul(10).expand(2, -1)
        if card.series.unit == "map":
            values = torch.randn(2, dates, bands, *side)
            valid = torch.ones(2, dates, *side, dtype=torch.bool)
            said = f"2 windows of {dates} dates × {bands} bands × {side[0]} × {side[1]} pixels"
            made.append(Trial((values, valid, days), (2, classes, *side), said))
        else:
            pixels = 1 if card.series.unit == "pixel" else 3
            values = torch.randn(2, dates, pixels, bands)
            valid = torch.ones(2, dates, pixels, dtype=torch.bool)
            said = f"2 series of {dates} dates × {pixels} pixels × {bands} bands"
            made.append(Trial((values, valid, days, torch.zeros(2, 4)), (2, classes), said))
    return made


def _called(network: nn.Module, trial: Trial) -> Tensor:
    """The logits of a network. Raises: InputError if it fails or gives something else."""
    name = type(network).__name__
    try:
        logits: Any = network(*trial.inputs)
    except Exception as error:  # foreign code may raise anything
        raise InputError(
            f"model: {name} fails on {trial.said}: {what_went_wrong(error)}{_advice(trial)}"
        ) from None
    if not isinstance(logits, Tensor):
        raise InputError(
            f"model: {name} gives a {type(logits).__name__}; expected a tensor, the logits"
            f" {trial.expected}"
        )
    if tuple(logits.shape) != trial.expected:
        raise InputError(
            f"model: {name} gives {tuple(logits.shape)} for {trial.said}; expected logits"
            f" {trial.expected}, with one plane per class{_advice(trial)}"
        )
    if not logits.is_floating_point():
        raise InputError(f"model: {name} gives {logits.dtype}; expected logits, float32")
    return logits


def _advice(trial: Trial) -> str:
    """What helps a network that takes only some sizes."""
    if len(trial.inputs) == 1 and trial.expected[2:] != SIDES[0]:
        return "; a network that needs multiples of 32 pixels fits in geoseg.models.AnySize"
    return ""


def _learn(network: nn.Module, own: Callable[..., Any] | None, trial: Trial) -> None:
    """Raises: InputError if no gradient comes to the weights, or one that is no number."""
    network.train()
    logits = _called(network, trial)
    weights = [w for w in network.parameters() if w.requires_grad]
    _gradient(own or nn.functional.cross_entropy, logits, weights, plain=own is None)


def _gradient(
    criterion: Callable[..., Any], logits: Tensor, weights: list[Any], *, plain: bool = False
) -> None:
    """Take the gradient of a loss in weights. plain: of one that knows nothing of index 255."""
    classes = logits.shape[1]
    target = torch.randint(classes, (logits.shape[0], *logits.shape[2:]))
    if not plain:
        target.flatten()[:1] = 255
    loss = checked(criterion, logits.float().contiguous(), target)
    if not torch.isfinite(loss):
        raise InputError(
            f"loss: is {float(loss.detach())} for logits about 0; expected a finite number"
        )
    whose = "model: the network's logits" if plain else "loss"
    if not loss.requires_grad:
        raise InputError(
            f"{whose}: no gradient comes through; compute in torch, without .detach(), .numpy() or"
            " torch.no_grad()"
        )
    grads = [g for g in torch.autograd.grad(loss, weights, allow_unused=True) if g is not None]
    if not grads:
        raise InputError(f"{whose}: no gradient comes to the weights")
    if not all(torch.isfinite(grad).all() for grad in grads):
        raise InputError(f"{whose}: the gradient holds values that are no numbers")


def _augmentation(study: TrainingSettings, card: ModelCard) -> None:
    made = own_augment(study.augment, study.own.augment)
    key = "augment" if study.own.augment is not None else f"augment.target={study.augment.target}"
    check_augment(made, key, len(card.bands), len(card.legend))


def check_metric(metric: Any, classes: int) -> None:
    """Raises: InputError if a metric does not give numbers."""
    if not callable(metric):
        raise InputError(f"metric: is {metric!r}; expected a function of the confusion matrix")
    found = columns(metric, np.eye(classes, dtype=np.int64) * 3 + 1)
    if taken := sorted(RESERVED & found.keys()):
        names = ", ".join(name.removeprefix("val_") for name in taken)
        raise InputError(f"metric: {names}: geoseg's own column has this name; take another")


def _check_sendable(study: TrainingSettings) -> None:
    """Raises: InputError if objects that were given in Python can't go to other processes."""
    faults = Faults()
    for name in ("network", "loss", "augment", "metric"):
        try:
            pickle.dumps(getattr(study.own, name))
        except Exception as error:  # foreign code may raise anything
            key = "model" if name == "network" else name
            faults.add(
                f"{key}: can't be sent to the other processes of fit.devices ({error}); define it"
                " in a module and name it, as model.target does, or train on one device"
            )
    faults.raise_if_any()
