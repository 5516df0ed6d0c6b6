"""Show a network tiles that have suffered, and count what it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.geo.legend import IGNORED
from geoseg.models.calibration import Calibration
from geoseg.models.device import Device, choose, enough_memory
from geoseg.outputs.progress import follow
from geoseg.prediction.network import TrainedNetwork
from geoseg.robustness import attacks
from geoseg.robustness.attacks import Victim
from geoseg.robustness.settings import GRADIENT, PATCH, UNIVERSAL, StressSettings
from geoseg.robustness.tally import (
    ATTACK,
    NATURAL,
    UNTOUCHED,
    WORST,
    Case,
    Tallies,
    Tally,
)
from geoseg.samples.corruptions import SEVERAL_BANDS, Conditions, Levels, View, corrupted
from geoseg.samples.fitted import fitted
from geoseg.samples.tiles import ValTiles
from geoseg.scenes.bands import scale

CPU_BATCH, GPU_BATCH = 4, 16


class Bench:
    """A network and the tiles that it is shown."""

    def __init__(
        self, network: TrainedNetwork, dataset: Dataset, tiles: list[Tile], settings: StressSettings
    ) -> None:
        """Raises: InputError if the data set does not suit the network."""
        card, running = network.card, network.running
        self.card, self.settings = card, settings
        self.dataset = fitted(dataset, card)
        self.tiles = ValTiles(self.dataset, tiles=tiles)
        self.levels = Levels.of(card.statistics)
        self.device: Device = choose(running.device, running.precision)
        self.network: nn.Module = self.device.place(network.load()).requires_grad_(False)
        self.calibration: Calibration | None = card.calibration
        cpu = self.device.torch.type == "cpu"
        self.batch = running.batch_size or (CPU_BATCH if cpu else GPU_BATCH)

    @property
    def kinds(self) -> list[str]:
        """Those that images of so many bands can suffer."""
        alone = len(self.card.bands) == 1
        return [k for k in self.settings.kinds if not (alone and k in SEVERAL_BANDS)]

    @property
    def strengths(self) -> list[float]:
        count = self.settings.strengths
        return [round((number + 1) / count, 4) for number in range(count)]

    def view(self, number: int) -> View:
        """A tile as the network's training saw it."""
        look = self.tiles.look(number)
        return View(scale(look.image, look.valid, self.card.statistics), look.valid, look.target)

    def corrupted(self, kind: str, number: int, view: View, strength: float) -> View:
        at = Conditions.seeded(self.levels, kind, self.settings.seed, number)
        return corrupted(kind, view, strength, at)

    def victim(self, views: Sequence[View]) -> Victim:
        device = self.device.torch
        return Victim(
            self.network,
            self._tensor(views),
            torch.from_numpy(np.stack([view.valid for view in views])).to(device),
            torch.from_numpy(np.stack([view.target for view in views])).to(device),
        )

    def shares(self, image: Tensor) -> np.ndarray:
        """Probabilities (B, H, W, K) of images (B, C, H, W). Raises: InputError for NaN."""
        with torch.inference_mode(), self.device.autocast():
            logits = self.network(image).float()
        made: np.ndarray = logits.softmax(1).movedim(1, 3).cpu().numpy()
        if not np.isfinite(made).all():
            raise InputError(
                "the network gives no number (NaN) for some tiles; try predict.precision=32"
            )
        return made

    def tallies(self, image: Tensor, targets: Sequence[np.ndarray]) -> list[Tally]:
        """Of each image (B, C, H, W), by its target (H, W)."""
        found = []
        for shares, target in zip(self.shares(image), targets, strict=True):
            known = target != IGNORED
            picked = shares[known]
            if self.calibration is not None:
                picked = self.calibration.apply(picked)
            found.append(Tally.of(picked, target[known]))
        return found

    def of_views(self, views: Sequence[View]) -> list[Tally]:
        return self.tallies(self._tensor(views), [view.target for view in views])

    def _tensor(self, views: Sequence[View]) -> Tensor:
        image = torch.from_numpy(np.stack([view.image for view in views]))
        return image.to(self.device.torch, memory_format=torch.channels_last)


def measure(bench: Bench) -> Tallies:
    """Count what a network makes of its tiles as they are, made worse, and attacked.

    Raises: InputError if it has no gradients, or gives no numbers.
    """
    found = Tallies()
    attackers = [a for a in bench.settings.wanted if a in GRADIENT]
    numbers = range(len(bench.tiles))
    parts = [numbers[i : i + bench.batch] for i in range(0, len(numbers), bench.batch)]
    with enough_memory("predict.batch_size", bench.batch):
        for part in follow(parts, "stress"):
            views = [bench.view(number) for number in part]
            for tally in bench.of_views(views):
                found.add(UNTOUCHED, tally)
            _suffer(bench, part, views, found)
            _attack(bench, part[0], views, attackers, found)
            if PATCH in bench.settings.wanted:
                _patched(bench, views, found)
        if UNIVERSAL in bench.settings.wanted:
            _universal(bench, parts, found)
    return found


def _suffer(bench: Bench, part: range, views: list[View], found: Tallies) -> None:
    for kind in bench.kinds:
        for strength in bench.strengths:
            made = [
                bench.corrupted(kind, number, view, strength)
                for number, view in zip(part, views, strict=True)
            ]
            for tally in bench.of_views(made):
                found.add(Case(NATURAL, kind, strength), tally)


def _attack(
    bench: Bench, first: int, views: list[View], attackers: list[str], found: Tallies
) -> None:
    if not attackers:
        return
    victim, targets = bench.victim(views), [view.target for view in views]
    for epsilon in bench.settings.epsilon:
        by_attack = []
        for name in attackers:
            image = attacked(bench, name, victim, epsilon, first)
            made = bench.tallies(image, targets)
            by_attack.append(made)
            for tally in made:
                found.add(Case(ATTACK, name, epsilon), tally)
        for of_tile in zip(*by_attack, strict=True):
            found.add(Case(ATTACK, WORST, epsilon), min(of_tile, key=lambda t: t.right))


def attacked(bench: Bench, name: str, victim: Victim, epsilon: float, first: int) -> Tensor:
    """Images after an attack on each by itself. first: number of the first of them."""
    generator = torch.Generator().manual_seed(bench.settings.seed * 100_003 + first)
    return attacks.attack(name, victim, epsilon, steps=bench.settings.steps, generator=generator)


def _patched(bench: Bench, views: list[View], found: Tallies) -> None:
    victim = bench.victim(views)
    for share in bench.settings.patch:
        image, truth = attacks.patch(victim, share, bench.levels, steps=bench.settings.steps)
        for tally in bench.tallies(image, list(truth.cpu().numpy())):
            found.add(Case(ATTACK, PATCH, share), tally)


@dataclass
class _Again(Sequence[Victim]):
    """Victims that are made when they are asked for, so that not all tiles are held at once."""

    bench: Bench
    parts: Sequence[range]

    def __getitem__(self, number: Any) -> Any:
        return self.bench.victim([self.bench.view(one) for one in self.parts[number]])

    def __len__(self) -> int:
        return len(self.parts)


def _universal(bench: Bench, parts: Sequence[range], found: Tallies) -> None:
    victims = _Again(bench, parts)
    for epsilon in bench.settings.epsilon:
        change = attacks.universal(victims, epsilon, steps=bench.settings.steps)
        for victim in victims:
            image = attacks.with_universal(victim, change)
            for tally in bench.tallies(image, list(victim.truth.cpu().numpy())):
                found.add(Case(ATTACK, UNIVERSAL, epsilon), tally)


def shown(bench: Bench, number: int, kinds: Sequence[str]) -> Iterator[tuple[str, str, View]]:
    """A tile after each of some kinds at its strongest: kind, what was done, view."""
    view = bench.view(number)
    for kind in kinds:
        if kind in bench.kinds:
            yield kind, "strength 1", bench.corrupted(kind, number, view, 1.0)
    victim = bench.victim([view])
    epsilon = max(bench.settings.epsilon, default=0.0)
    for name in bench.settings.wanted:
        if name == PATCH and bench.settings.patch:
            share = max(bench.settings.patch)
            image, truth = attacks.patch(victim, share, bench.levels, steps=bench.settings.steps)
            made = View(image[0].cpu().numpy(), view.valid, truth[0].cpu().numpy())
            yield name, f"{share:.0%} of the area", made
        elif name in GRADIENT and epsilon:
            image = attacked(bench, name, victim, epsilon, number)
            yield name, f"ε = {epsilon:g}", View(image[0].cpu().numpy(), view.valid, view.target)
