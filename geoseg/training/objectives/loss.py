"""Losses over labelled pixels, with class weights.

Shapes: B images, K classes, N pixels of an image; logits are (B, K, N) and targets (B, N).
Where several processes share a batch, each has its images of it, and the loss of each is that of
the whole batch: sums over pixels are added up (`Ranks.total`) before anything is divided by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import Faults, InputError
from geoseg.geo.legend import IGNORED, composed
from geoseg.training.objectives import settings
from geoseg.training.processes.ranks import ALONE, Ranks

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
        "hinge": hinge,
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


def hinge(logits: Tensor, target: Tensor, weights: Tensor, *, ranks: Ranks = ALONE) -> Tensor:
    """How far the label's score is from being 1 above all others (Crammer & Singer 2001).

    Of two classes it is the support vector machine's, of the difference of their scores.
    """
    others = logits.masked_fill(one_hot(target, len(weights)), -torch.inf).amax(1)
    losses = (1 - at_class(logits, target) + others).clamp(min=0)
    return pixel_mean(losses, target, weights, ranks)


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


def symmetric(  # noqa: PLR0913 the three numbers are the paper's
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


TEMPER = 0.25
"""Power of the inverse share that is a tempered weight."""
LARGEST_RATIO = 100.0
"""Of two computed class weights: a class of a handful of pixels must not drown all others."""


def class_weights(
    choice: Any, shares: npt.ArrayLike | None = None, *, names: Sequence[str]
) -> list[float]:
    """A weight for each class: all 1, as given by name, or computed from its share of pixels.

    `inverse` is 1 / share, `tempered` its fourth root, which lifts rare classes without letting
    them drown the others. `median` is the median frequency over the class's own, where a class's
    frequency is its share in the tiles that have it (Eigen & Fergus 2015). `shares` of the train
    split are (K,), or better (tiles, K) pixels: with (K,) alone every class counts as being in
    every tile, and median is inverse by another factor, which no loss here heeds. A class without
    pixels gets 1; the others have mean 1, and none more than 100 times another.
    Raises: InputError for names that are not the legend's, or weights that are not numbers.
    """
    if isinstance(choice, Mapping):
        return given_weights(choice, names)
    if choice in ("none", "auto"):  # auto: the recipe of a training has said otherwise by now
        return [1.0] * len(names)
    if choice not in settings.CLASS_WEIGHTS or shares is None:
        reason = "the class shares are not known" if shares is None else "unknown"
        raise InputError(
            f"loss.class_weights={choice}: {reason}; give none or a weight for each class:"
            f" {{{', '.join(f'{name}: 1' for name in names)}}}"
        )
    pixels = np.atleast_2d(np.asarray(shares, dtype=np.float64))
    if pixels.shape[1] != len(names):
        raise ValueError(f"shares of {pixels.shape[1]} classes for {len(names)} names")
    around = pixels > 0 if choice == "median" else np.ones_like(pixels, dtype=bool)
    totals = np.where(around, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    occurs = pixels.sum(axis=0) > 0
    weights = np.ones(len(names))
    if occurs.any():
        inverse = totals[occurs] / pixels.sum(axis=0)[occurs]
        if choice == "tempered":
            inverse = inverse**TEMPER
        inverse = inverse.clip(max=LARGEST_RATIO * inverse.min())
        weights[occurs] = inverse / inverse.mean()
    return [float(weight) for weight in weights]


def given_weights(choice: Mapping[Any, Any], names: Sequence[str]) -> list[float]:
    """Weights in the order of the classes, from a mapping by name.

    Raises: InputError for unknown or missing names, or weights that are not numbers.
    """
    faults = Faults()
    choice = {composed(str(name)): weight for name, weight in choice.items()}
    for name, weight in choice.items():
        if str(name) not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the legend has {', '.join(names)}"
            faults.add(f"loss.class_weights.{name}: no such class; {hint}")
        elif not isinstance(weight, int | float) or not (0 <= weight < math.inf):
            faults.add(f"loss.class_weights.{name}={weight}: must be a number of at least 0")
    by_name = {str(name): weight for name, weight in choice.items()}
    missing = [name for name in names if name not in by_name]
    if missing:
        faults.add(f"loss.class_weights: no weight for {', '.join(missing)}; give each class one")
    faults.raise_if_any()
    if not any(by_name.values()):
        raise InputError("loss.class_weights: all are 0; give at least one class a weight above 0")
    return [float(by_name[name]) for name in names]
