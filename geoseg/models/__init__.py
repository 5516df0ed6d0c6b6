"""Segmentation networks by name: images (B, C, H, W) to logits (B, K, H, W), for any H and W."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from geoseg import settings, weights

STRIDE = 32
"""The networks inside halve an image five times at most: their sides are multiples of this."""


def build(
    model: settings.Model, channels: int, classes: int, *, pretrained: bool = True
) -> AnySize:
    """The network that the settings name, for C channels and K classes, ready to train.

    With `pretrained`, encoder weights are loaded as `model.weights` says, and `.loaded` of the
    result tells which; prediction, which brings all weights, does without.
    Raises: InputError for an encoder or weights that do not exist or do not fit.
    """
    # Each network's file brings its own libraries; nobody waits for those of the others.
    if model.name == "segnet":
        from geoseg.models import segnet

        network = AnySize(segnet.build(model, channels, classes))
    else:
        from geoseg.models import smp

        network = AnySize(smp.build(model, channels, classes))
    if pretrained and model.weights is not None:
        network.loaded = load_encoder(network.encoder, model, channels=channels)
    return network


def load_encoder(encoder: nn.Module, model: settings.Model, *, channels: int) -> weights.Loaded:
    """Load the encoder weights that the settings name: a local file, or a download."""
    path = weights.local_file(model.weights)
    if path is not None:
        return weights.load(encoder, path, channels=channels)
    from geoseg.models import smp

    state = smp.download(model)
    source = f"{model.encoder} {model.weights}"
    return weights.load_state(encoder, state, channels=channels, source=source)


class AnySize(nn.Module):
    """Pads images to what the network inside needs, and crops its logits back.

    Edge pixels are repeated below and on the right, so there is no edge for the network to see,
    and every size works, down to one pixel.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.loaded: weights.Loaded | None = None
        """Which encoder weights were loaded, if any."""

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
