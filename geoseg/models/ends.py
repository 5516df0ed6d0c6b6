"""Know which tensors of a network depend on its bands and classes, and fit those to others.

Which these are is seen by building the network again with one more of each, so that this holds for
every architecture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geoseg.models import checkpoint, weights
from geoseg.models.card import ModelCard

STEM = "stem"
"""First part of the names of a U-Net's path at full resolution, which is no encoder's."""
PIXELS = "pixel_path"
"""The same of what classifies single pixels."""
OF_FEATURES = tuple(f"{PIXELS}.{name}" for name in ("mean", "scale", "layers.0.weight"))
"""Ends of the names of those of its tensors that depend on the bands."""
SEASON = "season"
"""The same of what classifies a series by all its dates, which is always fitted anew: it belongs to
the dates of its samples."""
CLICKS = "click_path"
"""The same of what sees clicks, which is taken along only for the same bands and classes."""
DECODERS = ("decoder", "segmentation_head", "classifier", STEM, PIXELS, SEASON, CLICKS)
"""First parts of the names of what comes after the encoder; of networks for series all before the
classifier, and U-TAE's decoder, is encoder: what reads dates."""


@dataclass(frozen=True)
class Ends:
    """Tensors of a network that depend on its bands and on its classes."""

    bands: Mapping[str, int]
    """Weights (out, bands + others, …), with the number of the others, which come last."""
    classes: frozenset[str]
    """Those with a row per class: the last layer."""
    others: frozenset[str]
    """Those that depend on the bands in other ways."""
    blocks: Mapping[str, int] = field(default_factory=dict)
    """Those of single pixels, with the number of features of each band: one after the other, each
    of all bands."""

    @classmethod
    def of(cls, network: nn.Module, card: ModelCard) -> Ends:
        channels, classes = len(card.bands), len(card.legend)
        with torch.random.fork_rng(devices=[]):  # what is drawn next is not to depend on this
            larger = checkpoint.build_for(card, channels + 1, classes + 1).state_dict()
        bands, rows, others, blocks = {}, set(), set(), {}
        for name, tensor in network.state_dict().items():
            shape, grown = list(tensor.shape), list(larger[name].shape)
            if shape == grown:
                continue
            inward = len(grown) > 1 and [grown[0], grown[1] - 1, *grown[2:]] == shape
            if inward and (in_encoder(name) or part_of(name) == STEM):
                bands[name] = shape[1] - channels
            elif name.endswith(OF_FEATURES):
                blocks[name] = shape[_inward(shape)] // channels
            elif not in_encoder(name) and [grown[0] - 1, *grown[1:]] == shape:
                rows.add(name)
            else:
                others.add(name)
        return cls(bands, frozenset(rows), frozenset(others), blocks)

    def fit(
        self, name: str, tensor: Tensor, own: Tensor, places: Sequence[int | None] | None
    ) -> Tensor | None:
        """A file's tensor for the new bands; None if it has another shape.

        places: of each band among the file's; None = nothing is known of them.
        """
        if name in self.bands and tensor.ndim == own.ndim:
            others = self.bands[name]
            before, bands = tensor.shape[1] - others, own.shape[1] - others
            if before < 1:
                return None
            where = weights.in_order(before, bands) if places is None else tuple(places)
            if where != tuple(range(before)):
                placed = weights.place_bands(tensor[:, :before], where)
                tensor = torch.cat([placed, tensor[:, before:].float()], dim=1)
        elif name in self.blocks:
            tensor = _placed(tensor, self.blocks[name], own, places)
        elif name in self.others and places != tuple(range(len(places or ()))):
            return None
        return tensor if tensor.shape == own.shape else None


def _inward(shape: Sequence[int]) -> int:
    """The axis of features that go in."""
    return 1 if len(shape) > 1 else 0


def without_scaling(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors with the standardisation of single pixels' features in their first layer.

    Other bands have no statistics yet, and find their weights by what these make of the bands.
    """
    path = next((n.removesuffix("scale") for n in state if n.endswith(f"{PIXELS}.scale")), None)
    if path is None:
        return state
    names = (f"{path}mean", f"{path}scale", f"{path}layers.0.weight", f"{path}layers.0.bias")
    if any(name not in state for name in names):
        return state
    mean, scale, weight, bias = (state[name].float() for name in names)
    scaled = weight * scale[:, None, None]
    return state | {
        names[0]: torch.zeros_like(mean),
        names[1]: torch.full_like(scale, float(scale.any())),
        names[2]: scaled,
        names[3]: bias - (scaled.flatten(1) @ mean),
    }


def _placed(
    tensor: Tensor, blocks: int, own: Tensor, places: Sequence[int | None] | None
) -> Tensor:
    """A tensor of single pixels' features for other bands, each block by itself."""
    axis = _inward(tensor.shape)
    before, bands = tensor.shape[axis] // blocks, own.shape[axis] // blocks
    where = weights.in_order(before, bands) if places is None else tuple(places)
    if where == tuple(range(before)) or before < 1:
        return tensor
    if not axis:  # the same for all bands, without scaling
        return tensor[:1].expand(blocks * bands)
    rows = weights.place_bands(tensor.reshape(-1, before), where)
    return rows.reshape(len(tensor), blocks * bands, *tensor.shape[2:])


def in_encoder(name: str) -> bool:
    """Whether a tensor of a whole network is of what is kept with keep=encoder."""
    return part_of(name) not in DECODERS


def part_of(name: str) -> str:
    """The part of a network that a tensor is of: encoder, decoder, …"""
    return name.removeprefix("network.").split(".")[0]
