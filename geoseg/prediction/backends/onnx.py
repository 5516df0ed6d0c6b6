"""Run a network by ONNX Runtime, in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.prediction.backends.export import plain
from geoseg.prediction.backends.quiet import failure, missing, quiet
from geoseg.prediction.backends.runner import ONNX, Shape


class Onnx:
    """A network as ONNX Runtime runs it on the CPU, one window after the other.

    A program for one window is as fast here as one for a batch, and what comes out does not depend
    on how full a batch is.
    """

    name = "onnx"

    def __init__(self, network: nn.Module, shape: Shape) -> None:
        """Raises: InputError if ONNX Runtime is not installed or can't build the network."""
        try:
            import onnx  # noqa: F401  (torch exports with these two)
            import onnxruntime
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise missing(ONNX, error.name) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # As OpenMP's threads in geoseg: spinning ones would slow down whatever else runs here.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors
        try:
            with quiet():
                program = export(network, (1, *shape[1:]))
                self._session = onnxruntime.InferenceSession(
                    program, options, providers=["CPUExecutionProvider"]
                )
            _, classes, height, width = self._session.get_outputs()[0].shape
        except Exception as error:  # Each of its stages has errors of its own.
            raise InputError(failure(ONNX, error)) from error
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._logits = torch.empty(shape[0], classes, height, width)

    def __call__(self, images: Tensor) -> Tensor:
        images = images.detach().contiguous(memory_format=torch.contiguous_format)
        for number in range(len(images)):
            binding = self._session.io_binding()
            part = slice(number, number + 1)
            binding.bind_ortvalue_input(self._input, self._value(images[part].numpy()))
            binding.bind_ortvalue_output(self._output, self._value(self._logits[part].numpy()))
            self._session.run_with_iobinding(binding)
        return self._logits[: len(images)]


def export(network: nn.Module, shape: Shape) -> bytes:
    """The network as an ONNX model of images of one shape."""
    with torch.no_grad():
        program = torch.onnx.export(
            plain(network), (torch.zeros(shape),), dynamo=True, verbose=False
        )
    assert program is not None
    return program.model_proto.SerializeToString()
