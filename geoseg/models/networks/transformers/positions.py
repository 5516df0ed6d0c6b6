"""Resize the positions of vision transformers that learnt from images of another size."""

from __future__ import annotations

from math import isqrt

import torch.nn.functional as F
from torch import Tensor

PREFIXES = (0, 1, 2, 5)
"""Tokens that are no patches in timm's families: none, a class, a second one (DeiT), registers."""


def differ(theirs: Tensor, own: Tensor) -> bool:
    """Whether two tables (1, tokens, D) differ in the number of patches alone."""
    return (
        theirs.ndim == own.ndim == 3
        and theirs.shape[::2] == own.shape[::2]
        and theirs.shape[1] != own.shape[1]
        and _prefix(theirs.shape[1], own.shape[1]) is not None
    )


def _prefix(*tokens: int) -> int | None:
    """How many tokens of each are no patches, so that the others form squares."""
    for count in PREFIXES:
        if all(n > count and isqrt(n - count) ** 2 == n - count for n in tokens):
            return count
    return None


def resized(theirs: Tensor, own: Tensor) -> tuple[Tensor, str]:
    """A table of positions for as many patches as the encoder's, and what is said of it.

    Interpolated between neighbours (Dosovitskiy et al. 2021, section 3.2), bicubically as in timm.
    """
    count = _prefix(theirs.shape[1], own.shape[1])
    assert count is not None
    before, side = isqrt(theirs.shape[1] - count), isqrt(own.shape[1] - count)
    grid = theirs[:, count:].float().unflatten(1, (before, before)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True)
    table = own.clone()
    table[:, :count] = theirs[:, :count]
    table[:, count:] = grid.flatten(2).transpose(1, 2)
    said = f"positions: of {before} × {before} patches, interpolated to {side} × {side}"
    return table.to(theirs.dtype), said
