"""Prepare a network for the backend of a given name.

Letters of shapes: B windows of a batch, C channels, K classes, H and W.
"""

from __future__ import annotations

from torch import nn

from geoseg.errors import InputError
from geoseg.models.device import Device
from geoseg.prediction.backends.runner import COMPILE, NAMES, ONNX, OPENVINO, TORCH, Runner, Shape


def prepare(network: nn.Module, device: Device, *, backend: str, shape: Shape) -> Runner:
    """A trained network, placed on the device, as the named backend runs it.

    network: images (B, C, H, W) → logits (B, K, H, W), float32 weights; it is put in evaluation
    mode, perhaps on the device, and otherwise left as it is. backend: one of NAMES.
    shape: of every batch.
    Raises: InputError if the backend is not installed, is not for this device or network, or can't
    build the network.
    """
    if backend not in NAMES:
        raise InputError(f"predict.backend={backend}: unknown; choose from {', '.join(NAMES)}")
    if backend != TORCH:
        _check(backend, network, device)
    network = device.place(merged(network.eval(), device))
    # Each backend's file brings its own library; nobody needs those of the others.
    if backend == TORCH:
        from geoseg.prediction.backends.eager import Eager

        return Eager(network, device)
    if backend == COMPILE:
        from geoseg.prediction.backends.compiled import Compiled

        return Compiled(network, device, shape)
    if backend == OPENVINO:
        from geoseg.prediction.backends.openvino import OpenVino

        return OpenVino(network, device, shape)
    from geoseg.prediction.backends.onnx import Onnx

    return Onnx(network, shape)


def merged(network: nn.Module, device: Device) -> nn.Module:
    """The network with steps put together that a CPU does faster in one, where it has such."""
    library = "segmentation_models_pytorch"
    if device.torch.type != "cpu" or all(
        not type(module).__module__.startswith(library) for module in network.modules()
    ):
        return network
    from geoseg.prediction.backends.merge import merge

    return merge(network)


def fits(network: nn.Module) -> bool:
    """Whether the network is one program for all windows of a shape, which others than torch need.

    Networks for series look at which dates and pixels are seen: their shapes follow the clouds. A
    forest is no network at all.
    """
    from geoseg.models.networks.forest import ImageForest
    from geoseg.prediction.windows import CubeWindows, PixelWindows

    return not isinstance(network, CubeWindows | PixelWindows | ImageForest)


def _check(backend: str, network: nn.Module, device: Device) -> None:
    if not fits(network):
        raise InputError(
            f"predict.backend={backend}: not for networks of series, whose shapes follow the"
            f" clouds, nor for forests; take predict.backend={TORCH} (and predict.compile=false)"
        )
    if backend in (OPENVINO, ONNX) and device.torch.type != "cpu":
        raise InputError(
            f"predict.backend={backend}: runs on the CPU, but predict.device is {device.name};"
            f" take predict.device=cpu, or predict.backend={TORCH} or {COMPILE}"
        )
