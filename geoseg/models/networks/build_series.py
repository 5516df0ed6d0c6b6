"""Build networks for series by name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from geoseg.errors import Faults
from geoseg.models import settings
from geoseg.models.networks import lstm, ltae, psetae, tempcnn, utae
from geoseg.models.networks.season import SeasonPath, SeriesNetwork

SIZES = {
    "lstm": ("width", "layers"),
    "tempcnn": ("width", "layers"),
    "psetae": ("width", "heads", "keys"),
    "ltae": ("width", "heads", "keys"),
    "utae": ("width", "heads", "keys"),
}
"""The settings of a network's size; it has no use for the others."""


def build(
    model: settings.Model,
    channels: int,
    classes: int,
    *,
    grid: Sequence[int] | None = None,
    filled: bool = False,
    shape_features: int = 4,
) -> nn.Module:
    """The network that the settings name, for C channels and K classes, with random weights.

    lstm, tempcnn, psetae and ltae: forward(values (B, T, S, C), valid (B, T, S), days (B, T),
    shape (B, F)) gives logits (B, K). utae: forward(values (B, T, C, H, W), valid (B, T, H, W),
    days (B, T)) gives logits (B, K, H, W). Values count only where valid.
    grid: days to which a season path fills series; None = there is none. filled: whether all series
    come on this grid, as tempcnn needs them; the others take any dates.
    Raises: InputError for `auto`, or sizes that do not go with the network or with each other.
    """
    settings.check_chosen(model)
    check(model)
    if model.name == "utae":
        return utae.UTAE(model, channels, classes)
    network: SeriesNetwork
    if model.name == "lstm":
        network = lstm.LSTM(model, channels, classes)
    elif model.name == "tempcnn":
        if grid is None or not filled:
            raise ValueError("tempcnn is built for series that are filled on a grid")
        network = tempcnn.TempCNN(model, channels, classes, dates=len(grid))
    elif model.name == "psetae":
        network = psetae.PSETAE(model, channels, classes, shape_features=shape_features)
    else:
        network = ltae.LTAE(model, channels, classes, shape_features=shape_features)
    if model.season and grid is not None:
        network.season = SeasonPath(channels, classes, model.season, grid=grid, filled=filled)
    return network


def check(model: settings.Model) -> None:
    """Raises: InputError for sizes that do not go with the network or with each other."""
    faults = Faults()
    for key in ("width", "layers", "heads", "keys"):
        value = getattr(model, key)
        if value and key not in SIZES[model.name]:
            faults.add(
                f"model.{key}={value}: {model.name} has {' and '.join(SIZES[model.name])} only;"
                f" leave model.{key} out"
            )
    width, multiple = width_and_multiple(model)
    if width % multiple:
        near = max(round(width / multiple), 1) * multiple
        faults.add(
            f"model.width={width}: with these heads {model.name} needs a multiple of {multiple};"
            f" set model.width={near}"
        )
    faults.raise_if_any()


def width_and_multiple(model: settings.Model) -> tuple[int, int]:
    """A network's width, and what it must be a multiple of for heads and waves to share it."""
    if model.name == "psetae":
        return model.width or psetae.WIDTH, 2
    if model.name == "ltae":
        return model.width or ltae.WIDTH, 2 * (model.heads or ltae.HEADS)
    if model.name == "utae":
        # Norms have groups; each head has its share of every skip connection.
        return model.width or utae.WIDTH, math.lcm(utae.GROUPS, model.heads or utae.HEADS)
    return model.width, 1
