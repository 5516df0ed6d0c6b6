"""Build networks that give a whole image one class, for any number of bands."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models import settings
from geoseg.models.networks.classifiers import lenet

LENET = "lenet"
LEAST = {"alexnet": 64, "inception_v3": 75}
"""Smallest side in pixels of what these take; others take USUAL."""
USUAL = 64
"""Two strides of networks that halve an image five times: batch norm needs more than one value."""
TORCHVISION = (
    "alexnet",
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "inception_v3",
    *("densenet121", "densenet161", "densenet169", "densenet201"),
)
TIMM = "tu-"
"""Begins the names of networks of timm, as of its encoders elsewhere."""


class WholeImage(nn.Module):
    """Images (B, C, H, W), any size, to logits (B, K)."""

    def __init__(
        self, encoder: nn.Module, features: int, classes: int, *, least: int, dropout: float
    ) -> None:
        """encoder: images to features (B, features). least: smallest side that it takes."""
        super().__init__()
        self.network = nn.ModuleDict(
            {"encoder": encoder, "classifier": nn.Linear(features, classes)}
        )
        self._dropout, self._least = dropout, least

    @property
    def encoder(self) -> nn.Module:
        return self.network["encoder"]

    def forward(self, image: Tensor) -> Tensor:
        """Returns: logits (B, K) from an image (B, C, H, W); smaller ones are enlarged."""
        height, width = image.shape[-2:]
        if min(height, width) < self._least:
            scale = self._least / min(height, width)
            size = [max(self._least, round(side * scale)) for side in (height, width)]
            image = F.interpolate(image, size, mode="bilinear", align_corners=False)
        features = F.dropout(self.encoder(image), self._dropout, self.training)
        logits: Tensor = self.network["classifier"](features)
        return logits


def build(model: settings.Model, channels: int, classes: int) -> WholeImage:
    """The network that `model.encoder` names, with random weights.

    Raises: InputError for a name that nobody knows.
    """
    name = model.encoder
    if name == LENET:
        encoder: nn.Module = lenet.LeNet(channels)
        features = lenet.FEATURES
    elif name in TORCHVISION:
        encoder, features = _of_torchvision(name, channels)
    elif name.startswith(TIMM):
        encoder, features = _of_timm(name.removeprefix(TIMM), channels)
    else:
        raise InputError(_unknown(name, (LENET, *TORCHVISION)))
    least = 32 if name == LENET else LEAST.get(name, USUAL)
    return WholeImage(encoder, features, classes, least=least, dropout=model.dropped)


def _unknown(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}"
    return (
        f"model.encoder={name}: no network for whole tiles of that name (any of timm is called"
        f" {TIMM}<its name>); {hint}"
    )


def _of_torchvision(name: str, channels: int) -> tuple[nn.Module, int]:
    """A network without its last layer, and the number of features it gives."""
    from torchvision import models

    options = {"inception_v3": {"init_weights": True, "transform_input": False}}.get(name, {})
    network = models.get_model(name, weights=None, **options)
    if name == "inception_v3":
        # Only training looks at the second head, for a loss that is none of this one's.
        network.aux_logits, network.AuxLogits = False, None
    _set_channels(network, channels)
    head = "fc" if hasattr(network, "fc") else "classifier"
    last: Any = getattr(network, head)
    if isinstance(last, nn.Sequential):  # AlexNet and VGG: more full layers come before it
        features: Any = last[-1].in_features
        last[-1] = nn.Identity()
    else:
        features = last.in_features
        setattr(network, head, nn.Identity())
    return network, int(features)


def _set_channels(network: nn.Module, channels: int) -> None:
    """Give a network a first layer for so many bands."""
    path, first = next(
        (path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d)
    )
    padding: Any = first.padding
    made = nn.Conv2d(
        channels,
        first.out_channels,
        (first.kernel_size[0], first.kernel_size[1]),
        stride=(first.stride[0], first.stride[1]),
        padding=padding,
        bias=first.bias is not None,
    )
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    parent, _, own = path.rpartition(".")
    setattr(network.get_submodule(parent), own, made)


def _of_timm(name: str, channels: int) -> tuple[nn.Module, int]:
    """As `_of_torchvision`."""
    import timm

    if not timm.is_model(name):
        raise InputError(_unknown(TIMM + name, tuple(TIMM + n for n in timm.list_models())))
    network: Any = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
    # Some widen their features once more after pooling.
    return network, int(getattr(network, "head_hidden_size", 0) or network.num_features)
