"""Losses over labelled pixels, with class weights: what training makes small.

Shapes: B images, K classes, N pixels of an image; logits are (B, K, N) and targets (B, N).
Where several processes share a batch, each has its images of it, and the loss of each is that of
the whole batch: sums over pixels are added up (`Ranks.total`) before anything is divided by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg import settings
from geoseg.classweights import class_weights
from geoseg.legend import IGNORED
from geoseg.ranks import ALONE, Ranks

Term = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits (B, K, N) float32, target (B, N) int64, class weights (K,)) to a number."""
TINY = 1e-7
"""Keeps quotients finite where a class has neither pixels nor probability."""


def build(
    loss: settings.Loss,
    shares: npt.ArrayLike | None = None,
    *,
    names: Sequence[str],
    ranks: Ranks = ALONE,
) -> WeightedSum:
    """The weighted sum of losses that the settings name; `shares` as in `class_weights`.

    ranks: the processes that share each batch.
    Raises: InputError for class weights that do not go with the names of the K classes.
    """
    weights = class_weights(loss.class_weights, shares, names=names)
    losses: dict[str, Callable[..., Tensor]] = {
        "cross_entropy": partial(cross_entropy, smoothing=loss.label_smoothing or 0.0),
        "focal": partial(focal, gamma=loss.focal_gamma),
        "dice": partial(tversky, alpha=0.5, beta=0.5),
        "tversky": partial(tversky, alpha=loss.tversky_alpha, beta=loss.tversky_beta),
        "lovasz": lovasz,
        "bootstrapped": partial(
            bootstrapped, beta=loss.own_beta, hard=loss.bootstrap_target == "hard"
        ),
        "symmetric": partial(
            symmetric,
            alpha=loss.symmetric_alpha,
            beta=loss.symmetric_beta,
            log_zero=loss.symmetric_log_zero,
        ),
    }
    wanted = [(share, losses[name]) for name, share in loss.own_terms.items() if share > 0]
    terms = [(share, partial(term, ranks=ranks)) for share, term in wanted]
    return WeightedSum(terms, torch.tensor(weights, dtype=torch.float32))


class WeightedSum(nn.Module):
    """Logits (B, K, H, W) and target indices (B, H, W) to one number, in float32.

    Of series, logits are (B, K) and targets (B,): the batch counts as one image of B pixels.
    Pixels of index 255 count for nothing; without any other the loss is 0, with gradients of 0.
    """

    weights: Tensor

    def __init__(self, terms: Sequence[tuple[float, Term]], weights: Tensor) -> None:
        super().__init__()
        self.terms = tuple(terms)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.ndim == 2:
            logits, target = logits.T[None, ..., None], target[None, :, None]
        with torch.autocast(logits.device.type, enabled=False):
            # Planes of classes, not channels_last: on CPU a softmax over few classes is 5 × as
            # fast across planes as along a short last axis.
            flat = logits.float().contiguous().flatten(2)
            indices = target.flatten(1).long()
            parts = [share * term(flat, indices, self.weights) for share, term in self.terms]
            return torch.stack(parts).sum()


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    smoothing: float = 0.0,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Mean over labelled pixels, weighted by class as torch's own, but 0 where there are none."""
    losses = F.cross_entropy(
        logits,
        target,
        weights,
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    total = ranks.total(pixel_weights(target, weights).sum())
    # Smoothing spreads the target of a pixel whose own class weighs nothing, too.
    return ranks.total(losses.sum()) * (total > 0) / total.clamp(min=TINY)


def focal(
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    gamma: float = 2.0,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Cross-entropy times (1 - p)^gamma: easy pixels count less (Lin et al. 2017)."""
    log_p = at_class(logits.log_softmax(1), target)
    # For gamma below 1 the power has no slope at 0; expm1 keeps 1 - p exact near it.
    miss = (-torch.expm1(log_p)).clamp(min=TINY)
    return pixel_mean(-(miss**gamma) * log_p, target, weights, ranks)


def bootstrapped(
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    beta: float = 0.8,
    hard: bool = True,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Cross-entropy with beta of the label, the rest what the network says (Reed et al. 2015).

    What it says is its most probable class or, not hard, its probabilities. Those have a slope too,
    as published (the loss is then beta times cross-entropy plus 1 - beta times entropy): held
    constant, they would only make the slope of cross-entropy smaller by beta.
    """
    log_q = logits.log_softmax(1)
    if hard:
        own = log_q.gather(1, logits.argmax(1, keepdim=True)).squeeze(1)
    else:
        own = (log_q.exp() * log_q).sum(1)
    losses = -beta * at_class(log_q, target) - (1 - beta) * own
    return pixel_mean(losses, target, weights, ranks)


def symmetric(
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
    ranks: Ranks = ALONE,
) -> Tensor:
    """alpha cross-entropy + beta reverse cross-entropy, which wrong labels mislead less.

    The reverse one, -sum of q log t over the classes, takes log 0 as `log_zero` and so is
    -log_zero (1 - q of the label): bounded, where cross-entropy is not (Wang et al. 2019, eq. 7).
    """
    log_q = at_class(logits.log_softmax(1), target)
    reverse = log_zero * torch.expm1(log_q)
    return pixel_mean(beta * reverse - alpha * log_q, target, weights, ranks)


def tversky(
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    ranks: Ranks = ALONE,
) -> Tensor:
    """1 - TP / (TP + alpha FP + beta FN), softly (Salehi et al. 2017); dice at 0.5 and 0.5.

    Mean over the classes that the batch has labels of: to miss an absent one is no fault, and to
    see it where it is not is already a false negative of another.
    """
    p = logits.softmax(1)
    is_class = one_hot(target, len(weights))
    pixels = ranks.total(is_class.sum((0, 2)))
    hits = ranks.total(torch.where(is_class, p, 0).sum((0, 2)))
    seen = ranks.total(torch.where((target != IGNORED).unsqueeze(1), p, 0).sum((0, 2)))
    union = hits + alpha * (seen - hits) + beta * (pixels - hits)
    return class_mean(1 - hits / union.clamp(min=TINY), pixels, weights)


def lovasz(logits: Tensor, target: Tensor, weights: Tensor, *, ranks: Ranks = ALONE) -> Tensor:
    """Lovász-softmax: the convex extension of 1 - IoU (Berman et al. 2018), over the whole batch.

    Mean over the classes that the batch has labels of. The order of errors is that of all pixels,
    so each process gathers and sorts those of all: K numbers per pixel.
    """
    p = logits.softmax(1).transpose(0, 1).flatten(1)
    is_class = one_hot(target, len(weights)).transpose(0, 1).flatten(1)
    pixels = ranks.total(is_class.sum(1))
    present = pixels.nonzero().squeeze(1)
    p, is_class = p.index_select(0, present), is_class.index_select(0, present)
    errors = torch.where(is_class, 1 - p, p)
    slopes = lovasz_slopes(
        ranks.everywhere(errors).transpose(0, 1).flatten(1),
        ranks.everywhere(is_class).transpose(0, 1).flatten(1),
        ranks.everywhere(target.flatten() != IGNORED).flatten(),
    )
    own = slopes.unflatten(1, (ranks.count, -1))[:, ranks.number]
    return class_mean(ranks.total((errors * own).sum(1)), pixels[present], weights[present])


def lovasz_slopes(errors: Tensor, is_class: Tensor, known: Tensor) -> Tensor:
    """Slope of the extended 1 - IoU in each error; all (classes, pixels), 0 where not known.

    In order of falling error each pixel takes what the Jaccard loss gains by adding it to the
    mistakes so far (Berman et al. 2018, eq. 8 and 9). That gain is written out, not taken as a
    difference of losses, in which float32 would leave few digits among many pixels.
    """
    order = errors[:, known].argsort(1, descending=True)
    missed = is_class[:, known].gather(1, order)
    others = (~missed).cumsum(1)
    all_pixels = missed.sum(1, keepdim=True)
    union = (all_pixels + others).to(errors.dtype)
    rank = torch.arange(1, order.shape[1] + 1, device=order.device)
    left = (all_pixels - (rank - others)).to(errors.dtype)
    gain = torch.where(missed, 1 / union, left / (union * (union - 1)))
    slopes = torch.zeros_like(errors)
    slopes[:, known] = torch.zeros_like(gain).scatter(1, order, gain)
    return slopes


def at_class(values: Tensor, target: Tensor) -> Tensor:
    """Of values (B, K, N) those of each pixel's class (B, N); of class 0 where ignored."""
    known = target.where(target != IGNORED, 0)
    return values.gather(1, known.unsqueeze(1)).squeeze(1)


def pixel_mean(losses: Tensor, target: Tensor, weights: Tensor, ranks: Ranks) -> Tensor:
    """Mean of the losses (B, N) over labelled pixels of all processes, weighted by class."""
    weight = pixel_weights(target, weights)
    total = ranks.total(weight.sum())
    return ranks.total((weight * losses).sum()) / total.clamp(min=TINY)


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Target (B, N) as booleans (B, K, N); ignored pixels are of no class."""
    codes = torch.arange(classes, device=target.device)
    return target.unsqueeze(1) == codes.unsqueeze(1)


def pixel_weights(target: Tensor, weights: Tensor) -> Tensor:
    """Each pixel's class weight, like the target; 0 for ignored ones."""
    known = target != IGNORED
    return torch.where(known, weights[target.where(known, 0)], 0)


def class_mean(losses: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the losses (K,) of classes that have pixels."""
    counted = torch.where(pixels > 0, weights, 0)
    return (losses * counted).sum() / counted.sum().clamp(min=TINY)
