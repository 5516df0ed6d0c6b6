"""Take plain vision transformers of timm (ViT, DINO, DINOv2, DINOv3) as encoders.

All their features have one resolution, that of their patches. DPT reads these as they are; other
decoders get a pyramid of them. Letters of shapes: B images, C bands, D features, H rows, W columns.
"""

from __future__ import annotations

from math import lcm
from typing import Any

import timm
import torch.nn.functional as F
from timm.models import is_model_in_modules
from torch import Tensor, nn

FAMILIES = ("vision_transformer", "eva", "deit")
"""Modules of timm that have them; DINOv3 lies in eva."""
LEVELS = (4, 8, 16, 32)
"""Strides of the pyramid, in pixels of the image."""


def is_plain(name: str) -> bool:
    """Whether a network of timm is a plain vision transformer, which has one resolution."""
    return bool(is_model_in_modules(name, FAMILIES))


def options() -> dict[str, Any]:
    """What timm is told for images of any size: positions are interpolated (Dosovitskiy 2021)."""
    return {"dynamic_img_size": True, "num_classes": 0}


def patch_of(model: Any) -> int:
    """Side of a patch in pixels. Raises: ValueError if patches are not square."""
    rows, columns = model.patch_embed.patch_size
    if rows != columns:
        raise ValueError(f"patches of {rows} × {columns} px are not square")
    return int(rows)


class Pyramid(nn.Module):
    """Features of four blocks of a plain vision transformer at strides of 4, 8, 16 and 32 px.

    They are resized without weights of their own, so that the encoder holds what is published and
    no more. An image whose sides its patches do not divide is padded with its edge below and on the
    right, and what lies there is cut off again.
    """

    output_stride = LEVELS[-1]

    def __init__(self, name: str, channels: int) -> None:
        """name: as timm has it; weights are random."""
        super().__init__()
        model: Any = timm.create_model(name, in_chans=channels, **options())
        self.model = model
        self.patch = patch_of(model)
        depth, width = len(model.feature_info), model.num_features
        if depth < len(LEVELS):
            raise ValueError(f"{depth} blocks, but {len(LEVELS)} are needed")
        self.indices = [depth * (n + 1) // len(LEVELS) - 1 for n in range(len(LEVELS))]
        # As of SMP's encoders: the image itself, nothing at half its resolution, the pyramid.
        self.out_channels = [channels, 0, *(width for _ in LEVELS)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns: (B, C, H, W), (B, 0, H/2, W/2) and (B, D, H/s, W/s) for each stride s."""
        height, width = x.shape[-2:]
        whole = lcm(self.patch, LEVELS[0])
        below, right = -height % whole, -width % whole
        padded = F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x
        found = self.model.forward_intermediates(
            padded, indices=self.indices, norm=True, intermediates_only=True
        )
        finest = LEVELS[0]
        size = [side // finest for side in padded.shape[-2:]]
        levels = []
        for features, stride in zip(found, LEVELS, strict=True):
            fine = F.interpolate(features, size=size, mode="bilinear")
            fine = fine[..., : height // finest, : width // finest]
            levels.append(fine if stride == finest else F.avg_pool2d(fine, stride // finest))
        return [x, x.new_empty(x.shape[0], 0, height // 2, width // 2), *levels]


def deepest(features: Any) -> Tensor:
    """The deepest features (B, D, h, w) among what an encoder returns."""
    # DPT's encoder also gives the tokens that are no patches, SegNet's where its maxima were.
    levels = features[0] if isinstance(features, tuple) else features
    last = levels if isinstance(levels, Tensor) else levels[-1]
    assert isinstance(last, Tensor)
    return last
