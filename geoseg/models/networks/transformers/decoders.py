"""Build segmentation networks on plain vision transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
from segmentation_models_pytorch import DPT
from segmentation_models_pytorch.base import SegmentationHead, SegmentationModel
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import nn

from geoseg.errors import InputError
from geoseg.models.networks.transformers.vit import LEVELS, Pyramid, is_plain, options, patch_of

DPT_PATCHES = (8, 16, 32)
"""Sides of patches, in pixels, whose features DPT's decoder brings to its strides."""
TIMM = "tu-"
"""Prefix by which segmentation-models-pytorch takes any of timm's networks as encoder."""
PROBE = 64
"""Features of a probe's decoder: few, since its encoder knows already what there is to know."""


def _upernet(channels: list[int], width: int) -> nn.Module:
    decoder: nn.Module = UPerNetDecoder(encoder_channels=channels, decoder_channels=width)
    return decoder


def _segformer(channels: list[int], width: int) -> nn.Module:
    decoder: nn.Module = SegformerDecoder(encoder_channels=channels, segmentation_channels=width)
    return decoder


DECODERS: dict[str, tuple[Callable[[list[int], int], nn.Module], int]] = {
    "upernet": (_upernet, 256),
    "segformer": (_segformer, 256),
    "probe": (_segformer, PROBE),
}
"""Name → what builds the decoder, and its number of features, as published but for the probe's."""


class OnPyramid(SegmentationModel):
    """A decoder of SMP on the pyramid of a plain vision transformer."""

    def __init__(self, name: str, encoder: Pyramid, classes: int) -> None:
        """name: of DECODERS."""
        super().__init__()
        make, width = DECODERS[name]
        self.encoder = encoder
        self.decoder = make(list(encoder.out_channels), width)
        self.segmentation_head = SegmentationHead(
            in_channels=width, out_channels=classes, kernel_size=1, upsampling=LEVELS[0]
        )
        self.classification_head = None
        self.initialize()


def check(name: str, given: str) -> None:
    """Raises: InputError if an encoder does not go with an architecture.

    given: as in model.encoder.
    """
    encoder = given.removeprefix(TIMM)
    if name == "dpt":
        if not is_plain(encoder):
            raise InputError(
                f"model.encoder={given}: not a plain vision transformer of timm, which"
                " model.name=dpt needs; set model.encoder=tu-vit_small_patch16_224, or take"
                " model.name=upernet"
            )
    elif name not in DECODERS and is_plain(encoder):
        raise InputError(
            f"model.encoder={given}: a plain vision transformer, whose features have one"
            f" resolution, and model.name={name} needs several; take model.name=dpt,"
            f" {', '.join(DECODERS)}"
        )


def build(name: str, encoder: str, channels: int, classes: int) -> Any:
    """A network with random weights on a plain vision transformer of timm.

    Raises: InputError for patches that do not go with the decoder.
    """
    if name != "dpt":
        return OnPyramid(name, Pyramid(encoder, channels), classes)
    with torch.device("meta"):  # to see what it is before a decoder is built for it
        model: Any = timm.create_model(encoder, **options())
    patch, width = patch_of(model), model.num_features
    if patch not in DPT_PATCHES:
        raise InputError(
            f"model.encoder=tu-{encoder}: its patches of {patch} px do not divide the windows that"
            f" model.name=dpt needs ({', '.join(map(str, DPT_PATCHES))} px do); take"
            " model.name=upernet, segformer or probe, which pad them"
        )
    # Widths of the decoder as published for ViT-Base (Ranftl et al. 2021), for 768 features.
    network = DPT(
        f"tu-{encoder}",
        encoder_weights=None,
        decoder_readout="cat" if model.num_prefix_tokens else "ignore",
        decoder_intermediate_channels=tuple(max(width // n, 8) for n in (8, 4, 2, 1)),
        decoder_fusion_channels=min(256, width),
        in_channels=channels,
        classes=classes,
        **options(),
    )
    # The norm behind the last block is not asked: several devices wait for all gradients.
    network.encoder.model.norm = nn.Identity()
    return network
