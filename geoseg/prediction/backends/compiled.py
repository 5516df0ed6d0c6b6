"""Run a network through torch's compiler."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models.device import Device
from geoseg.prediction.backends.quiet import failure, quiet
from geoseg.prediction.backends.runner import COMPILE, Shape, zeros


class Compiled:
    """A network compiled for batches of one shape; building takes 10 to 60 seconds."""

    name = "torch compiled"

    def __init__(self, network: nn.Module, device: Device, shape: Shape) -> None:
        """Raises: InputError if it can't be compiled here."""
        # Frozen weights let batch normalisations melt into convolutions, and all of them lie as
        # a CPU's matrix units want them; GPUs take them as they are.
        frozen = device.torch.type == "cpu"
        self._network = torch.compile(network, dynamic=False, options={"freezing": frozen})
        self._device = device
        try:
            with quiet():
                self(zeros(device, shape))
        except Exception as error:  # The compiler has errors of its own for each of its stages.
            raise InputError(_explain(error)) from error

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        with self._device.autocast():
            logits: Tensor = self._network(images)
        return logits


def _explain(error: Exception) -> str:
    if "InvalidCxxCompiler" in f"{type(error).__name__} {error}":
        return (
            f"predict.backend={COMPILE}: torch finds no C++ compiler; install one (g++ or clang++;"
            " CXX names another), or take predict.compile=false"
        )
    return failure(COMPILE, error)
