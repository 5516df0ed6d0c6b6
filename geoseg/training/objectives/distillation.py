"""Learn an encoder by self-distillation, without labels and without hiding anything.

As DINO does (Caron et al. 2021): a student sees large and small crops of a tile in other lights,
and has to say of each what its teacher, the moving average of its weights, says of the large ones.
What the teacher says is sharpened, and centred by a moving mean, so that neither one answer nor an
even one for all is a way out. Letters of shapes: B tiles, C bands, V views, K prototypes, H rows,
W columns, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from geoseg.models.networks.transformers.vit import deepest
from geoseg.training.objectives.settings import Distilling
from geoseg.training.processes.ranks import ALONE, Ranks
from geoseg.training.run.history import Validation
from geoseg.training.validation import inputs

LARGE, SMALL = (0.4, 1.0), (0.05, 0.4)
"""Shares of a tile's area that crops show (Caron et al. 2021, appendix)."""
STUDENT, TEACHER = 0.1, 0.04
"""Temperatures of the softmax: the teacher's is sharper."""
KEPT = 0.9
"""Share of the centre that a step keeps."""
HIDDEN, NECK = 512, 128
"""Units of the head's hidden layers, and of the vector before its prototypes: a quarter and a half
of the published ones, for fewer images."""
GAIN, SHIFT, NOISE = 0.3, 0.3, 0.05
"""How far a view's contrast, brightness and pixels are moved, in deviations of a band."""
STRIDE = 32
"""Sides that encoders take are multiples of this, and at least two of them."""
SHARPNESS = 10.0
"""Of the softmax by which views of the val tiles are matched."""


class Distilled(nn.Module):
    """An encoder with a head that says how much of each prototype an image shows.

    The head is a perceptron, a vector of length one, and prototypes of length one (Caron et al.
    2021, section 3). Its centre lies here, so that a training that goes on has it.
    """

    center: Tensor

    def __init__(self, encoder: nn.Module, channels: int, prototypes: int) -> None:
        super().__init__()
        self.encoder = encoder
        was = encoder.training
        with torch.no_grad():
            image = torch.zeros(1, channels, 2 * STRIDE, 2 * STRIDE)
            width = deepest(encoder.eval()(image)).shape[1]
        encoder.train(was)
        self.head = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(),
            nn.Linear(HIDDEN, NECK),
        )  # fmt: skip
        self.prototypes = nn.Parameter(torch.randn(prototypes, NECK))
        self.register_buffer("center", torch.zeros(prototypes))

    def features(self, image: Tensor) -> Tensor:
        """(B, D), the mean over an image of the deepest features."""
        return deepest(self.encoder(*inputs(image))).float().mean((2, 3))

    def forward(self, *views: Tensor) -> Tensor:
        """Returns: (images of all views, K), cosines with the prototypes, in the views' order."""
        features = torch.cat([self.features(view) for view in views])
        vector = F.normalize(self.head(features), dim=1)
        return F.linear(vector, F.normalize(self.prototypes, dim=1))


class Distillation(nn.Module):
    """Batches (image, valid): the mean cross-entropy of pairs of different views of a tile."""

    def __init__(
        self,
        settings: Distilling,
        *,
        autocast: Callable[[], AbstractContextManager[Any]],
        ranks: Ranks = ALONE,
    ) -> None:
        """autocast: context in which networks compute."""
        super().__init__()
        self._crops, self._autocast, self._ranks = settings.crops, autocast, ranks

    def forward(self, model: Any, teacher: Any, batch: Any, progress: float) -> Tensor:
        image, valid = batch
        count, side = len(image), image.shape[-1]
        large = torch.cat([view(image, LARGE, sized(side)) for _ in range(2)])
        shown = [large]
        if self._crops:
            small = [view(image, SMALL, sized(side // 2)) for _ in range(self._crops)]
            shown.append(torch.cat(small))
        said = model(*shown).float().unflatten(0, (-1, count))
        teacher.eval()
        with torch.no_grad(), self._autocast():
            taught = teacher(large).float()
        sharp = ((taught - model.center) / TEACHER).softmax(1).unflatten(0, (2, count))
        self._recenter(model.center, taught)
        seen = valid.flatten(1).any(1).float()
        total = self._ranks.total(seen.sum()).clamp(min=1)
        return self._ranks.total((agreement(sharp, said) * seen).sum()) / total

    @torch.no_grad()
    def _recenter(self, center: Tensor, taught: Tensor) -> None:
        """Move the centre towards the mean of what the teacher says, over all processes."""
        mean = self._ranks.total(taught.sum(0)) / (len(taught) * self._ranks.count)
        center.lerp_(mean, 1 - KEPT)


def agreement(taught: Tensor, said: Tensor) -> Tensor:
    """Cross-entropy (B,) of views, the mean over pairs of different ones (Caron et al., eq. 3).

    taught: probabilities (2, B, K) of the first two views. said: (V, B, K) of all, not scaled yet.
    """
    log = (said / STUDENT).log_softmax(2)
    losses = -torch.einsum("tbk,vbk->tvb", taught, log)
    teachers, views = len(taught), len(said)
    other = ~torch.eye(teachers, views, dtype=torch.bool, device=losses.device)
    return losses[other].mean(0)


def sized(side: int) -> int:
    """The side of a crop: what encoders take, and at most so many pixels if that is enough."""
    return max(2 * STRIDE, side // STRIDE * STRIDE)


def view(image: Tensor, shares: tuple[float, float], side: int) -> Tensor:
    """Crops (B, C, side, side) of tiles (B, C, H, W), mirrored and in another light, at random."""
    count, bands = image.shape[:2]
    # Drawn on the CPU, so that all devices draw the same.
    low, high = shares
    scale = (low + (high - low) * torch.rand(count)).sqrt()
    center = (2 * torch.rand(count, 2) - 1) * (1 - scale)[:, None]
    mirrored = scale[:, None] * (1.0 - 2.0 * torch.randint(0, 2, (count, 2)))
    turned = torch.rand(count) < 0.5
    theta = torch.zeros(count, 2, 3)
    rows = torch.arange(count)
    theta[rows, 0, turned.long()] = mirrored[:, 0]
    theta[rows, 1, 1 - turned.long()] = mirrored[:, 1]
    theta[:, :, 2] = center
    grid = F.affine_grid(theta, [count, bands, side, side], align_corners=False)
    found = F.grid_sample(
        image, grid.to(image), mode="bilinear", padding_mode="border", align_corners=False
    )
    gain = 1 + GAIN * (2 * torch.rand(count, bands, 1, 1) - 1)
    shift = SHIFT * (2 * torch.rand(count, bands, 1, 1) - 1)
    noise = NOISE * torch.randn(count, bands, side, side)
    return found * gain.to(image) + shift.to(image) + noise.to(image)


class DistillationValidator:
    """How well two overlapping parts of a val tile find each other among those of all val tiles.

    The loss says little, since an encoder that sees the same in all tiles has a low one. This is
    the mean probability of the right tile, by the cosines of the features; by chance it is 1 / B.
    """

    @torch.inference_mode()
    def __call__(self, network: Any, batches: Any, fabric: Fabric) -> Validation | None:
        count = len(batches.dataset)
        if count < 2:
            return None
        network.eval()
        ranks = Ranks.of(fabric)
        both = torch.zeros(2, count, network.head[0].in_features, device=fabric.device)
        with fabric.autocast():
            for number, (image, *_) in enumerate(batches):
                parts = torch.stack([network.features(part) for part in _parts(image)])
                first = number * batches.batch_size * ranks.count + ranks.number
                places = first + ranks.count * torch.arange(len(image), device=fabric.device)
                both[:, places] = parts.float()
        match = matched(*ranks.total(both))
        columns = {"val_match": match, "val_match_by_chance": 1 / count}
        return Validation(match, columns, columns)


def _parts(image: Tensor) -> tuple[Tensor, Tensor]:
    """Two corners of tiles that overlap in their middle, the second one mirrored."""
    side = min(sized(image.shape[-1] * 3 // 4), image.shape[-1])
    return image[..., :side, :side], image[..., -side:, -side:].flip(-1)


def matched(first: Tensor, second: Tensor) -> float:
    """Mean probability (0..1) that features (B, D) give their own tile's in the other part."""
    # What all tiles share tells none from another.
    mean = torch.cat((first, second)).mean(0)
    one, other = (F.normalize(part - mean, dim=1) for part in (first, second))
    chances = (SHARPNESS * one @ other.T).softmax(1).diagonal()
    return float(chances.mean()) if math.isfinite(float(chances.sum())) else math.nan
