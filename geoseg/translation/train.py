"""Train two networks that translate to and fro (CycleGAN, Zhu et al. 2017).

Letters in shapes: N windows, C bands, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from geoseg.outputs.progress import follow
from geoseg.translation.networks import Critic, Generator
from geoseg.translation.settings import TranslateSettings

LAST = 0.1
"""Share of the steps over which what they came to is averaged."""


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    generator: Generator
    """From here to there."""
    returned: float
    """How far patches are from themselves after both ways, in deviations of a band; mean over the
    last steps."""
    added: float
    """By how much the network changes pixels, likewise."""


def train(
    here: np.ndarray, there: np.ndarray, settings: TranslateSettings, *, device: torch.device,
    seed: int,
) -> Trained:  # fmt: skip
    """Train on scaled windows (N, C, H, W) of the two archives."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    bands = here.shape[1]
    to, fro = (Generator(bands, settings.width).to(device) for _ in range(2))
    of_there, of_here = (Critic(bands, settings.width).to(device) for _ in range(2))
    makers = [*to.parameters(), *fro.parameters()]
    critics = [*of_there.parameters(), *of_here.parameters()]
    optimizers = [
        torch.optim.Adam(part, settings.learning_rate, betas=(0.5, 0.999))
        for part in (makers, critics)
    ]

    def slower(step: int) -> float:
        return min(1.0, 2 * (1 - step / max(1, settings.steps)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(one, slower) for one in optimizers]
    noted: list[tuple[float, float]] = []
    for _ in follow(range(settings.steps), "train"):
        a, b = (_patches(part, settings, rng).to(device) for part in (here, there))
        fake_b, fake_a = to(a), fro(b)
        back_a, back_b = fro(fake_b), to(fake_a)
        # The paper's absolute difference has its steepest point where these networks begin, at no
        # change at all, and kept them there.
        returned = F.smooth_l1_loss(back_a, a) + F.smooth_l1_loss(back_b, b)
        kept = F.smooth_l1_loss(to(b), b) + F.smooth_l1_loss(fro(a), a)
        for part in critics:
            part.requires_grad_(False)
        looks = _squared(of_there(fake_b), 1) + _squared(of_here(fake_a), 1)
        loss = looks + settings.cycle * returned + settings.identity * kept
        _step(optimizers[0], loss)
        for part in critics:
            part.requires_grad_(True)
        told = _squared(of_there(b), 1) + _squared(of_there(fake_b.detach()), 0)
        told = told + _squared(of_here(a), 1) + _squared(of_here(fake_a.detach()), 0)
        _step(optimizers[1], told / 2)
        for schedule in schedules:
            schedule.step()
        with torch.no_grad():
            lost = (F.l1_loss(back_a, a) + F.l1_loss(back_b, b)) / 2
            noted.append((float(lost), float(F.l1_loss(fake_b, a))))
    last = noted[-max(1, round(LAST * len(noted))) :] or [(0.0, 0.0)]
    returned_mean, added_mean = np.mean(last, axis=0).tolist()
    return Trained(to.eval(), returned_mean, added_mean)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _squared(said: Tensor, wanted: float) -> Tensor:
    """Least squares instead of logarithms (Mao et al. 2017), as in the paper."""
    return ((said - wanted) ** 2).mean()


def _patches(windows: np.ndarray, settings: TranslateSettings, rng: np.random.Generator) -> Tensor:
    """Patches (batch, C, patch, patch) from anywhere in the windows, turned and mirrored."""
    side = settings.patch
    found = []
    for number in rng.integers(len(windows), size=settings.batch):
        top, left = rng.integers(windows.shape[-1] - side + 1, size=2)
        patch = windows[number, :, top : top + side, left : left + side]
        patch = np.rot90(patch, int(rng.integers(4)), axes=(1, 2))
        found.append(patch[:, ::-1] if rng.random() < 0.5 else patch)
    return torch.from_numpy(np.ascontiguousarray(np.stack(found)))
