"""Change images so that a network errs, by a network's own gradients.

A change is bounded in each value (l∞) by ε standard deviations of the band. Each attack keeps, for
each image, the change with the largest loss, no change among them. Letters in shapes: B images,
C bands, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.geo.legend import IGNORED
from geoseg.samples.corruptions import Levels

STRIDE = 2.5
"""Of all steps together, in ε: so far a change can turn back (Madry et al. 2018)."""
Weigh = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""(logits, cross-entropies (B, H, W), truth, share of the steps done) → what a step makes large."""


@dataclass(frozen=True)
class Victim:
    """Images, what is true of them, and the network that is to err."""

    network: nn.Module
    """(B, C, H, W) → logits (B, K, H, W), in evaluation mode."""
    image: Tensor
    """(B, C, H, W) float32."""
    valid: Tensor
    """(B, H, W) bool: where values may change."""
    truth: Tensor
    """(B, H, W) indices, 255 = ignored."""

    def logits(self, image: Tensor) -> Tensor:
        made: Tensor = self.network(image)
        return made.float()

    def losses(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy (B,) of the labelled pixels of each image; 0 without any."""
        each = entropies(logits, self.truth)
        return each.sum((1, 2)) / (self.truth != IGNORED).sum((1, 2)).clamp(min=1)

    def gradient(self, image: Tensor, weigh: Weigh, share: float) -> tuple[Tensor, Tensor]:
        """Gradient by the image of what is to be made large, and the losses (B,) there."""
        image = image.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(image)
            each = entropies(logits, self.truth)
            worth = weigh(logits, each, self.truth, share).sum()
            (found,) = torch.autograd.grad(worth, image)
        return found, self.losses(logits.detach())


class Worst:
    """The images with the largest losses so far."""

    def __init__(self, victim: Victim) -> None:
        self.image = victim.image.clone()
        with torch.no_grad():
            self.loss = victim.losses(victim.logits(victim.image))

    def keep(self, image: Tensor, loss: Tensor) -> None:
        better = loss > self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.image = torch.where(better[:, None, None, None], image, self.image)


def entropies(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of each pixel (B, H, W), 0 where ignored."""
    return F.cross_entropy(logits, truth.long(), ignore_index=IGNORED, reduction="none")


def plain(logits: Tensor, each: Tensor, truth: Tensor, share: float) -> Tensor:
    """Cross-entropy itself."""
    return each


def wrong_later(logits: Tensor, each: Tensor, truth: Tensor, share: float) -> Tensor:
    """SegPGD (Gu et al. 2022, eq. 4): wrong pixels count from 0 at the start to half at the end."""
    weight = share / 2
    right = logits.argmax(1) == truth
    return torch.where(right, (1 - weight) * each, weight * each)


def by_likeness(logits: Tensor, each: Tensor, truth: Tensor, share: float) -> Tensor:
    """CosPGD (Agnihotri et al. 2024, eq. 6): by the cosine of prediction and label."""
    shares = logits.detach().softmax(1)
    known = truth.long().where(truth != IGNORED, 0)
    own = shares.gather(1, known[:, None])[:, 0]
    return each * own / shares.norm(dim=1).clamp(min=1e-12)


WEIGHS: dict[str, Weigh] = {"pgd": plain, "segpgd": wrong_later, "cospgd": by_likeness}


def fgsm(victim: Victim, epsilon: float) -> Tensor:
    """One step of full size (Goodfellow et al. 2015): (B, C, H, W)."""
    worst = Worst(victim)
    gradient, _ = victim.gradient(victim.image, plain, 0.0)
    changed = victim.image + epsilon * gradient.sign() * victim.valid[:, None]
    with torch.no_grad():
        worst.keep(changed, victim.losses(victim.logits(changed)))
    return worst.image


def stepwise(
    victim: Victim,
    epsilon: float,
    *,
    steps: int,
    weigh: Weigh = plain,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient ascent from a random start (Madry et al. 2018): (B, C, H, W).

    generator: of the start, on the CPU.
    """
    worst = Worst(victim)
    free = victim.valid[:, None].to(victim.image.dtype)
    start = torch.rand(victim.image.shape, generator=generator).to(victim.image.device)
    change = (2 * start - 1) * epsilon * free
    for number in range(steps):
        changed = victim.image + change
        gradient, loss = victim.gradient(changed, weigh, number / steps)
        worst.keep(changed, loss)
        change = change + (STRIDE * epsilon / steps) * gradient.sign()
        change = change.clamp(-epsilon, epsilon) * free
    changed = victim.image + change
    with torch.no_grad():
        worst.keep(changed, victim.losses(victim.logits(changed)))
    return worst.image


def attack(
    name: str, victim: Victim, epsilon: float, *, steps: int, generator: torch.Generator
) -> Tensor:
    """Images changed by one of fgsm, pgd, segpgd and cospgd."""
    if name == "fgsm":
        return fgsm(victim, epsilon)
    return stepwise(victim, epsilon, steps=steps, weigh=WEIGHS[name], generator=generator)


def universal(victims: Sequence[Victim], epsilon: float, *, steps: int) -> Tensor:
    """One change (C, H, W) for all images together; 0 if none makes their loss larger.

    Sign gradient ascent on the sum of the losses (Shafahi et al. 2020).
    """
    change = torch.zeros_like(victims[0].image[0])
    best, largest = change, -1.0
    for number in range(steps + 1):
        total, gradient = 0.0, torch.zeros_like(change)
        for victim in victims:
            free = victim.valid[:, None]
            found, loss = victim.gradient(victim.image + change * free, plain, 0.0)
            gradient += (found * free).sum(0)
            total += float(loss.sum())
        if total > largest:
            best, largest = change, total
        if number < steps:
            change = (change + STRIDE * epsilon / steps * gradient.sign()).clamp(-epsilon, epsilon)
    return best


def with_universal(victim: Victim, change: Tensor) -> Tensor:
    """The images with the change where they are valid."""
    return victim.image + change * victim.valid[:, None]


def patch(victim: Victim, share: float, levels: Levels, *, steps: int) -> tuple[Tensor, Tensor]:
    """A square in the middle of each image whose values are those that mislead most.

    share: of the image's area. levels: between which its values lie.
    Returns: the images (B, C, H, W), and the truth without what the square hides (B, H, W): what
    counts is how far it reaches beyond itself.
    """
    height, width = victim.truth.shape[-2:]
    side = max(1, round((share * height * width) ** 0.5))
    side = min(side, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    inside = torch.zeros((height, width), dtype=torch.bool, device=victim.truth.device)
    inside[top : top + side, left : left + side] = True
    beside = Victim(
        victim.network, victim.image, victim.valid,
        victim.truth.where(~inside, IGNORED),
    )  # fmt: skip
    low, high = (
        torch.as_tensor(value, dtype=torch.float32, device=victim.image.device)
        for value in (levels.dark, levels.bright)
    )
    middle = ((low + high) / 2).expand(victim.image.shape[1:])
    changed = torch.where(inside, middle, victim.image)
    worst = Worst(beside)
    worst.image, worst.loss = changed, torch.full_like(worst.loss, -1.0)
    for number in range(steps):
        gradient, loss = beside.gradient(changed, plain, number / steps)
        worst.keep(changed, loss)
        moved = changed + STRIDE / steps * (high - low) / 2 * gradient.sign()
        moved = torch.maximum(torch.minimum(moved, high), low)
        changed = torch.where(inside, moved, victim.image)
    with torch.no_grad():
        worst.keep(changed, beside.losses(beside.logits(changed)))
    return worst.image, beside.truth
