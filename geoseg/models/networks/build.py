"""Build segmentation networks by name."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.models import settings

STRIDE = 32
"""The networks inside halve an image five times at most: their sides are multiples of this."""


def build(model: settings.Model, channels: int, classes: int) -> nn.Module:
    """The network that the settings name, for C channels and K classes, with random weights.

    A forest comes without its trees, and for values that are not scaled.

    Raises: InputError for an encoder that does not exist or does not fit.
    """
    # Each network's file brings its own libraries; nobody waits for those of the others.
    if model.name == settings.FOREST:
        from geoseg.models.networks import forest

        return forest.ImageForest(classes, [0.0] * channels, [1.0] * channels)
    if model.name == "segnet":
        from geoseg.models.networks import segnet

        return AnySize(segnet.build(model, channels, classes))
    from geoseg.models.networks import smp

    return AnySize(smp.build(model, channels, classes))


class AnySize(nn.Module):
    """Pads images to what the network inside needs, and crops its logits back.

    Edge pixels are repeated below and on the right, so there is no edge for the network to see,
    and every size works, down to one pixel.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def encoder(self) -> nn.Module:
        encoder = self.network.encoder
        assert isinstance(encoder, nn.Module)
        return encoder

    def forward(self, image: Tensor) -> Tensor:
        """Returns: logits (B, K, H, W) from an image (B, C, H, W)."""
        height, width = image.shape[-2:]
        below = -height % STRIDE
        # Two strides wide, since batch norm cannot train on a single value per channel.
        right = max(-width % STRIDE, 2 * STRIDE - width)
        if below or right:
            image = F.pad(image, (0, right, 0, below), mode="replicate")
        logits: Tensor = self.network(image)
        return logits[..., :height, :width]
