"""Run a network by OpenVINO."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models.device import Device
from geoseg.prediction.backends.export import plain
from geoseg.prediction.backends.quiet import failure, missing, quiet
from geoseg.prediction.backends.runner import OPENVINO, Shape

_HINTS = {"32": "f32", "bf16": "bf16"}


class OpenVino:
    """A network as OpenVINO runs it on the CPU.

    Windows of a batch run side by side, each through a program for one window: what comes out does
    not depend on how full a batch is, and threads wait for each other once per window only.
    """

    name = "openvino"

    def __init__(self, network: nn.Module, device: Device, shape: Shape) -> None:
        """Raises: InputError if OpenVINO is not installed or can't build the network."""
        try:
            import openvino
            import openvino.frontend.pytorch.fx_decoder
        except ImportError as error:
            raise missing(OPENVINO, error.name) from error
        batch, threads = shape[0], torch.get_num_threads()
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[device.precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": max(n for n in range(1, threads + 1) if batch % n == 0),
            # Pinned threads would wait for a core that reading or blending is using.
            "ENABLE_CPU_PINNING": False,
        }
        self._tensor = openvino.Tensor
        try:
            with quiet():
                program = convert(network, (1, *shape[1:]))
                compiled = openvino.Core().compile_model(program, "CPU", options)
            self._requests = [compiled.create_infer_request() for _ in range(batch)]
            _, classes, height, width = compiled.output(0).shape
        except Exception as error:  # Each of its stages has errors of its own.
            raise InputError(failure(OPENVINO, error)) from error
        self._logits = torch.empty(batch, classes, height, width)
        for request, window in zip(self._requests, self._logits, strict=True):
            request.set_output_tensor(self._share(window))

    def __call__(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        started = self._requests[: len(images)]
        for request, image in zip(started, images, strict=True):
            request.set_input_tensor(self._share(image))
            request.start_async()
        for request in started:
            request.wait()
        return self._logits[: len(images)]

    def _share(self, window: Tensor) -> Any:
        return self._tensor(window[None].detach().numpy(), shared_memory=True)


def convert(network: nn.Module, shape: Shape) -> Any:
    """The network as an OpenVINO model of images (B, H, W, C), as channels_last has them."""
    from openvino import Layout
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from openvino.preprocess import PrePostProcessor

    images = torch.zeros(shape)
    with torch.no_grad():
        exported = torch.export.export(plain(network), (images,))
    # The parts of openvino.convert_model, which itself tells a server that it was called.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchFXPythonDecoder.from_exported_program(exported, dynamic_shapes=False)
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(shape))
    steps = PrePostProcessor(model)
    steps.input().tensor().set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout("NCHW"))
    return steps.build()
