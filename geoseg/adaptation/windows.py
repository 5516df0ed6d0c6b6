"""Draw windows of the other place, and count what two networks make of them.

Letters in shapes: N windows, C bands, K classes, H and W.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import numpy as np
import torch
from torch import nn

from geoseg.adaptation.settings import LEAST
from geoseg.dataset.unlabelled import SceneTile, cut
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.models.device import Device
from geoseg.models.novelty import FeatureNovelty
from geoseg.models.scored import ScoredImages
from geoseg.scenes.bands import BandStatistics, scale
from geoseg.scenes.neighbours import OpenScenes
from geoseg.scenes.scene import Scene

STEP = 32
"""Sides of windows are multiples of this, what most encoders need."""
FULL = 0.5
"""Share of a window's pixels that must be valid: those that are not are 0 to the network."""
SEED = 3
BATCH = 8


def draw(scenes: Sequence[Scene], size: int, most: int) -> list[SceneTile]:
    """Windows with enough valid pixels, of all scenes alike, in an order that mixes these.

    size: side in pixels. most: windows at most.
    Raises: InputError if there are too few.
    """
    side = -(-size // STEP) * STEP
    rng = np.random.default_rng(SEED)
    each = []
    for scene in scenes:
        windows = [scene.grid.whole_window(window, side) for _, window in cut([scene], side)]
        windows = list(dict.fromkeys(windows))
        each.append([(scene, windows[n]) for n in rng.permutation(len(windows))])
    in_turn = [tile for tile in chain.from_iterable(zip_longest(*each)) if tile is not None]
    opened = OpenScenes()
    found: list[SceneTile] = []
    with raster.environment():
        for scene, window in in_turn:
            if len(found) == most:
                break
            if opened.reader(scene).read(window)[1].mean() >= FULL:
                found.append((scene, window))
    if len(found) < LEAST:
        raise InputError(
            f"scenes: {len(found)} windows of {side} px that show anything, {LEAST} are the fewest"
            " that statistics can be measured on; give more scenes"
        )
    return found


@dataclass(frozen=True)
class Images:
    """The windows as a network sees them, batch by batch, read anew each time."""

    tiles: Sequence[SceneTile]
    statistics: BandStatistics
    device: Device

    def __iter__(self) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """Images (N, C, H, W) on the device and where they are valid (N, H, W)."""
        opened = OpenScenes()
        count = -(-len(self.tiles) // BATCH)
        for numbers in np.array_split(np.arange(len(self.tiles)), count):
            images, valids = [], []
            with raster.environment():
                for number in numbers:
                    scene, window = self.tiles[number]
                    image, valid = opened.reader(scene).read(window)
                    images.append(scale(image, valid, self.statistics))
                    valids.append(valid)
            stacked = torch.from_numpy(np.stack(images)).to(self.device.torch)
            yield stacked.contiguous(memory_format=torch.channels_last), np.stack(valids)


@dataclass
class Comparison:
    """What the network made of the windows before and after."""

    classes: int
    pixels: int = 0
    changed: int = 0
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(2))
    """Sums, before and after."""
    novel: np.ndarray | None = None
    """Pixels beyond all that the network knows, before and after; None = it does not say."""
    counts: np.ndarray = field(init=False)
    """Pixels (2, K) of each class, before and after."""

    def __post_init__(self) -> None:
        self.counts = np.zeros((2, self.classes), np.int64)

    def add(self, before: np.ndarray, after: np.ndarray, valid: np.ndarray) -> None:
        """before, after: probabilities (N, K, H, W). valid: (N, H, W)."""
        said = [made.argmax(axis=1)[valid] for made in (before, after)]
        self.pixels += int(valid.sum())
        self.changed += int((said[0] != said[1]).sum())
        for when, made in enumerate((before, after)):
            self.confidence[when] += made.max(axis=1)[valid].sum(dtype=float)
            self.counts[when] += np.bincount(said[when], minlength=self.classes)

    @property
    def changed_share(self) -> float:
        return self.changed / self.pixels

    @property
    def confidences(self) -> tuple[float, float]:
        """Means, before and after."""
        before, after = self.confidence / self.pixels
        return float(before), float(after)

    @property
    def shares(self) -> np.ndarray:
        """Of the classes (2, K), before and after."""
        return np.asarray(self.counts / self.pixels)

    @property
    def novel_shares(self) -> tuple[float, float] | None:
        """Of the pixels, before and after; None as of `novel`."""
        if self.novel is None:
            return None
        before, after = self.novel / self.pixels
        return float(before), float(after)


@torch.inference_mode()
def compare(
    networks: tuple[nn.Module, nn.Module],
    images: tuple[Images, Images],
    classes: int,
    known: FeatureNovelty | None = None,
) -> Comparison:
    """What two networks make of the same windows, each scaled as it wants them.

    known: what the first one knows, by which both are told how novel a pixel is.
    """
    found = Comparison(classes, novel=None if known is None else np.zeros(2, np.int64))
    device = images[0].device.torch
    if known is not None:
        before, after = (ScoredImages(network, known).to(device).eval() for network in networks)
        networks = before, after
    for batches in zip(*images, strict=True):
        made, valid = [], batches[0][1]
        for when, (network, (given, _)) in enumerate(zip(networks, batches, strict=True)):
            planes = network(given).float()
            logits, scores = planes[:, :classes], planes[:, classes:]
            if not torch.isfinite(logits).all():
                raise InputError("scenes: the network gives no number (NaN) on them")
            made.append(torch.softmax(logits, dim=1).cpu().numpy())
            if known is not None and found.novel is not None:
                sums = known.sums(scores.movedim(1, -1).cpu().numpy()[valid])
                found.novel[when] += int((sums > known.together[-1]).sum())
        found.add(made[0], made[1], valid)
    return found
