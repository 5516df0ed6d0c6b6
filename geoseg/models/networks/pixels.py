"""Classify single pixels by their bands and by what lies around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOWS = (3, 5, 9, 17)
"""Heights and widths of the neighbourhoods of a pixel."""
LEAST = 1e-6
"""What divides is no smaller."""
FLAT = 1e-12
"""Variance of what does not vary: a root has no slope at 0, and explanations ask for slopes."""


class PixelPath(nn.Module):
    """Images (B, C, H, W) to logits (B, K, H, W), for any H and W: two layers on `neighbourhoods`.

    It is fitted in seconds (training.quick), and what it finds is added to the logits of a deeper
    network, which then learns only what shapes and surroundings tell beyond that.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, classes: int, width: int) -> None:
        """channels: bands C. classes: K. width: units of each layer."""
        super().__init__()
        features = (1 + 3 * len(WINDOWS)) * channels
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.zeros(features))
        self.layers = nn.Sequential(
            nn.Conv2d(features, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, classes, 1),
        )

    @property
    def is_new(self) -> bool:
        """Whether nothing was fitted or loaded yet: then all pixels look alike to it."""
        return not bool(self.scale.any())

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F, H, W) float32 of images (B, C, H, W), not yet standardised."""
        with torch.autocast(images.device.type, enabled=False):
            return torch.cat(list(neighbourhoods(images.float())), dim=1)

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K, H, W) of features (B, F, H, W), standardised."""
        # Convolutions of single pixels, as products of matrices, which take half as long on a CPU.
        found = features.flatten(2)
        for layer in self.layers:
            found = _product(layer, found) if isinstance(layer, nn.Conv2d) else layer(found)
        return found.unflatten(2, features.shape[2:])

    def standardised(self, images: Tensor) -> Tensor:
        """Features (B, F, H, W) as the layers take them, in the precision that these compute with:
        they are made in float32, and rounded at once."""
        device, bands = images.device.type, images.shape[1]
        kind = images.dtype
        if torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
        shift = (-self.mean * self.scale)[:, None, None].split(bands)
        scale = self.scale[:, None, None].split(bands)
        with torch.autocast(device, enabled=False):
            made = [
                torch.addcmul(below, values, by).to(kind)
                for values, below, by in zip(
                    neighbourhoods(images.float()), shift, scale, strict=True
                )
            ]
        return torch.cat(made, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        # A batch's features would not fit in a processor's caches, nor in memory that can be used
        # again: one image after the other takes half of the time. With gradients it saves little.
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        whole = traced or torch.is_grad_enabled() or images.device.type != "cpu"
        parts = (images,) if whole or len(images) < 2 else images.split(1)
        made = [self.classify(self.standardised(part)) for part in parts]
        return made[0] if len(made) == 1 else torch.cat(made)


def _product(layer: nn.Conv2d, pixels: Tensor) -> Tensor:
    """What a convolution of single pixels makes of features (B, F, N)."""
    assert layer.bias is not None
    # Gradients then lie in memory as channels_last weights do, which several processes compare.
    weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
    return torch.baddbmm(layer.bias[:, None], weight.expand(pixels.shape[0], -1, -1), pixels)


def neighbourhoods(images: Tensor) -> Iterator[Tensor]:
    """Features (B, C, H, W), thirteen times, of images (B, C, H, W): the bands, and for each of
    WINDOWS their mean, their deviation, and how far the pixel is from the mean.

    What is 0 in all bands is not seen, as the scaling of bands leaves it: it counts nowhere. Every
    pixel is summed up in the same order wherever it lies, so no window makes a difference.
    """
    bands = images.shape[1]
    images = images.contiguous()
    visible = seen(images)
    yield images
    for side, rows in _sums(torch.cat([visible, images, images.square()], dim=1), 3, WINDOWS):
        ((_, total),) = _sums(rows, 2, [side])
        means = total[:, 1:] / total[:, :1].clamp_min(LEAST)
        mean, square = means[:, :bands], means[:, bands:]
        yield mean
        yield torch.addcmul(square, mean, mean, value=-1).clamp_min(FLAT).sqrt()
        yield (images - mean) * visible


def seen(images: Tensor) -> Tensor:
    """(B, 1, H, W): 1 where an image shows anything, else 0."""
    return (images != 0).any(dim=1, keepdim=True).float()


def _sums(images: Tensor, axis: int, sides: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Sums over windows along an axis, from the narrowest to the widest; beyond the edge all is 0.

    Sums of 2, 4, 8 … pixels are made of those of half as many, so that the widest windows cost
    hardly more than the narrowest. sides: odd, one more than a power of two each.
    """
    length, most = images.shape[axis], sides[-1] // 2
    padded = F.pad(images, (most, most, 0, 0) if axis == 3 else (0, 0, most, most))
    summed, count = padded, 1
    for side in sides:
        while count < side - 1:
            rest = length + 2 * most - 2 * count + 1
            summed = summed.narrow(axis, 0, rest) + summed.narrow(axis, count, rest)
            count *= 2
        half = side // 2
        first = summed.narrow(axis, most - half, length)
        yield side, first + padded.narrow(axis, most + half, length)
