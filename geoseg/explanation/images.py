"""Explain networks for images: which bands count, and where they look.

Letters in shapes: B images, C bands, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.dataset.tiles import Dataset, Tile
from geoseg.errors import InputError
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.explanation.importance import Importance, derangement, importances
from geoseg.explanation.settings import ExplainSettings
from geoseg.geo.grid import Grid
from geoseg.geo.legend import IGNORED
from geoseg.models.card import ModelCard
from geoseg.models.device import choose, enough_memory
from geoseg.prediction.network import TrainedNetwork
from geoseg.samples.fitted import fitted
from geoseg.samples.tiles import ValTiles
from geoseg.scenes.bands import scale

CPU_BATCH, GPU_BATCH = 4, 16
LEAST = 0.01
"""Share of a place from which on a class is explained there."""


@dataclass(frozen=True)
class Place:
    """A tile, as the network sees it."""

    title: str
    grid: Grid
    """Of the tile itself, without context."""
    inner: tuple[slice, slice]
    """Where the tile lies in the arrays."""
    image: np.ndarray
    """(C, H, W) float32, standardised."""
    valid: np.ndarray
    """(H, W)."""
    target: np.ndarray
    """(H, W) indices."""


class Subject:
    """A network for images, and tiles to explain it by."""

    def __init__(self, network: TrainedNetwork, dataset: Dataset, tiles: list[Tile]) -> None:
        """Raises: InputError if the data set does not suit the network."""
        card, running = network.card, network.running
        self.card: ModelCard = card
        self.device = choose(running.device, "32")
        self.network: nn.Module = self.device.place(network.load()).requires_grad_(False)
        self._dataset = fitted(dataset, card)
        self._tiles = ValTiles(self._dataset, tiles=tiles)
        self._halo = dataset.tiling.overlap // 2
        cpu = self.device.torch.type == "cpu"
        self.batch = running.batch_size or (CPU_BATCH if cpu else GPU_BATCH)

    def __len__(self) -> int:
        return len(self._tiles)

    def place(self, number: int) -> Place:
        look, tile = self._tiles.look(number), self._tiles.tiles[number]
        w = tile.window
        return Place(
            f"{tile.scene}, rows {w.top} to {w.bottom}, columns {w.left} to {w.right}",
            look.scene.grid.crop(w),
            (slice(self._halo, self._halo + w.height), slice(self._halo, self._halo + w.width)),
            scale(look.image, look.valid, self.card.statistics),
            look.valid,
            look.target,
        )

    def tensor(self, images: Sequence[np.ndarray]) -> Tensor:
        made = torch.from_numpy(np.stack(images))
        return made.to(self.device.torch, memory_format=torch.channels_last)

    def logits(self, image: Tensor) -> Tensor:
        made: Tensor = self.network(image)
        return made.float()

    def mapped(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Indices (B, H, W) of images (C, H, W)."""
        with torch.inference_mode():
            found = self.logits(self.tensor(images)).argmax(1)
        return found.to(torch.uint8).cpu().numpy()


def band_importance(subject: Subject, settings: ExplainSettings) -> tuple[Scores, list[Importance]]:
    """The scores on all tiles, and how far they fall if tiles get each other's bands.

    Whole tiles are exchanged, so that each band stays what bands look like.
    Raises: InputError if there is but one tile.
    """
    if len(subject) < 2:
        raise InputError(
            "explain.kinds: bands are exchanged between tiles, and there is one; set a split with"
            " more, or leave bands out"
        )
    places = [subject.place(number) for number in range(len(subject))]
    names = subject.card.legend.names

    def score(images: Sequence[np.ndarray]) -> Scores:
        total = np.zeros((len(names), len(names)), np.int64)
        for start in range(0, len(places), subject.batch):
            part = slice(start, start + subject.batch)
            mapped = subject.mapped(images[part])
            truth = np.stack([place.target for place in places[part]])
            total += confusion(truth, np.where(truth == IGNORED, IGNORED, mapped), len(names))
        return Scores.of(total, names)

    def exchanged(bands: list[int], random: np.random.Generator) -> Scores:
        donors = derangement(len(places), random)
        made = []
        for place, donor in zip(places, donors, strict=True):
            image = place.image.copy()
            image[bands] = np.where(place.valid, places[donor].image[bands], 0)
            made.append(image)
        return score(made)

    with enough_memory("predict.batch_size", subject.batch):
        clean = score([place.image for place in places])
        groups = settings.grouped(subject.card.bands)
        judges = [(name, partial(exchanged, bands)) for name, bands in groups.items()]
        found = importances(clean, judges, settings, "bands")
    return clean, sorted(found, key=lambda one: -one.miou)


@dataclass(frozen=True)
class Goal:
    """A class at a place: the pixels that the network gives it."""

    index: int
    name: str
    pixels: np.ndarray
    """(H, W) bool."""


def goals(subject: Subject, place: Place, wanted: Sequence[str]) -> list[Goal]:
    """The classes that the network maps in a place's tile; wanted: of these, () = all."""
    inside = np.zeros(place.valid.shape, bool)
    inside[place.inner] = True
    inside &= place.valid
    mapped = subject.mapped([place.image])[0]
    made = []
    for index, name in enumerate(subject.card.legend.names):
        pixels = inside & (mapped == index)
        if pixels.sum() >= max(1, LEAST * inside.sum()) and (not wanted or name in wanted):
            made.append(Goal(index, name, pixels))
    return made


def worth(logits: Tensor, goal: Goal) -> Tensor:
    """Mean logit of a class over its pixels, of logits (1, K, H, W)."""
    pixels = torch.from_numpy(goal.pixels).to(logits.device)
    return logits[0, goal.index][pixels].mean()


def grad_cam(subject: Subject, place: Place, some: Sequence[Goal]) -> list[np.ndarray]:
    """Seg-Grad-CAM (Vinogradova et al. 2020, eq. 1) in the deepest layer: (H, W) ≥ 0 for each goal.

    Selvaraju et al. 2017 with the mean logit over a class's pixels in the place of a class score.
    """
    image = subject.tensor([place.image])
    with Deepest(subject.network, image) as caught, torch.enable_grad():
        logits = subject.logits(image.requires_grad_())
        features = caught.last
        made = []
        for goal in some:
            (gradient,) = torch.autograd.grad(worth(logits, goal), features, retain_graph=True)
            weights = gradient.mean((2, 3), keepdim=True)
            cam = (weights * features).sum(1, keepdim=True).clamp(min=0).float()
            whole = F.interpolate(cam, place.valid.shape, mode="bilinear", align_corners=False)
            made.append(whole[0, 0].detach().cpu().numpy())
    return made


class Deepest:
    """Context that catches what the last layer of the lowest resolution gives."""

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        """image: to find that layer by. Raises: InputError if no layer gives maps of features."""
        sizes: dict[str, int] = {}
        leaves = {n: m for n, m in network.named_modules() if not next(m.children(), None)}

        def watch(name: str) -> object:
            def hook(_: nn.Module, __: object, made: object) -> None:
                if isinstance(made, Tensor) and made.ndim == 4 and made.shape[2:].numel() > 1:
                    sizes.pop(name, None)
                    sizes[name] = made.shape[2:].numel()

            return leaves[name].register_forward_hook(hook)

        handles = [watch(name) for name in leaves]
        with torch.inference_mode():
            network(image)
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
        if not sizes:
            raise InputError(
                "explain.kinds: gradcam looks at maps of features, and this network's layers give"
                " none; leave it out"
            )
        least = min(sizes.values())
        self.name = [name for name, size in sizes.items() if size == least][-1]
        self.last: Tensor
        self._layer = leaves[self.name]

    def __enter__(self) -> Deepest:
        def keep(_: nn.Module, __: object, made: Tensor) -> None:
            self.last = made

        self._handle = self._layer.register_forward_hook(keep)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()


@dataclass(frozen=True)
class Gradients:
    """Integrated gradients of a class at a place."""

    values: np.ndarray
    """(C, H, W) float32: what each value adds to the mean logit."""
    gap: float
    """Share by which their sum misses the difference that they explain."""


def integrated_gradients(
    subject: Subject, place: Place, some: Sequence[Goal], steps: int
) -> list[Gradients]:
    """Sundararajan et al. 2017, eq. 1, from the bands' means to the image, midpoint rule."""
    image = subject.tensor([place.image])
    sums = [torch.zeros_like(image) for _ in some]
    for number in range(steps):
        between = (image * ((number + 0.5) / steps)).detach().requires_grad_()
        with torch.enable_grad():
            logits = subject.logits(between)
            for total, goal in zip(sums, some, strict=True):
                (gradient,) = torch.autograd.grad(worth(logits, goal), between, retain_graph=True)
                total += gradient / steps
    with torch.inference_mode():
        end, start = subject.logits(image), subject.logits(torch.zeros_like(image))
    made = []
    for total, goal in zip(sums, some, strict=True):
        values = (total * image)[0]
        difference = float(worth(end, goal) - worth(start, goal))
        gap = abs(float(values.double().sum()) - difference) / max(abs(difference), 1e-12)
        made.append(Gradients(values.detach().cpu().numpy(), gap))
    return made


def occlusion(subject: Subject, place: Place, some: Sequence[Goal], side: int) -> list[np.ndarray]:
    """How far a class's mean probability over its pixels falls if a square is put to the bands'
    means (Zeiler & Fergus 2014): (H, W) for each goal, the same within a square."""
    height, width = place.valid.shape
    squares = [
        (slice(top, top + side), slice(left, left + side))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
    masks = [torch.from_numpy(goal.pixels).to(subject.device.torch) for goal in some]

    def probabilities(images: Sequence[np.ndarray]) -> Tensor:
        """(B, goals)."""
        with torch.inference_mode():
            shares = subject.logits(subject.tensor(images)).softmax(1)
        columns = [shares[:, g.index][:, m].mean(1) for g, m in zip(some, masks, strict=True)]
        return torch.stack(columns, dim=1).cpu()

    clean = probabilities([place.image])[0]
    made = [np.zeros((height, width), np.float32) for _ in some]
    for start in range(0, len(squares), subject.batch):
        part = squares[start : start + subject.batch]
        images = [place.image.copy() for _ in part]
        for image, square in zip(images, part, strict=True):
            image[:, square[0], square[1]] = 0
        falls = clean - probabilities(images)
        for square, fall in zip(part, falls, strict=True):
            for out, value in zip(made, fall.tolist(), strict=True):
                out[square] = value
    return made


def mixed(tiles: Sequence[Tile], count: int) -> Iterator[int]:
    """Numbers of the tiles with the most even mixtures of classes."""
    ranked = sorted(range(len(tiles)), key=lambda number: -tiles[number].mixture)
    yield from ranked[:count]
