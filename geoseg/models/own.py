"""Build networks of other people's code, and say what such a network takes and gives.

Letters of shapes: B samples of a batch, C bands, K classes, H rows, W columns, T dates, S pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from geoseg.errors import InputError, shown
from geoseg.models.card import ModelCard
from geoseg.models.settings import OWN, Model
from geoseg.received.target import called, is_given, load_target


class ImageNetwork(Protocol):
    """A network for images, a torch module."""

    def __call__(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) of standardised images (B, C, H, W) float32, of any H and W."""
        ...


class SampleNetwork(Protocol):
    """A network for series of parcels or pixels, a torch module."""

    def __call__(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """Logits (B, K) of values (B, T, S, C), which count where valid (B, T, S), on days (B, T).

        shape: (B, 4), the parcels' perimeter, area, their ratio and cover, standardised.
        """
        ...


class WindowNetwork(Protocol):
    """A network for windows through time, a torch module."""

    def __call__(self, values: Tensor, valid: Tensor, days: Tensor) -> Tensor:
        """Logits (B, K, H, W) of values (B, T, C, H, W), which count where valid (B, T, H, W), on
        days (B, T); of any T, H and W."""
        ...


class NetworkFactory(Protocol):
    """What `model.target` names: a class, or a function."""

    def __call__(self, channels: int, classes: int, /, **options: Any) -> nn.Module:
        """A network for C bands and K classes, with random weights."""
        ...


def build(model: Model, channels: int, classes: int, named: Any) -> nn.Module:
    """The network that a user named, with random weights, or a copy of the one given.

    named: an import path, one or several, or a module.
    Raises: InputError if it can't be had, or is no network.
    """
    key = f"model.target={model.target}"
    if isinstance(named, nn.Module):
        try:
            network: Any = copy.deepcopy(named)
        except Exception as error:  # foreign code may raise anything
            raise InputError(
                f"model: {type(named).__name__} can't be copied ({error}), which the moving average"
                " of the weights needs"
            ) from None
        key = f"model: {type(named).__name__}"
    else:
        made = load_target("model.target", str(model.target))
        if isinstance(made, nn.Module):
            raise InputError(
                f"{key}: is a finished module, which the seed and the number of classes could not"
                " decide; name its class, or a function that makes it"
            )
        if not callable(made):
            raise InputError(f"{key}: is {shown(made)}; expected a class or a function")
        network = called(key, made, channels, classes, **model.options)
    _check(key, network)
    result: nn.Module = network
    return result


def _check(key: str, network: Any) -> None:
    if isinstance(network, type) and issubclass(network, nn.Module):
        raise InputError(f"{key}: gives the class {network.__name__}; give an instance of it")
    if not isinstance(network, nn.Module):
        raise InputError(f"{key}: gives a {type(network).__name__}; expected a torch.nn.Module")
    tensors = [*network.parameters(), *network.buffers()]
    if any(isinstance(t, UninitializedParameter | UninitializedBuffer) for t in tensors):
        raise InputError(
            f"{key}: has lazy layers, whose size only the first call decides; give their sizes"
        )
    if not any(weights.requires_grad for weights in network.parameters()):
        raise InputError(f"{key}: has no parameters that can be trained")
    strange = [name for name, part in network.state_dict().items() if not isinstance(part, Tensor)]
    if strange:
        raise InputError(
            f"{key}: keeps {strange[0]} in its state, which is no tensor and can't be saved with"
            " the weights; keep it as an argument of the class"
        )


def check_named(card: ModelCard, named: Any, where: str | Path) -> None:
    """See to it that a checkpoint imports nothing that its user did not name.

    named: an import path, several of them, or a module; None = nothing.
    Raises: InputError if it is of an own network that was not named, or of another one.
    """
    target = card.model.target
    if card.model.name != OWN:
        return
    if isinstance(named, nn.Module):
        return
    if is_given(str(target)):
        raise InputError(
            f"{where}: its network was {target}; open it in Python, with the module:"
            " TrainedNetwork.open(run, model=<the module>)"
        )
    if named is None:
        raise InputError(
            f"{where}: its network is code outside geoseg, and weights never import code by"
            f" themselves; if you trust it, name it: model.target={target}"
        )
    if target not in names(named):
        raise InputError(
            f"{where}: was trained with model.target={target}, not"
            f" {', '.join(names(named))}; name that one"
        )


def names(named: Any) -> Sequence[str]:
    """The import paths that a user named."""
    if named is None or isinstance(named, nn.Module):
        return ()
    return [str(one) for one in named] if isinstance(named, list | tuple) else [str(named)]
