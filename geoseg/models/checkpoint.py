"""Save and load networks with their model card as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from geoseg.errors import InputError
from geoseg.models import novelty
from geoseg.models.card import BEST, ENCODER_KEY, KEY, EncoderCard, ModelCard
from geoseg.models.networks import build as models
from geoseg.models.networks import build_series, forest
from geoseg.models.own import build as build_own
from geoseg.models.own import check_named
from geoseg.models.settings import FOREST, OWN
from geoseg.outputs.files import replacing
from geoseg.received import tensor_file
from geoseg.received.tensor_file import CHECKSUM, checksum


def save(path: str | Path, network: nn.Module, card: ModelCard) -> None:
    """Write weights and card into one file, whole or not at all. Raises: InputError."""
    _write(path, network, {KEY: card.to_json()})


def keeper(folder: Path, card: ModelCard) -> Callable[[nn.Module, dict[str, Any]], None]:
    """What saves weights as a run's best ones, with the card and the scores that they got."""

    def keep(best: nn.Module, scores: dict[str, Any]) -> None:
        save(folder / BEST, best, replace(card, scores=scores))

    return keep


def save_encoder(path: str | Path, encoder: nn.Module, card: EncoderCard) -> None:
    """Write an encoder's weights, a file like any other for `model.weights`. Raises: InputError."""
    _write(path, encoder, {ENCODER_KEY: card.to_json()})


def save_other(path: str | Path, network: nn.Module, card: dict[str, str]) -> None:
    """Write a network that no model card describes, with metadata of its own. Raises: InputError.

    Its file is taken only by the command that made it.
    """
    _write(path, network, card)


def load_other(path: str | Path, network: nn.Module) -> nn.Module:
    """Fill such a network with the weights of its file. Raises: InputError if they do not fit."""
    tensor_file.check(path)
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0].strip()
        raise InputError(f"{path}: weights that do not fit their card ({cause})") from None
    return network.eval()


def copy(
    source: str | Path,
    path: str | Path,
    card: ModelCard,
    *,
    beside: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the weights of a file into another one, with another card. Raises: InputError.

    beside: further tensors, which are none of the network's.
    """
    tensor_file.check(source)
    weights = novelty.without(safetensors.torch.load_file(source))
    weights |= {name: torch.from_numpy(values) for name, values in (beside or {}).items()}
    _write_tensors(path, weights, {KEY: card.to_json()})


def _write(path: str | Path, network: nn.Module, metadata: dict[str, str]) -> None:
    # Copies in the plain layout: the file must not depend on how the network lies in memory.
    weights = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    seen: set[int] = set()
    for name, tensor in weights.items():
        if tensor.data_ptr() in seen:
            # Of layers that share weights: safetensors takes no tensor twice.
            weights[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    _write_tensors(path, weights, metadata)


def _write_tensors(
    path: str | Path, weights: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    parts = (
        (name, t.shape, t.reshape(-1).view(torch.uint8).numpy()) for name, t in weights.items()
    )
    metadata = metadata | {CHECKSUM: checksum(parts)}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(weights, temporary, metadata=metadata)
            tensor_file.settle(temporary)
        except (OSError, safetensors.SafetensorError) as error:
            raise InputError(f"{path}: can't be written ({error}); is the disk full?") from None


def build(card: ModelCard, named: Any = None) -> nn.Module:
    """The network of a card, its weights still to be loaded.

    named: an own network, which is built only if its user says which: its import path or a module.
    Raises: InputError if it is another, or can't be built.
    """
    if card.model.name == OWN:
        check_named(card, named, "this network")
        return build_own(card.model, len(card.bands), len(card.legend), named)
    return build_for(card, len(card.bands), len(card.legend))


def build_for(card: ModelCard, channels: int, classes: int) -> nn.Module:
    """A network of geoseg as a card says, but for so many bands and classes; random weights."""
    if card.model.name == FOREST:
        if card.series is None:
            return forest.ImageForest(classes, card.statistics.mean, card.statistics.std)
        return forest.SeriesForest(classes, len(card.series.grid or ()) * channels)
    if card.series is None:
        return models.build(card.model, channels, classes, clicks=card.clicks)
    series = card.series
    return build_series.build(
        card.model, channels, classes, grid=series.days, filled=series.grid is not None
    )


def load(path: str | Path, named: Any = None) -> tuple[nn.Module, ModelCard]:
    """The network of a file, ready to predict (on the CPU, float32), and its card.

    named: as of `build`.
    Raises: InputError if the file is missing, cut short, or of another program or version.
    """
    card = ModelCard.read(path)
    tensor_file.check(path)
    check_named(card, named, path)
    try:
        network = build(card, named)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (RuntimeError, ValueError, TypeError, ArithmeticError, AssertionError) as error:
        raise _misfit(path, error, card) from None
    try:
        weights = novelty.without(safetensors.torch.load_file(path))
        network.load_state_dict(weights)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise _misfit(path, error, card) from None
    return network.eval(), card


def _misfit(path: str | Path, error: Exception, card: ModelCard) -> InputError:
    lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    cause = lines[0]
    if card.model.name == OWN:
        return InputError(
            f"{path}: weights that do not fit the network ({' '.join(lines[:2])}); take the code"
            f" and the options of {card.model.target} with which it was trained"
        )
    return InputError(
        f"{path}: weights that do not fit their card ({cause}); predict with the version of"
        f" geoseg that trained them ({card.version})"
    )
