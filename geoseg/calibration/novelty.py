"""Find out what ground a network knows: from train its features, from val how usual they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from geoseg.calibration.collect import SEED, Block, blocks_of
from geoseg.calibration.fit import Pixels
from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.maps.layers import CONFIDENCE, NOVELTY
from geoseg.models.looks import MOST_OF_IT, looks
from geoseg.models.novelty import (
    QUANTILES,
    WIDEST,
    Applicability,
    FeatureNovelty,
    Novelty,
    applicability,
    gaussian,
    mahalanobis,
)
from geoseg.models.scored import Listening, mixed
from geoseg.outputs.progress import Progress
from geoseg.prediction.forward import Scaling
from geoseg.prediction.network import TrainedNetwork
from geoseg.prediction.panels import Piece, cut
from geoseg.prediction.reader import batches
from geoseg.prediction.worker import Worker
from geoseg.scenes.neighbours import places

MOST = 512 * 256**2
"""Pixels of train that are looked at: of each window of 256 there are 64 features at least."""
SHARES = np.linspace(0, 1, QUANTILES)
POINTS = 2000
"""Samples of train that others are compared with: what a pixel of a map costs grows with them."""


@dataclass(frozen=True)
class Found:
    """What a network knows, and how that was found."""

    novelty: Novelty
    facts: dict[str, Any]
    """For people and programs."""


class Moments:
    """Sums of features and of their products, as they come, and the looks of what they are of."""

    def __init__(self) -> None:
        self.count = 0
        self.looks: list[np.ndarray] = []
        self.total = np.zeros(0)
        self.products = np.zeros((0, 0))
        self.mixture = np.zeros((0, 0), np.float32)

    def add(self, images: torch.Tensor, features: torch.Tensor, seen: torch.Tensor | None) -> None:
        """Images (B, bands, H, W), their features (B, C, h, w), and where there is an image (B, H,
        W); None = everywhere."""
        looked, share = looks(images)
        self.looks.append(looked.movedim(1, -1)[share[:, 0] > MOST_OF_IT].cpu().numpy())
        if not self.count and features.shape[1] > WIDEST:
            self.mixture = mixture(features.shape[1])
        rows = mixed(features.float(), torch.from_numpy(self.mixture).to(features.device))
        rows = rows.movedim(1, -1).flatten(0, 2)
        if seen is not None:
            shares = F.adaptive_avg_pool2d(
                seen[:, None].float(), (features.shape[2], features.shape[3])
            )
            rows = rows[(shares > MOST_OF_IT).flatten()]
        values = rows.cpu().numpy().astype(np.float64)
        if not np.isfinite(values).all():
            raise InputError(
                "novelty: the network's features are no numbers (NaN) here; try"
                " predict.precision=32"
            )
        if not len(self.total):
            size = values.shape[1]
            self.total, self.products = np.zeros(size), np.zeros((size, size))
        self.count += len(values)
        self.total += values.sum(axis=0)
        self.products += values.T @ values


def mixture(channels: int) -> np.ndarray:
    """(channels, WIDEST) that keeps distances as well as a random turn can; the same each time."""
    random = np.random.default_rng(SEED).standard_normal((channels, WIDEST))
    return np.ascontiguousarray(np.linalg.qr(random)[0], np.float32)


def learn_features(
    network: TrainedNetwork, dataset: Dataset, *, side: int | None
) -> FeatureNovelty:
    """Mean and precision of the features of train; quantiles are still to be found.

    Raises: InputError if there is no train split, or the network has no encoder.
    """
    size = network.card.tiling.size
    try:
        blocks = blocks_of(dataset, "train", network, side or 2 * size)
    except InputError as error:
        raise InputError(f"novelty=true: what is known is that of train; {error}") from None
    order = np.random.default_rng(SEED).permutation(len(blocks))
    areas = np.cumsum([blocks[i].window.area for i in order])
    chosen = [blocks[i] for i in order[: 1 + int((areas < MOST).sum())]]
    worker, moments = Worker(replace_known(network, None)), Moments()
    module = Listening(worker.modules[0]).eval()
    scaling = Scaling(network.card.statistics, worker.device.torch)
    with Progress(len(chosen), sum(block.window.area for block in chosen)) as progress:
        for block in chosen:
            _look(worker, module, scaling, block, moments)
            progress.advance(block.window.area)
    if moments.count < 2:
        raise InputError(
            f"novelty=true: nothing in train of {dataset.folder} fills half of a cell of the"
            " network's coarsest features; its scenes are too small, or mostly without image"
        )
    mean, precision, _ = gaussian(moments.count, moments.total, moments.products)
    none = np.zeros(QUANTILES)
    looks_known = _usual_looks(moments)
    return FeatureNovelty(mean, precision, moments.mixture, none, none, *looks_known, none)


def _usual_looks(moments: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and precision of the looks of train, and the quantiles of their own distances.

    So few numbers of so many cells are not learnt by heart: other than of the features, the
    distances of train itself are worth as much as those of val.
    """
    rows = np.concatenate(moments.looks).astype(np.float64)
    if not len(rows):
        raise InputError("novelty=true: no part of train is more than half an image")
    mean, precision, _ = gaussian(len(rows), rows.sum(axis=0), rows.T @ rows)
    return mean, precision, np.quantile(mahalanobis(rows, mean, precision), SHARES)


@torch.inference_mode()
def _look(
    worker: Worker, module: Listening, scaling: Scaling, block: Block, moments: Moments
) -> None:
    """Add the features of a block's windows."""
    card = worker.network.card
    size = card.tiling.size
    scene = replace(block.scene, grid=block.scene.grid.crop(block.window))
    place = places([scene], card.tiling, halo=False)[0]
    memory = worker.network.running.memory
    panels = cut(scene, place, size, classes=len(card.legend), memory=memory)
    reading = batches(panels, batch_size=worker.batch_size(size), readers=worker.readers)
    for batch in reading:
        if batch.images is None:
            continue
        count = sum(isinstance(step, Piece) for step in batch.steps)
        images, seen = batch.on(worker.device.torch)
        with worker.device.autocast():
            scaled = scaling(images, seen)[:count]
            _, features = module.both(scaled)
        moments.add(scaled, features, None if seen is None else seen[:count])


def replace_known(network: TrainedNetwork, known: Novelty | None) -> TrainedNetwork:
    """The network as one that knows this, and says so; or, with None, does not."""
    layers = [CONFIDENCE] if known is None else [CONFIDENCE, NOVELTY]
    running = replace(network.running, layers=layers, refuse_novel=False)
    made = replace(network, running=running, known=known)
    made._loaded = network._loaded
    return made


def rank_features(learnt: FeatureNovelty, pixels: Pixels) -> Found:
    """Quantiles of the scores, and of their sum, over the pixels of val."""
    assert pixels.scores is not None
    scores = pixels.scores.astype(np.float64)
    distance, energy, odd = np.quantile(scores, SHARES, axis=0).T
    usual = np.maximum(odd, learnt.looks)
    made = replace(learnt, distance=distance, energy=energy, looks=usual)
    sums = made.sums(scores)
    made = replace(made, together=np.quantile(sums, SHARES))
    facts = {
        "features": len(learnt.mean),
        "pixels": len(pixels),
        "distance": _facts(distance),
        "energy": _facts(energy),
        "looks": _facts(usual),
        "left_out": beyond_the_others(sums, pixels.group),
    }
    return Found(made, facts)


def _facts(quantiles: np.ndarray) -> dict[str, float]:
    return {
        name: float(quantiles[place]) for name, place in (("median", 50), ("p99", 99), ("max", 100))
    }


def beyond_the_others(sums: np.ndarray, group: np.ndarray) -> list[float]:
    """Of each group of val the share of pixels (N,) that is beyond all of the other groups."""
    found = []
    for number in np.unique(group):
        mine = group == number
        if mine.all():
            return []
        found.append(round(float((sums[mine] > sums[~mine].max()).mean()), 6))
    return found


def learn_samples(network: TrainedNetwork, dataset: SeriesDataset, split: str) -> Found:
    """Area of applicability of a network for series, of the samples of train.

    split: whose samples are to tell how many are outside.
    Raises: InputError if train has too few groups, or the network no features.
    """
    from geoseg.models.device import choose
    from geoseg.models.scored import SeriesFeatures
    from geoseg.models.view import view_of
    from geoseg.samples.predict import sample_features

    running, card = network.running, network.card
    device, view = choose(running.device, running.precision), view_of(card)
    module = device.place(SeriesFeatures(network.load()).eval())
    assert card.series is not None

    def features(name: str, most: int) -> tuple[np.ndarray, np.ndarray]:
        samples = dataset.samples(name)
        samples = samples.take(_some(len(samples), most))
        found, owner = sample_features(module, dataset.folder, samples, view, device=device)
        rows = _some(len(found), most)
        tile = samples.tile.astype(str)
        group = tile if len(set(tile)) > 1 else samples.group.astype(str)
        return found[rows], group[owner[rows]]

    if not len(dataset.samples("train")):
        raise InputError(
            f"novelty=true: what is known is that of train, and {dataset.folder} has no samples of"
            " it; give the data set that the network was trained on"
        )
    points, group = features("train", POINTS)
    fold = np.unique(group, return_inverse=True)[1]
    made, index = applicability(points.astype(np.float64), fold)
    others, _ = features(split, POINTS)
    outside = made.index(others) > float(made.threshold)
    facts = {
        "features": points.shape[1],
        "points": len(points),
        "groups": len(np.unique(fold)),
        "average_distance": float(made.average),
        "threshold": float(made.threshold),
        "largest_of_train": float(index.max()),
        "outside": round(float(outside.mean()), 6),
        "of": split,
    }
    return Found(made, facts)


def _some(count: int, most: int) -> np.ndarray:
    """Indices of at most so many of `count` things, drawn at random, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def said(found: Found, largest: float) -> Sequence[str]:
    """What was found, in words. largest: share of novel pixels from which on that is much."""
    facts = found.facts
    if isinstance(found.novelty, Applicability):
        return [
            "novelty: the area of applicability ends at a dissimilarity of"
            f" {facts['threshold']:.3f} ({facts['points']} points of {facts['groups']} groups);"
            f" {facts['outside']:.1%} of {facts['of']} is outside"
        ]
    text = f"novelty: distance of {facts['features']} features, energy, and looks, ranked among val"
    left = facts["left_out"]
    if not left:
        return [text]
    text += (
        f"; of a group of val that is left out, {np.mean(left):.1%} of the pixels is beyond the"
        f" others (at most {max(left):.1%})"
    )
    if max(left) > largest:
        text += ": groups of val differ much, so expect such shares on ground that is known, too"
    return [text]
