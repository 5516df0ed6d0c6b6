"""Name the backends and say what each must be able to do.

Letters of shapes: B windows of a batch, C channels, K classes, H and W.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from geoseg.models.device import Device

TORCH, COMPILE, OPENVINO, ONNX = NAMES = ("torch", "compile", "openvino", "onnx")
"""A backend's name stands in predict's record, so that a call that goes on takes the same."""
Shape = tuple[int, int, int, int]
"""(B, C, H, W) of every batch to come: programs are built for one shape, and run faster so."""


class Runner(Protocol):
    """A network ready to run."""

    name: str
    """For people to read: torch, torch compiled, openvino or onnx."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, C, H, W), both on the device; valid until called again.

        images: float32, fastest in channels_last. Logits: of any float dtype and memory layout.
        """


def zeros(device: Device, shape: Shape) -> Tensor:
    """Images to try a network on."""
    return torch.zeros(shape, device=device.torch).to(memory_format=torch.channels_last)
