"""Build segmentation networks by name."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.models import settings
from geoseg.models.clicks import ClickPath, Person
from geoseg.models.networks.pixels import PixelPath

STRIDE = 32
"""The networks inside halve an image five times at most: their sides are multiples of this."""


def build(model: settings.Model, channels: int, classes: int, *, clicks: bool = False) -> nn.Module:
    """The network that the settings name, for C channels and K classes, with random weights.

    One that classifies whole images gives logits (B, K).

    clicks: whether it can be shown some. A forest comes without its trees, and for values that are
    not scaled.

    Raises: InputError for `auto`, or an encoder that does not exist or does not fit.
    """
    settings.check_chosen(model)
    if model.name == settings.CLASSIFY:
        from geoseg.models.networks.classifiers import build as classifiers

        return classifiers.build(model, channels, classes)
    # Each network's file brings its own libraries; nobody waits for those of the others.
    if model.name == settings.FOREST:
        from geoseg.models.networks import forest

        return forest.ImageForest(classes, [0.0] * channels, [1.0] * channels)
    if model.name == "segnet":
        from geoseg.models.networks import segnet

        network: nn.Module = segnet.build(model, channels, classes)
    else:
        from geoseg.models.networks import smp

        network = smp.build(model, channels, classes)
    path = PixelPath(channels, classes, model.pixels) if model.pixels else None
    if clicks:
        return Clicked(network, path, bands=channels, classes=classes)
    return AnySize(network, path, frozen=model.frozen)


HEADS = ("segmentation_head", "decoder")
"""Where the last layer is: the first in the networks that have it, else the second."""


class AnySize(nn.Module):
    """Pads images to what the network inside needs, and crops its logits back.

    Edge pixels are repeated below and on the right, so there is no edge for the network to see,
    and every size works, down to one pixel.
    """

    def __init__(
        self, network: nn.Module, pixel_path: PixelPath | None = None, *, frozen: bool = False
    ) -> None:
        """pixel_path: what single pixels tell, whose logits are added. frozen: the encoder takes
        part in no training."""
        super().__init__()
        self.network = network
        self.frozen = frozen
        if frozen:
            self.encoder.requires_grad_(False)
        if pixel_path is not None:
            self.pixel_path = pixel_path

    @property
    def encoder(self) -> nn.Module:
        encoder = self.network.encoder
        assert isinstance(encoder, nn.Module)
        return encoder

    @torch.no_grad()
    def silence(self) -> None:
        """Have the network inside say nothing yet, so that it learns what its pixels leave open."""
        *_, last = (
            module
            for name, module in self.network.named_modules()
            if isinstance(module, nn.Conv2d) and name.startswith(HEADS)
        )
        for weights in last.parameters():
            weights.zero_()

    def forward(self, image: Tensor) -> Tensor:
        """Returns: logits (B, K, H, W) from an image (B, C, H, W)."""
        height, width = image.shape[-2:]
        below = -height % STRIDE
        # Two strides wide, since batch norm cannot train on a single value per channel.
        right = max(-width % STRIDE, 2 * STRIDE - width)
        padded = image
        if below or right:
            padded = F.pad(image, (0, right, 0, below), mode="replicate")
        logits: Tensor = self.network(padded)[..., :height, :width]
        path = pixel_path_of(self)
        return logits if path is None else logits + path(image)


class Clicked(AnySize):
    """A network that can be shown clicks, as K channels behind the bands of an image."""

    def __init__(
        self, network: nn.Module, pixel_path: PixelPath | None = None, *, bands: int, classes: int
    ) -> None:
        super().__init__(network, pixel_path)
        self.bands = bands
        self.click_path = ClickPath(bands, classes)
        self.still = False
        """Whether only what sees clicks learns."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if mode and self.still:
            for name, module in self.named_children():
                module.train(name == "click_path")
        return self

    def forward(self, image: Tensor, person: Person | None = None) -> Tensor:
        """Returns: logits (B, K, H, W) of an image without clicks (B, C, H, W), which are those of
        the network alone, or with them (B, C + K, H, W).

        With a person who clicks: first the logits without, then those with clicks, (2 B, K, H, W).
        """
        bands = image[:, : self.bands]
        logits = self._still(bands) if self.still else super().forward(bands)
        if person is not None:
            return torch.cat([logits, self._asked(bands, logits.detach(), person)])
        if image.shape[1] == self.bands:
            return logits
        return logits + self.click_path(bands, logits, image[:, self.bands :])

    @torch.no_grad()
    def _still(self, bands: Tensor) -> Tensor:
        return super().forward(bands)

    def _asked(self, bands: Tensor, logits: Tensor, person: Person) -> Tensor:
        """Logits after a person has looked at the map, and again at what their clicks made."""
        with torch.no_grad():
            clicks = person(logits)
            for _ in range(person.rounds - 1):
                clicks = person(logits + self.click_path(bands, logits, clicks))
        return logits + self.click_path(bands, logits, clicks)


def pixel_path_of(network: nn.Module) -> PixelPath | None:
    """What a network adds for single pixels, if it does."""
    found = getattr(network, "pixel_path", None)
    return found if isinstance(found, PixelPath) else None
