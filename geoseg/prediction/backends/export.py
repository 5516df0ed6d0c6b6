"""Hand a network to exporters in plain layout on the CPU."""

from __future__ import annotations

import copy

import torch
from torch import nn


def plain(network: nn.Module) -> nn.Module:
    """A copy for exporters, which know nothing of devices and layouts."""
    return copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
