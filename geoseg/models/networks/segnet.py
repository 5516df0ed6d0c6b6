"""SegNet (Badrinarayanan, Kendall & Cipolla 2017) with pooling indices.

The encoder is VGG with normalisation, laid out as torchvision and segmentation-models-pytorch lay
it out, so that their weights fit by name. The decoder mirrors it: each block puts its features
back where the encoder's block of that depth found its maxima, and fills the zeros by convolving.
"""

from __future__ import annotations

from difflib import get_close_matches

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models import settings

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five blocks of every VGG."""
DEPTHS = {
    "vgg11_bn": (1, 1, 2, 2, 2),
    "vgg13_bn": (2, 2, 2, 2, 2),
    "vgg16_bn": (2, 2, 3, 3, 3),
    "vgg19_bn": (2, 2, 4, 4, 4),
}
"""Convolutions of each block (Simonyan & Zisserman 2015, columns A, B, D, E)."""
FIRST_DROPPED = 2
"""Blocks from this on, the three deepest, drop features: Bayesian SegNet (Kendall et al. 2017)."""


def build(model: settings.Model, channels: int, classes: int) -> SegNet:
    """A SegNet with random weights; its sides must be multiples of 32.

    Raises: InputError for an encoder that is no VGG with normalisation.
    """
    if model.encoder not in DEPTHS:
        near = get_close_matches(model.encoder, DEPTHS, n=1)
        raise InputError(
            f"model.encoder={model.encoder}: segnet hands on the maxima of a VGG"
            f" ({', '.join(DEPTHS)}); set model.encoder={near[0] if near else 'vgg16_bn'}"
        )
    return SegNet(
        channels, classes, depths=DEPTHS[model.encoder], norm=model.norm, dropout=model.dropped
    )


class SegNet(nn.Module):
    """Images (B, C, H, W) to logits (B, K, H, W); H and W multiples of 32."""

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        depths: tuple[int, ...] = DEPTHS["vgg16_bn"],
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, depths=depths, norm=norm, dropout=dropout)
        self.decoder = Decoder(classes, depths=depths, norm=norm, dropout=dropout)
        self.apply(kaiming)

    def forward(self, image: Tensor) -> Tensor:
        features, maxima = self.encoder(image)
        return self.decoder(features, maxima)


class Encoder(nn.Module):
    """VGG's convolutions; it also returns, for each block, where its maxima were."""

    def __init__(
        self, channels: int, *, depths: tuple[int, ...], norm: str, dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, depth in zip(WIDTHS, depths, strict=True):
            for _ in range(depth):
                layers += convolution(channels, width, norm=norm)
                channels = width
            layers.append(nn.MaxPool2d(2, return_indices=True))
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns: features (B, 512, H/32, W/32) and per block the flat indices of its maxima."""
        maxima: list[Tensor] = []
        x = image
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x, where = layer(x)
                if len(maxima) >= FIRST_DROPPED:
                    x = self.dropout(x)
                maxima.append(where)
            else:
                x = layer(x)
        return x, maxima


class Decoder(nn.Module):
    """The encoder's blocks in reverse, each behind an unpooling; the last layer classifies."""

    def __init__(self, classes: int, *, depths: tuple[int, ...], norm: str, dropout: float) -> None:
        super().__init__()
        blocks: list[nn.Sequential] = []
        for block in reversed(range(len(WIDTHS))):
            width, narrower = WIDTHS[block], WIDTHS[max(block - 1, 0)]
            layers: list[nn.Module] = []
            # The last convolution of a block hands over to the next, narrower one; of the last
            # block it is the classifier, so a block of one convolution still keeps one to itself.
            for _ in range(max(depths[block] - 1, 1 if block == 0 else 0)):
                layers += convolution(width, width, norm=norm)
            if block:
                layers += convolution(width, narrower, norm=norm)
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Conv2d(WIDTHS[0], classes, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, maxima: list[Tensor]) -> Tensor:
        """Returns: logits (B, K, H, W) from features (B, 512, H/32, W/32)."""
        x = features
        for number, block in zip(reversed(range(len(maxima))), self.blocks, strict=True):
            x = block(unpool(x, maxima[number]))
            if number >= FIRST_DROPPED:
                x = self.dropout(x)
        return self.classifier(x)


def unpool(x: Tensor, where: Tensor) -> Tensor:
    """Features (B, C, h, w) at their flat indices in (B, C, 2h, 2w), which is 0 elsewhere."""
    if not torch.are_deterministic_algorithms_enabled():
        return F.max_unpool2d(x, where, (2, 2))
    # Torch refuses max_unpool2d here since indices might repeat; those of a 2 × 2 pool never do.
    batch, channels, height, width = x.shape
    flat = x.new_zeros(batch, channels, 4 * height * width)
    return flat.scatter(2, where.flatten(2), x.flatten(2)).view(
        batch, channels, 2 * height, 2 * width
    )


def convolution(channels: int, width: int, *, norm: str) -> list[nn.Module]:
    """A 3 × 3 convolution with its normalisation and ReLU."""
    # VGG's convolutions have a bias; it is kept, idle before most norms, for their weights to fit.
    return [
        nn.Conv2d(channels, width, 3, padding=1),
        normalisation(norm, width),
        nn.ReLU(inplace=True),
    ]


def normalisation(norm: str, width: int) -> nn.Module:
    """By channel over the batch; or image by image: by channel, in 32 groups, or all channels."""
    if norm == "batch":
        return nn.BatchNorm2d(width)
    if norm == "instance":
        return nn.InstanceNorm2d(width, affine=True)
    return nn.GroupNorm({"group": 32, "layer": 1}[norm], width)


def kaiming(module: nn.Module) -> None:
    """He et al. 2015, by fan-out as torchvision's VGG; biases start at zero."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
