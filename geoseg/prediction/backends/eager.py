"""Run a network in torch as it is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from geoseg.models.device import Device

_CAST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
"""Layers that autocast runs in the precision: their weights are never seen in float32."""


class Eager:
    """A network run operation by operation; for images of any shape."""

    name = "torch"

    def __init__(self, network: nn.Module, device: Device) -> None:
        self._network = network if device.precision == "32" else cast(network, device.dtype)
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        with self._device.autocast():
            logits: Tensor = self._network(images)
        return logits


def cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the network whose convolutions and linear layers have weights of the dtype.

    Under autocast it says the same, to the bit, and saves the conversion in each pass. The weights
    and statistics of normalisations stay float32, as autocast leaves them.
    """
    network = copy.deepcopy(network)
    for module in network.modules():
        # Heirs may compute with their weights, as those with standardised weights do: not these.
        if type(module) in _CAST:
            module.to(dtype)
    return network
