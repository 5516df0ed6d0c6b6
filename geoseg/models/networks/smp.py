"""Build architectures of segmentation-models-pytorch for any number of bands."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import segmentation_models_pytorch
import timm
import torch
import torch.nn.functional as F
from segmentation_models_pytorch import encoders
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models import settings
from geoseg.models.networks.transformers import decoders, vit
from geoseg.models.networks.transformers.decoders import TIMM


class Detailed:
    """A U-Net whose last layer also sees features made at full resolution, by its `stem`.

    The encoder's first features have half the resolution, and SMP's decoder has no skip from the
    image itself, so that objects of one to three pixels, and what a pixel's own spectrum tells,
    would have to pass through features of their surroundings.
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        """Returns: logits (B, K, H, W) from an image (B, C, H, W)."""
        features = self.decoder(self.encoder(x))
        logits: Tensor = self.segmentation_head(torch.cat([features, self.stem(x)], dim=1))
        return logits


class DetailedUnet(Detailed, segmentation_models_pytorch.Unet):
    """U-Net with a path at full resolution."""


class DetailedUnetPlusPlus(Detailed, segmentation_models_pytorch.UnetPlusPlus):
    """U-Net++ with a path at full resolution."""


DETAILED: dict[str, type[nn.Module]] = {
    "unet": DetailedUnet,
    "unetplusplus": DetailedUnetPlusPlus,
}
"""Architectures that may have a path at full resolution."""
ARCHITECTURES: dict[str, type[nn.Module]] = {
    "unet": segmentation_models_pytorch.Unet,
    "unetplusplus": segmentation_models_pytorch.UnetPlusPlus,
    "fpn": segmentation_models_pytorch.FPN,
    "pspnet": segmentation_models_pytorch.PSPNet,
    "deeplabv3plus": segmentation_models_pytorch.DeepLabV3Plus,
    "segformer": segmentation_models_pytorch.Segformer,
    "upernet": segmentation_models_pytorch.UPerNet,
    "probe": segmentation_models_pytorch.Segformer,
}
DROPOUTS = {
    "fpn": "decoder_dropout",
    "pspnet": "psp_dropout",
    "deeplabv3plus": "decoder_aspp_dropout",
}
"""The architectures with a dropout of their own; the others get one before the head."""


def build(model: settings.Model, channels: int, classes: int) -> nn.Module:
    """The architecture with its encoder and random weights; its sides must be multiples of 32.

    Raises: InputError for an unknown encoder, or one that does not go with the architecture.
    """
    check_encoder(model.encoder)
    inner = model.encoder.removeprefix(TIMM)
    decoders.check(model.name, model.encoder)
    options: dict[str, Any] = {}
    if model.name == settings.PROBE:
        options["decoder_segmentation_channels"] = decoders.PROBE
    if model.name in DROPOUTS:
        options[DROPOUTS[model.name]] = model.dropped
    detailed = bool(model.detail) and model.name in DETAILED
    try:
        if model.encoder.startswith(TIMM) and vit.is_plain(inner):
            network: Any = decoders.build(model.name, inner, channels, classes)
        else:
            network = (DETAILED if detailed else ARCHITECTURES)[model.name](
                encoder_name=model.encoder,
                encoder_weights=None,
                in_channels=channels,
                classes=classes,
                **options,
            )
        if detailed:
            _add_detail(network, channels, classes, width=model.detail)
        if model.encoder.startswith(TIMM):
            try_out(network, channels)
    except InputError:
        raise
    except Exception as error:  # Which error an unsuitable encoder raises differs for each.
        raise InputError(
            f"model.encoder={model.encoder}: does not work with model.name={model.name} and"
            f" {channels} channels ({first_line(error)}); choose another encoder, such as resnet18"
        ) from error
    if model.name not in DROPOUTS:
        _add_dropout(network, model.dropped)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = LoneBatchNorm2d
    return network


def _add_dropout(network: Any, share: float) -> None:
    """Drop features before the last layers; DPT's head does so by itself, at 0.1 as published."""
    head = network.segmentation_head
    own = [module for module in head.modules() if isinstance(module, nn.Dropout)]
    for module in own:
        module.p = share
    if not own:
        assert isinstance(head, nn.Sequential)
        head.insert(0, nn.Dropout2d(share))


def _add_detail(network: Any, channels: int, classes: int, *, width: int) -> None:
    """Give a detailed U-Net its stem and a last layer that takes it in."""
    network.stem = nn.Sequential(*convolution(channels, width), *convolution(width, width))
    before = network.segmentation_head[0]
    network.segmentation_head[0] = nn.Conv2d(
        before.in_channels + width, classes, before.kernel_size, padding=before.padding
    )


def convolution(channels: int, width: int) -> list[nn.Module]:
    """The layers of a 3 × 3 convolution with norm."""
    return [
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]


def check_encoder(name: str) -> None:
    """Raises: InputError, with the nearest names, if there is no such encoder."""
    known = encoders.get_encoder_names()
    if name in known or (name.startswith(TIMM) and timm.is_model(name.removeprefix(TIMM))):
        return
    near = get_close_matches(name, known, n=3)
    near += get_close_matches(name, [TIMM + other for other in timm.list_models()], n=3)
    hint = ", ".join(near) or "resnet18, vgg16_bn, densenet121, efficientnet-b0 or mit_b0"
    raise InputError(
        f"model.encoder={name}: unknown to segmentation-models-pytorch"
        f" {segmentation_models_pytorch.__version__}; did you mean {hint}?"
        f" (any network of timm {timm.__version__} as {TIMM}<name>)"
    )


def try_out(network: nn.Module, channels: int) -> None:
    """Run a small image through it: some of timm's networks build but take one size only."""
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, channels, 64, 96))
    network.train()


def download(model: settings.Model) -> dict[str, Tensor]:
    """The state dict of the encoder's published weights, which takes a network.

    Raises: InputError without network.
    """
    check_encoder(model.encoder)
    name = model.weights
    try:
        inner = model.encoder.removeprefix(TIMM)
        if model.encoder.startswith(TIMM) and vit.is_plain(inner):
            encoder = timm.create_model(inner, pretrained=True, **vit.options())
        else:
            encoder = encoders.get_encoder(
                model.encoder, weights=True if model.encoder.startswith(TIMM) else name
            )
    except Exception as error:  # Anything from a missing name server to a full disk.
        raise InputError(
            f"model.weights={name}: the weights of {model.encoder} could not be downloaded"
            f" ({first_line(error)}); without a network give a local file:"
            f" model.weights=<.safetensors or state dict of {model.encoder}>, or model.weights=null"
            " for random weights"
        ) from error
    return encoder.state_dict()


def terms(model: settings.Model) -> tuple[str, str]:
    """Where the encoder's published weights are, and their licence, as the libraries have them."""
    if model.encoder.startswith(TIMM):
        told: Any = timm.get_pretrained_cfg(model.encoder.removeprefix(TIMM))
        place, licence = (told.hf_hub_id or told.url, told.license) if told else (None, None)
    else:
        known: Any = encoders.encoders[model.encoder]["pretrained_settings"][model.weights]
        place, licence = known.get("repo_id") or known.get("url"), None
    unsaid = "not stated by the library that names them: see that page"
    return f"hub {place}" if place else "hub", licence or unsaid


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


class LoneBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that takes its running statistics where there is but one value.

    A batch of one image has one value per channel wherever an architecture pools the whole image
    (DeepLabV3+, selective kernels); torch raises there, in the middle of an epoch.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)
