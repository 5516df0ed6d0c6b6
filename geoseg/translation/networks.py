"""The networks of a CycleGAN (Zhu et al. 2017), small enough for a CPU.

Letters in shapes: N patches, C bands, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

BLOCKS = 2
"""Residual blocks of a generator."""
REACH = 48
"""Pixels around a window that what it shows depends on, at most: 3 and 3 of the outer layers, 1 and
2 on the way down, 4 of each of 2 convolutions of each block, and 6 on the way up; a multiple of the
4 pixels that become one."""


class Generator(nn.Module):
    """Say how a patch of one archive differs from how the other one would show it.

    As of Zhu et al. (2017, appendix 7.2), but: what it says is added to the patch, and is nothing
    at first; and it has no normalisation, so that a pixel does not depend on the window it is in.
    """

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        wide = 4 * width
        self.down = nn.Sequential(
            nn.Conv2d(bands, width, 7, padding=3), nn.LeakyReLU(0.1),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(2 * width, wide, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.blocks = nn.ModuleList(_Block(wide) for _ in range(BLOCKS))
        self.up = nn.ModuleList(
            [nn.Conv2d(wide, 2 * width, 3, padding=1), nn.Conv2d(2 * width, width, 3, padding=1)]
        )
        self.last = nn.Conv2d(width, bands, 7, padding=3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(torch.as_tensor(self.last.bias))

    def forward(self, patch: Tensor) -> Tensor:
        """Patches (N, C, H, W) as the other archive would show them; H and W multiples of 4."""
        found = self.down(patch)
        for block in self.blocks:
            found = block(found)
        for layer in self.up:
            found = F.leaky_relu(layer(F.interpolate(found, scale_factor=2.0)), 0.1)
        return patch + self.last(found)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(x), 0.1))


class Critic(nn.Module):
    """Say of each part of a patch how much it looks like an archive (PatchGAN, Isola et al. 2017).

    With spectral instead of instance norms (Miyato et al. 2018): these would hide brightness.
    """

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(bands, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 4 * width, 3, padding=1)), nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, patch: Tensor) -> Tensor:
        """(N, 1, H / 4, W / 4) of patches (N, C, H, W)."""
        found: Tensor = self.layers(patch)
        return found
