"""Learn what clicks mean, from clicks that a simulated person makes into wrong places of maps.

Letters of shapes: B tiles, K classes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from geoseg.evaluation.accuracy import Scores
from geoseg.geo.legend import IGNORED
from geoseg.models.clicks import near
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import Ranks
from geoseg.training.run.history import Validation
from geoseg.training.validation import SegmentationValidator, confusion, inputs

MOST = 4
"""Clicks into a tile at the first look at most; later ones are of one each."""
LOOKS = 2
"""Looks at a map in training at most: the second finds what the first clicks spoilt."""
DEEPEST = 0.5
"""Share of the clicks that go to the middle of what is wrong; the others into any of it."""
CONFIRMED = 0.3
"""Chance of a click into what is right, which must stay so."""
SMALLEST = 9
"""Pixels of a wrong part that somebody clicks at."""
JUDGED = 3
"""Clicks into each val tile, one after the other, for val_miou_clicks."""


class SimulatedPerson:
    """Clicks into connected wrong parts of maps whose labels are known."""

    def __init__(
        self, target: Tensor, random: np.random.Generator | None = None, *, rounds: int = 1
    ) -> None:
        """target: (B, H, W) indices, IGNORED where nobody knows.

        random: draws parts by their size, places in them, and how many; without, each look brings
        one click, into the middle of the largest part.
        """
        self.rounds = rounds
        self._target = target.cpu().numpy()
        self._random = random
        self._places: list[list[tuple[int, int, int]]] = [[] for _ in self._target]

    def __call__(self, logits: Tensor) -> Tensor:
        """As `Person`: further clicks, and the channels (B, K, H, W) of all."""
        classes = logits.argmax(dim=1).cpu().numpy()
        for places, index, target in zip(self._places, classes, self._target, strict=True):
            places += self._look(index, target, first=not places)
        made = [_channels(p, self._target.shape[1:], logits.shape[1]) for p in self._places]
        return torch.from_numpy(np.stack(made)).to(logits)

    def _look(
        self, index: np.ndarray, target: np.ndarray, *, first: bool
    ) -> list[tuple[int, int, int]]:
        """Clicks (class, row, column) into a map (H, W)."""
        parts, random = wrong_parts(index, target), self._random
        if random is None:
            return [_deepest(*max(parts, key=_size))] if parts else []
        made: list[tuple[int, int, int]] = []
        if parts:
            sizes = np.array([_size(part) for part in parts], float)
            count = min(len(parts), int(random.integers(1, MOST + 1)) if first else 1)
            chosen = random.choice(len(parts), count, replace=False, p=sizes / sizes.sum())
            made += [_place(parts[int(number)], random) for number in chosen]
        if random.random() < CONFIRMED:
            rows, columns = np.nonzero((index == target) & (target != IGNORED))
            if len(rows):
                n = int(random.integers(len(rows)))
                made.append((int(target[rows[n], columns[n]]), int(rows[n]), int(columns[n])))
        return made


Part = tuple[int, np.ndarray, tuple[slice, slice]]
"""Class by the labels, mask (h, w) bool, and where it lies."""


def wrong_parts(index: np.ndarray, target: np.ndarray) -> list[Part]:
    """Connected parts, of one class by the labels, that a map (H, W) has wrong."""
    from scipy.ndimage import find_objects, label  # half as slow as all of geoseg

    wrong = (index != target) & (target != IGNORED)
    found: list[Part] = []
    for code in np.unique(target[wrong]).tolist():
        numbers, _ = label(wrong & (target == code))
        for number, box in enumerate(find_objects(numbers), 1):
            mask = numbers[box] == number
            if mask.sum() >= SMALLEST:
                found.append((code, mask, box))
    return found


def _size(part: Part) -> int:
    return int(part[1].sum())


def _depth(mask: np.ndarray) -> np.ndarray:
    """Pixels (h, w) to the edge of a part."""
    from scipy.ndimage import distance_transform_edt  # half as slow as all of geoseg

    return np.asarray(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1])


def _deepest(code: int, mask: np.ndarray, box: tuple[slice, slice]) -> tuple[int, int, int]:
    row, column = np.unravel_index(int(_depth(mask).argmax()), mask.shape)
    return code, box[0].start + int(row), box[1].start + int(column)


def _place(part: Part, random: np.random.Generator) -> tuple[int, int, int]:
    code, mask, box = part
    if random.random() < DEEPEST:
        return _deepest(code, mask, box)
    rows, columns = np.nonzero(mask)
    n = int(random.integers(len(rows)))
    return code, box[0].start + int(rows[n]), box[1].start + int(columns[n])


def _channels(
    places: list[tuple[int, int, int]], shape: tuple[int, int], classes: int
) -> np.ndarray:
    """Channels (K, H, W) of clicks, as models.clicks.encode makes them."""
    made = np.zeros((classes, *shape), np.float32)
    for code, row, column in places:
        distance = np.hypot(*np.ogrid[-row : shape[0] - row, -column : shape[1] - column])
        np.maximum(made[code], near(distance), out=made[code])
    return made


class Clicks(Supervised):
    """Batches (image, target): the loss of maps with clicks, near these, and of those without."""

    def __init__(self, criterion: nn.Module, *, only: bool = False) -> None:
        """criterion: (output, target) → scalar. only: leave out the loss without clicks."""
        super().__init__(criterion)
        self._only = only

    def forward(self, model: nn.Module, teacher: nn.Module, batch: Any, progress: float) -> Tensor:
        image, target = batch
        # Of torch's generator, so that a training that was stopped goes on with the same clicks.
        random = np.random.default_rng(int(torch.randint(2**31, ())))
        rounds = int(random.integers(1, LOOKS + 1))
        asked = _Remembered(SimulatedPerson(target, random, rounds=rounds))
        plain, shown = model(*inputs(image), asked).chunk(2)
        touched = asked.channels.any(dim=1)
        loss: Tensor = self.criterion(shown, target.masked_fill(~touched, IGNORED))
        if not self._only:
            loss = loss + self.criterion(plain, target)
        with torch.no_grad():
            counts = confusion(plain, target)
            self.counts = counts if self.counts is None else self.counts + counts
        return loss


class _Remembered:
    """A person whose last channels are kept."""

    def __init__(self, person: SimulatedPerson) -> None:
        self.rounds = person.rounds
        self.channels = torch.empty(0)
        self._person = person

    def __call__(self, logits: Tensor) -> Tensor:
        self.channels = self._person(logits)
        return self.channels


class ClicksValidator(SegmentationValidator):
    """Scores without clicks and after some; those without decide, unless only clicks are learnt."""

    def __init__(
        self,
        names: list[str],
        metric: Callable[[np.ndarray], Any] | None = None,
        *,
        only: bool = False,
    ) -> None:
        super().__init__(names, metric)
        self._only = only

    @torch.inference_mode()
    def __call__(self, network: nn.Module, batches: Any, fabric: Fabric) -> Validation | None:
        made = super().__call__(network, batches, fabric)
        if made is None:
            return None
        classes = len(self._names)
        counts = torch.zeros(classes, classes, dtype=torch.int64, device=fabric.device)
        with fabric.autocast():
            for image, target in batches:
                person = SimulatedPerson(target, rounds=JUDGED)
                _, shown = network(*inputs(image), person).chunk(2)
                counts += confusion(shown, target)
        total = Ranks.of(fabric).total(counts).cpu().numpy()
        miou = Scores.of(total, self._names).miou
        return replace(
            made,
            score=miou if self._only else made.score,
            columns=made.columns | {"val_miou_clicks": miou},
        )
