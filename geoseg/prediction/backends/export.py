"""Hand a network to exporters in plain layout on the CPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from geoseg.models.networks.build import AnySize


def plain(network: nn.Module) -> nn.Module:
    """A copy for exporters, which know nothing of devices and layouts, nor of padding by size."""
    network = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
    for module in network.modules():
        if isinstance(module, AnySize):
            _fix_padding(module.network)
    return network


def _fix_padding(network: nn.Module) -> None:
    """Pad as much at every size, in place: so exporters need not reason about sizes, for minutes.

    TensorFlow's padding depends on the remainder of a size by the stride, and inside AnySize all
    sizes are multiples of it.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, Conv2dSame):
            network.set_submodule(name, _padded(module))


def _padded(same: Any) -> nn.Sequential:
    parts = zip(same.kernel_size, same.stride, same.dilation, strict=True)
    down, across = (max((kernel - 1) * apart + 1 - step, 0) for kernel, step, apart in parts)
    pad = nn.ZeroPad2d((across // 2, across - across // 2, down // 2, down - down // 2))
    same.__class__ = nn.Conv2d  # which pads by nothing itself
    return nn.Sequential(pad, same)
