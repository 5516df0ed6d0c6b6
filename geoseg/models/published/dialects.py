"""Give tensors of published weights the names that the encoders of today use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geoseg.errors import InputError

_LITE = re.compile(r"_blocks\.(\d+)\.(.+)$")
_TIMM = re.compile(r"blocks\.(\d+)\.(\d+)\.")
_MOBILE = re.compile(r"(features\.\d+)\.conv\.(\d+)\.(.+)$")
_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""Parts of an inverted residual, EfficientNet-PyTorch's name → timm's."""
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
"""The same of a first block, which expands nothing."""


def translated(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the encoder's names, where it is of a program that names them otherwise.

    own: the encoder's state dict. EfficientNet-PyTorch's names become timm's, torchvision's first
    names of MobileNetV2 those of today; all others stay.
    """
    if any(_TIMM.search(name) for name in own) and "_conv_stem.weight" in state:
        return _from_efficientnet_pytorch(state, own)
    if any(re.search(r"features\.\d+\.conv\.0\.0\.", name) for name in own):
        return _from_old_mobilenet(state)
    return dict(state)


def _from_efficientnet_pytorch(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    found = {tuple(map(int, m.groups())) for name in own if (m := _TIMM.search(name))}
    blocks = sorted(found)
    named = {}
    for name, tensor in state.items():
        if match := _LITE.match(name):
            number, rest = int(match[1]), match[2]
            part, _, last = rest.partition(".")
            expands = f"_blocks.{number}._expand_conv.weight" in state
            new = (_EXPANDED if expands else _SEPARABLE).get(part)
            if new is not None and number < len(blocks):
                stage, place = blocks[number]
                name = f"blocks.{stage}.{place}.{new}.{last}"
        else:
            part, _, last = name.partition(".")
            name = f"{_OUTER.get(part, part)}.{last}"
        named[name] = tensor
    return named


def _from_old_mobilenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolution, norm and activation in a row became groups of three."""
    if any(re.search(r"\.conv\.0\.0\.", name) for name in state):
        return dict(state)
    last: dict[str, int] = {}
    for name in state:
        if match := _MOBILE.match(name):
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    named = {}
    for name, tensor in state.items():
        if match := _MOBILE.match(name):
            block, place, rest = match[1], int(match[2]), match[3]
            # What projects is no group: a convolution and a norm at the end.
            grouped = place < last[block] - 1
            group, inner = divmod(place, 3)
            position = f"{group}.{inner}" if grouped else f"{last[block] // 3 + place % 3}"
            name = f"{block}.conv.{position}.{rest}"
        named[name] = tensor
    return named


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The named tensors of an ONNX file, as float32. Raises: InputError without the package onnx.

    Numbers only: the graph is not run.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise InputError(
            f"{path}: an ONNX file, which the package onnx reads; pip install geoseg[pretrained]"
        ) from error
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # Whatever half a file makes protobuf raise.
        raise InputError(
            f"{path}: no ONNX file, or a damaged one ({type(error).__name__}); install it again"
        ) from error
    return {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for tensor in graph.initializer
    }
