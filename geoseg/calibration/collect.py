"""Collect blended probabilities of labelled pixels, block by block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from geoseg.calibration.fit import Pixels
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.legend import IGNORED
from geoseg.models import suitability
from geoseg.outputs.progress import Progress
from geoseg.prediction.backends.runner import TORCH
from geoseg.prediction.blend import Rows
from geoseg.prediction.layers import Made
from geoseg.prediction.network import TrainedNetwork
from geoseg.prediction.panels import Broken, Panel, cut
from geoseg.prediction.worker import Worker
from geoseg.samples.fitted import check_units
from geoseg.scenes.neighbours import places
from geoseg.scenes.scene import Scene

SHARES = "shares"
SEED = 1


@dataclass(frozen=True)
class Block:
    """A part of a scene's val region."""

    scene: Scene
    window: Window


def blocks_of(dataset: Dataset, split: str, network: TrainedNetwork, side: int) -> list[Block]:
    """The regions of a split, cut into blocks of about `side` pixels at most.

    Raises: InputError if there are none, or scenes do not suit the network.
    """
    homes = sorted(
        {(t.scene, t.home) for t in dataset.tiles(split)},
        key=lambda one: (one[0], one[1].top, one[1].left),
    )
    if not homes:
        raise InputError(f"split={split}: {dataset.folder} has no tiles of it; choose another")
    scenes: dict[str, Scene] = {}
    for scene in dataset.scenes:
        if any(scene.name == name for name, _ in homes):
            fitting = suitability.fit(scene, network.card)
            if not isinstance(fitting, Scene):
                raise InputError(
                    f"dataset={dataset.folder}: is one of dated maps (unit=map), whose networks"
                    " can't be calibrated yet; predict.threshold works without a calibration"
                )
            scenes[scene.name] = fitting
    return [Block(scenes[name], part) for name, home in homes for part in _parts(home, side)]


def _parts(home: Window, side: int) -> list[Window]:
    rows, columns = (
        np.linspace(0, length, max(1, round(length / side)) + 1).round().astype(int).tolist()
        for length in (home.height, home.width)
    )
    return [
        Window(home.top + top, home.left + left, bottom - top, right - left)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


class _Shares:
    """Keeps the blended probabilities of final rows as they are."""

    def __init__(self, planes: int, device: torch.device) -> None:
        self.planes, self.device = planes, device

    def __call__(self, sums: Tensor) -> Made:
        shares = sums.clone()
        return Made(shares[0], {SHARES: shares}, None)


def collect(
    network: TrainedNetwork, dataset: Dataset, split: str, *, side: int | None, most: int
) -> Pixels:
    """Probabilities and labels of pixels of all blocks; at most about `most`, drawn alike from all.

    side: of blocks; None = two windows.
    Raises: InputError if nothing is labelled, a file is damaged, scenes do not suit the network.
    """
    _check_legend(network, dataset)
    check_units(dataset, network.card)
    size = network.card.tiling.size
    blocks = blocks_of(dataset, split, network, side or 2 * size)
    with raster.environment():
        targets = [_labels(dataset, block) for block in blocks]
    labelled = sum(int((target != IGNORED).sum()) for target in targets)
    if not labelled:
        raise InputError(f"split={split}: no pixel of {dataset.folder} is labelled in it")
    share = min(1.0, most / labelled)
    worker = Worker(network)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with Progress(len(blocks), sum(b.window.area for b in blocks)) as progress:
        for number, (block, target) in enumerate(zip(blocks, targets, strict=True)):
            rng = np.random.default_rng([SEED, number])
            chosen = (target != IGNORED) & (rng.random(target.shape) < share)
            parts.append(_of_block(worker, block, target, chosen))
            progress.advance(block.window.area)
    counts = [len(truth) for _, truth in parts]
    if not sum(counts):
        raise InputError(f"split={split}: no labelled pixel of {dataset.folder} has an image")
    return _joined(blocks, parts, counts, len(network.card.legend))


def _joined(
    blocks: Sequence[Block],
    parts: list[tuple[np.ndarray, np.ndarray]],
    counts: list[int],
    classes: int,
) -> Pixels:
    numbers = np.cumsum(np.array(counts) > 0) - 1  # blocks without a pixel are none
    names = [block.scene.name for block in blocks]
    used = [name for name, count in zip(names, counts, strict=True) if count]
    scenes = list(dict.fromkeys(used))
    block = np.repeat(numbers, counts)
    group = block
    if len(scenes) > 1:
        group = np.repeat([scenes.index(n) if n in scenes else 0 for n in names], counts)
    made = np.concatenate([shares for shares, _ in parts])
    return Pixels(
        _shares(made[:, :classes]),
        np.concatenate([truth for _, truth in parts]).astype(np.int64),
        block.astype(np.int64),
        group.astype(np.int64),
        made[:, classes:] if made.shape[1] > classes else None,
    )


def _check_legend(network: TrainedNetwork, dataset: Dataset) -> None:
    own, other = network.card.legend, dataset.legend
    if (own.codes, own.names) != (other.codes, other.names):
        raise InputError(
            f"dataset={dataset.folder}: has the classes {', '.join(other.names)}, the network"
            f" {', '.join(own.names)}; calibrate on labels of the network's classes"
        )


def _labels(dataset: Dataset, block: Block) -> np.ndarray:
    """Indices (height, width) of a block, IGNORED without label."""
    with raster.Raster(dataset.target(block.scene.name)) as file:
        return dataset.legend.encode(file.read(block.window)[0][0])


def _of_block(
    worker: Worker, block: Block, target: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and scores (n, K + S), and labels (n,), of the chosen pixels of a block.

    The network sees half a window around the block, too, as it would in the whole scene.
    """
    card = worker.network.card
    size, knowing = card.tiling.size, worker.network.knowing
    planes = len(card.legend) + (0 if knowing is None else knowing.score_planes)
    wide = block.window.grow(size // 2).intersect(block.scene.grid.window)
    assert wide is not None
    scene = replace(block.scene, grid=block.scene.grid.crop(wide))
    place = places([scene], card.tiling, halo=False)[0]
    memory = worker.network.running.memory
    panels: list[Panel] = cut(scene, place, size, classes=planes, memory=memory)
    inside = block.window.within(wide)
    wanted, labels = (
        np.zeros((wide.height, wide.width), bool),
        np.zeros((wide.height, wide.width), np.uint8),
    )
    wanted[inside], labels[inside] = chosen, target
    found: list[tuple[np.ndarray, np.ndarray]] = []

    def emit(rows: Rows | Broken) -> None:
        if isinstance(rows, Broken):
            raise rows.error
        height, width = rows.valid.shape
        part = slice(rows.top, rows.top + height), slice(rows.panel.left, rows.panel.left + width)
        mine = wanted[part] & rows.valid
        shares = rows.layers[SHARES].cpu().numpy()[:, mine].T
        found.append((shares, labels[part][mine]))

    make = _Shares(planes, worker.device.torch)
    worker.blend(panels, backend=TORCH, make=make, emit=emit, seconds=defaultdict(float))
    if not found:
        return np.zeros((0, planes), np.float32), np.zeros(0, np.uint8)
    shares, truth = (np.concatenate(column) for column in zip(*found, strict=True))
    return _sound(shares, block), truth


def _sound(shares: np.ndarray, block: Block) -> np.ndarray:
    if not np.isfinite(shares).all():
        raise InputError(
            f"scene {block.scene.name}: the network gives no number (NaN) here; try"
            " predict.precision=32"
        )
    return shares


def _shares(blended: np.ndarray) -> np.ndarray:
    """Probabilities (n, K) float32 whose sums are 1."""
    return np.ascontiguousarray(blended / blended.sum(axis=1, keepdims=True), np.float32)
