"""Merge layers of U-Nets for prediction on a CPU.

Each block of the decoder doubles its features by repeating pixels, and convolves them, 3 × 3. Of
the nine pixels under a kernel only four differ, so weights can be added up beforehand: the two
steps become one transposed convolution, 4 × 4 with stride 2. What the encoder hands over, which
isn't doubled, is convolved by itself and added.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from segmentation_models_pytorch import Unet
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder, UnetDecoderBlock
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geoseg.models.networks.smp import DetailedUnet


def merge(network: nn.Module) -> nn.Module:
    """The network with its U-Nets' blocks merged: a copy, in evaluation mode; or itself, if none.

    Only blocks that are known to do just what is said above are replaced.
    """
    if not any(_blocks(module) for module in network.modules()):
        return network
    network = copy.deepcopy(network).eval()
    unet: Any
    for unet in list(network.modules()):
        for number, (doubled, block) in enumerate(_blocks(unet)):
            unet.decoder.blocks[number] = MergedBlock(block, doubled)
    return network


def _blocks(module: nn.Module) -> list[tuple[int, UnetDecoderBlock]]:
    """Blocks of a U-Net, each with how many of its channels are doubled; [] if not all suit."""
    if type(module) not in (Unet, DetailedUnet) or type(module.decoder) is not UnetDecoder:
        return []
    unet: Any = module  # torch knows modules by name only at run time
    blocks = list(unet.decoder.blocks)
    if type(unet.decoder.center) is not nn.Identity or not all(map(_suits, blocks)):
        return []
    before = [unet.encoder.out_channels[-1], *(block.conv2[0].out_channels for block in blocks)]
    return list(zip(before, blocks, strict=False))


def _suits(block: Any) -> bool:
    """Whether a block repeats pixels, appends the encoder's and convolves 3 × 3, with no more."""
    if type(block) is not UnetDecoderBlock or block.interpolation_mode != "nearest":
        return False
    convolution, norm, activation = block.conv1
    return (
        all(type(part.attention) is nn.Identity for part in (block.attention1, block.attention2))
        and type(convolution) is nn.Conv2d
        and (convolution.kernel_size, convolution.stride) == ((3, 3), (1, 1))
        and (convolution.padding, convolution.dilation) == ((1, 1), (1, 1))
        and (convolution.groups, convolution.padding_mode) == (1, "zeros")
        and isinstance(norm, nn.BatchNorm2d)
        and norm.track_running_stats
        and type(activation) is nn.ReLU
    )


class MergedBlock(nn.Module):
    """A block of a U-Net's decoder that doubles and convolves in one step."""

    def __init__(self, block: UnetDecoderBlock, doubled: int) -> None:
        """doubled: the first channels that its convolution sees, those that it doubles itself."""
        super().__init__()
        self.block = block
        with torch.no_grad():
            whole = fuse_conv_bn_eval(block.conv1[0], block.conv1[1])
            kernel = whole.weight.detach()
            classes = kernel.shape[0]
            self.doubling = nn.ConvTranspose2d(doubled, classes, 4, stride=2, padding=1)
            self.doubling.weight.copy_(transposed(kernel[:, :doubled]))
            self.doubling.bias = whole.bias
            self.handing: nn.Conv2d | None = None
            if kernel.shape[1] > doubled:
                skipped = kernel.shape[1] - doubled
                self.handing = nn.Conv2d(skipped, classes, 3, padding=1, bias=False)
                self.handing.weight.copy_(kernel[:, doubled:])
        self.to(kernel.device)

    def forward(
        self, features: Tensor, height: int, width: int, skip_connection: Tensor | None = None
    ) -> Tensor:
        """Features (B, K, height, width) of features (B, C, h, w) and the encoder's, if any."""
        if (height, width) != (2 * features.shape[2], 2 * features.shape[3]):
            # Some encoders do not halve at every step.
            same: Tensor = self.block(features, height, width, skip_connection=skip_connection)
            return same
        x = self.doubling(features)
        if self.handing is not None:
            x = x + self.handing(skip_connection)
        result: Tensor = self.block.conv2(x.relu())
        return result


def transposed(kernel: Tensor) -> Tensor:
    """Weights (C, K, 4, 4), stride 2, that do what doubling and a kernel (K, C, 3, 3) do."""
    wide = kernel.new_zeros(*kernel.shape[:2], 4, 4, dtype=torch.float64)
    for down in (0, 1):
        for right in (0, 1):
            wide[:, :, down : down + 3, right : right + 3] += kernel.flip(2, 3)
    return wide.transpose(0, 1).to(kernel.dtype)
