"""Explain networks for series of parcels or pixels: which bands and which dates count.

Letters in shapes: B samples, T dates, S pixels, C bands, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.dataset.samples import Samples, SeriesDataset
from geoseg.errors import InputError
from geoseg.evaluation.accuracy import Scores
from geoseg.explanation.importance import Importance, derangement, importances
from geoseg.explanation.settings import ExplainSettings
from geoseg.models.card import SeriesCard
from geoseg.models.device import choose
from geoseg.models.networks.ltae import LightAttention
from geoseg.models.networks.psetae import TemporalAttention
from geoseg.models.view import Inputs, view_of
from geoseg.prediction.network import TrainedNetwork
from geoseg.samples.series import InOrder, SeriesBatches
from geoseg.scenes.calendar import anchor_of

BATCH = 256
NEAR = 20.0
"""Days by which an exchanged observation may lie apart in time; beyond that there is none."""
YEAR = 2001
"""Not a leap year: for names of days alone."""


@dataclass(frozen=True)
class Period:
    """Days from `first` up to, not including, `end`."""

    name: str
    first: int
    end: int


def periods(card: SeriesCard, days: int) -> list[Period]:
    """The season in parts of so many days, named by their first day."""
    zero = anchor_of(YEAR, card.reference)

    def name(day: int) -> str:
        return (zero + timedelta(day)).strftime("%m-%d")

    starts = range(card.first_day, card.last_day + 1, days)
    return [Period(name(day), day, day + days) for day in starts]


class SeriesSubject:
    """A network for series, and samples to explain it by."""

    def __init__(self, network: TrainedNetwork, samples: Samples, dataset: SeriesDataset) -> None:
        card, running = network.card, network.running
        assert card.series is not None
        self.card = card
        self.device = choose(running.device, "32")
        self.network: nn.Module = self.device.place(network.load()).requires_grad_(False)
        truth = dataset.legend.encode(samples.code.astype(np.uint8)).astype(np.int64)
        view = view_of(card)
        feed = SeriesBatches(dataset.folder, samples, truth, view)
        numbers = np.arange(len(feed))
        if view.each_pixel:
            # One after the other they are of one sample: what they exchange would tell the same.
            numbers = np.random.default_rng(0).permutation(len(feed))
        self.batches: list[tuple[Inputs, Tensor]] = [
            feed[[(int(numbers[place]), 0) for place, _ in draws]]
            for draws in InOrder(len(feed), BATCH)
        ]

    def logits(self, given: Inputs) -> Tensor:
        with torch.inference_mode():
            made: Tensor = self.network(*(part.to(self.device.torch) for part in given))
        return made.float().cpu()

    def scores(self, change: Callable[[Inputs], Inputs]) -> Scores:
        names = self.card.legend.names
        total = np.zeros((len(names), len(names)), np.int64)
        for given, truth in self.batches:
            found = self.logits(change(given)).argmax(1)
            np.add.at(total, (truth.numpy(), found.numpy()), 1)
        return Scores.of(total, names)


def draw(dataset: SeriesDataset, split: str, most: int, seed: int) -> Samples:
    """Samples of a split in random order, at most so many; 0 = all.

    In their own order, often by class or tile, a batch would hold a single class, and what is
    exchanged within it would tell the same as before. Raises: InputError if there are not two.
    """
    samples = dataset.samples(split)
    if len(samples) < 2:
        raise InputError(
            f"split={split}: {dataset.folder} has {len(samples)} samples of it, and they are"
            " exchanged with each other; choose another split"
        )
    order = np.random.default_rng(seed).permutation(len(samples))
    return samples.take(order[: most or None])


def exchange(given: Inputs, donors: Tensor) -> tuple[Tensor, Tensor]:
    """Values (B, T, S, C) and valid (B, T, S) of other samples, on the days and pixels of each.

    donors: (B,) numbers. Of each date the donor's nearest is taken, if it is not too far away.
    """
    values, valid, days, _ = given
    seen = valid.any(2)
    far = torch.full((), float("inf"))
    apart = (days[:, :, None] - days[donors][:, None, :]).abs()
    apart = torch.where(seen[donors][:, None, :] & apart.isfinite(), apart, far)
    distance, nearest = apart.min(2)
    rows = donors[:, None]
    counts = valid[donors].any(1).sum(1).clamp(min=1)
    pixel = torch.arange(valid.shape[2]) % counts[:, None]
    picked = values[rows[..., None], nearest[..., None], pixel[:, None]]
    there = valid[rows[..., None], nearest[..., None], pixel[:, None]]
    return picked, there & (distance <= NEAR)[..., None]


def others_bands(given: Inputs, bands: list[int], random: np.random.Generator) -> Inputs:
    """Each sample with the bands of another one."""
    values, valid, days, shape = given
    if len(values) < 2:
        return given
    picked, there = exchange(given, torch.from_numpy(derangement(len(values), random)))
    values = values.clone()
    taken = torch.where(there[..., None], picked, 0)[..., bands]
    values[..., bands] = torch.where(valid[..., None], taken, values[..., bands])
    return values, valid, days, shape


def others_period(given: Inputs, period: Period, random: np.random.Generator) -> Inputs:
    """Each sample with what another one shows in a period."""
    values, valid, days, shape = given
    if len(values) < 2:
        return given
    picked, there = exchange(given, torch.from_numpy(derangement(len(values), random)))
    within = ((days >= period.first) & (days < period.end))[:, :, None]
    # A sample keeps its number of pixels: what it does not have stays missing.
    own = valid.any(1, keepdim=True)
    valid = torch.where(within, there & own, valid)
    values = torch.where(within[..., None], picked, values)
    return torch.where(valid[..., None], values, 0), valid, days, shape


def band_importance(
    subject: SeriesSubject, settings: ExplainSettings
) -> tuple[Scores, list[Importance]]:
    """The scores of all samples, and how far they fall with each other's bands."""
    clean = subject.scores(lambda given: given)

    def exchanged(bands: list[int], random: np.random.Generator) -> Scores:
        return subject.scores(lambda given: others_bands(given, bands, random))

    groups = settings.grouped(subject.card.bands)
    judges = [(name, partial(exchanged, bands)) for name, bands in groups.items()]
    found = importances(clean, judges, settings, "bands")
    return clean, sorted(found, key=lambda one: -one.miou)


def date_importance(
    subject: SeriesSubject, settings: ExplainSettings
) -> tuple[list[Period], list[Importance]]:
    """How far scores fall if samples get what others show in each period of the season."""
    assert subject.card.series is not None
    parts = periods(subject.card.series, settings.days)
    clean = subject.scores(lambda given: given)

    def exchanged(period: Period, random: np.random.Generator) -> Scores:
        return subject.scores(lambda given: others_period(given, period, random))

    judges = [(period.name, partial(exchanged, period)) for period in parts]
    return parts, importances(clean, judges, settings, "dates")


def attention(subject: SeriesSubject, parts: list[Period]) -> np.ndarray | None:
    """Share of the attention by period and class of the label: (periods, K); None without any.

    The mean over heads and samples; NaN for classes without a sample.
    """
    classes = len(subject.card.legend.names)
    total, count = np.zeros((len(parts), classes)), np.zeros(classes)
    with watched(subject.network) as caught:
        if caught is None:
            return None
        for given, truth in subject.batches:
            caught.clear()
            subject.logits(given)
            weights = torch.cat([part.float().mean(1).cpu() for part in caught])
            _, valid, days, _ = given
            alive = valid.flatten(1).any(1)
            if len(weights) != int(alive.sum()):
                return None
            of = truth[alive].numpy()
            for number, period in enumerate(parts):
                within = (days[alive] >= period.first) & (days[alive] < period.end)
                np.add.at(total[number], of, (weights * within).sum(1).numpy())
            np.add.at(count, of, 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@contextmanager
def watched(network: nn.Module) -> Iterator[list[Tensor] | None]:
    """Context with the attention weights (N, heads, T) of each pass; None if there are none."""
    caught: list[Tensor] = []
    handles = []
    for module in network.modules():
        if isinstance(module, LightAttention):
            handles.append(module.register_forward_hook(lambda _, __, made: caught.append(made[1])))
        elif isinstance(module, TemporalAttention):
            handles.append(
                module.weigh.register_forward_hook(lambda _, __, made: caught.append(made))
            )
    try:
        yield caught if handles else None
    finally:
        for handle in handles:
            handle.remove()
