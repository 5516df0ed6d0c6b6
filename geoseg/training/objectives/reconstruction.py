"""Learn an encoder by reconstructing masked images.

As SimMIM does (Xie et al. 2022): random squares are hidden, and the loss is the mean absolute error
of the hidden pixels. For convolutions hidden pixels hold the bands' mean (Li et al. 2023, A2MIM),
which is 0 after scaling. Letters of shapes: B tiles, C bands, H rows, W columns.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from geoseg.training.objectives.settings import Masking
from geoseg.training.processes.ranks import ALONE, Ranks
from geoseg.training.run.history import Validation
from geoseg.training.validation import inputs


def hidden(
    shape: tuple[int, int, int], masking: Masking, generator: torch.Generator | None = None
) -> Tensor:
    """Which pixels (B, H, W) are hidden: the same number of squares in each tile."""
    count, height, width = shape
    size = masking.size
    rows, columns = -(-height // size), -(-width // size)
    squares = max(1, round(masking.share * rows * columns))
    noise = torch.rand((count, rows * columns), generator=generator)
    chosen = torch.zeros(noise.shape, dtype=torch.bool)
    chosen.scatter_(1, noise.argsort(1)[:, :squares], True)
    grid = chosen.reshape(count, 1, rows, columns).float()
    whole = F.interpolate(grid, scale_factor=size, mode="nearest")[:, 0, :height, :width]
    return whole > 0


def error(filled: Tensor, image: Tensor, where: Tensor) -> Tensor:
    """Sum of the absolute errors (B, C, H, W) where (B, H, W), divided by the number of bands."""
    missed = (filled.float() - image).abs().mean(1)
    return torch.where(where, missed, 0).sum()


class Reconstruction(nn.Module):
    """Batches (image, valid): the mean absolute error of the hidden valid pixels."""

    def __init__(self, masking: Masking, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self._masking, self._ranks = masking, ranks

    def forward(self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float) -> Tensor:
        image, valid = batch
        away = hidden(tuple(valid.shape), self._masking).to(valid.device)
        filled = model(*inputs(image.masked_fill(away[:, None], 0)))
        where = away & valid
        total = self._ranks.total(where.sum()).clamp(min=1)
        return self._ranks.total(error(filled, image, where)) / total


class ReconstructionValidator:
    """Mean absolute error of hidden pixels of val tiles: batches (image, valid, hidden)."""

    @torch.inference_mode()
    def __call__(self, network: nn.Module, batches: Any, fabric: Fabric) -> Validation | None:
        if not len(batches.dataset):
            return None
        network.eval()
        ranks = Ranks.of(fabric)
        # Apple's GPUs have no float64.
        exact = torch.float32 if fabric.device.type == "mps" else torch.float64
        sums = torch.zeros(3, dtype=exact, device=fabric.device)
        with fabric.autocast():
            for image, valid, away in batches:
                filled = network(*inputs(image.masked_fill(away[:, None], 0)))
                where = away & valid
                blank = error(torch.zeros_like(image), image, where)
                sums += torch.stack((error(filled, image, where), blank, where.sum()))
        missed, blank, count = ranks.total(sums).tolist()
        if not count:  # nothing that is hidden is valid
            return None
        columns = {"val_error": missed / count, "val_error_of_mean": blank / count}
        return Validation(-columns["val_error"], columns, columns)
