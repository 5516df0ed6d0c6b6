"""Grow a forest as the network of a run, of a fold, or as a baseline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from geoseg.dataset.prepare import measure as measure_tiles
from geoseg.dataset.samples import Samples, SeriesDataset
from geoseg.dataset.statistics import measure as measure_samples
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.evaluation.accuracy import Scores
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.card import BEST, JUDGED, ModelCard
from geoseg.models.device import choose
from geoseg.models.networks.forest import LEAST, ImageForest, courses
from geoseg.models.networks.trees import Trees
from geoseg.models.settings import FOREST, Model
from geoseg.models.view import view_of
from geoseg.outputs.summary import Summary
from geoseg.samples import predict
from geoseg.samples.draw import part_of
from geoseg.samples.pixels import pixel_rows, quotas
from geoseg.samples.series import InOrder, SeriesBatches
from geoseg.samples.tiles import ValTiles, gather, train_tiles
from geoseg.training import refit
from geoseg.training.cards import card_of, card_of_samples
from geoseg.training.checks import idle
from geoseg.training.objectives.loss import class_weights
from geoseg.training.run.history import METRICS, Validation, write_metrics
from geoseg.training.settings import TrainingSettings
from geoseg.training.tasks import series
from geoseg.training.tasks.grow import Growth, few_asked, grow
from geoseg.training.validation import count, of_scores

MOST = 60_000
"""Pixels, or samples of series, that a forest learns from; more change little but the time."""
TREES, SERIES_TREES, DEPTH = 40, 200, 12
"""Where the settings leave them open. Of images each pixel takes its time; of series few do, and
few teach."""
PIXELS_IN_LEAF = 3
LEAVES = 5000
"""Of a tree of series at most, by the samples in a leaf."""
BACK = 0.5
"""How far weights put the classes, which the drawing brought nearer to each other, back to their
shares on the ground: 0 = as drawn, 1 = all the way."""
TOGETHER = 512
"""Samples of series whose features are made at a time."""
WINDOW, OVERLAP = 512, 2 * ImageForest.margin + 16
"""Of predictions: what windows share is computed twice, and a forest needs little of it."""
HELD = 2**27
"""Features of a window that are held at once, at most, which takes 0.5 GB: windows of many bands
are smaller. The map is the same."""
CPU = choose("cpu", "32")


@dataclass(frozen=True)
class Rows:
    """What a forest learns from."""

    x: np.ndarray
    """Features (N, F) float32."""
    y: np.ndarray
    """Class indices (N,)."""
    counts: np.ndarray
    """(K,) of all labelled pixels or samples, from which these were drawn."""

    def weights(self, choice: Any, names: Sequence[str]) -> np.ndarray:
        """What each row counts, (N,). choice: loss.class_weights."""
        drawn = np.bincount(self.y, minlength=len(self.counts))
        each = (self.counts / np.maximum(drawn, 1)) ** BACK
        each *= class_weights(choice, self.counts, names=names)
        weights = each[self.y]
        return np.asarray(weights / weights.mean())

    def teach(
        self, trees: Trees, study: TrainingSettings, names: Sequence[str], how: Growth
    ) -> float:
        """Grow the trees of a network. Returns: its mean cross-entropy on these rows."""
        weights = self.weights(study.loss.class_weights, names)
        grown = grow(self.x, self.y, weights, how, classes=len(names), seed=study.seed)
        arrays = {name: torch.from_numpy(values) for name, values in vars(grown).items()}
        trees.load_state_dict(arrays)
        found = trees(torch.from_numpy(self.x).t())
        right = found.gather(0, torch.from_numpy(self.y)[None])
        return float(-right.clamp_min(LEAST).log().mean())


@dataclass(frozen=True)
class Forest:
    """A forest, ready to predict."""

    network: nn.Module
    card: ModelCard
    rows: int
    """That it learnt from."""
    loss: float
    """Mean cross-entropy on them."""


def learn_forest(dataset: Dataset | SeriesDataset, folder: Path, study: TrainingSettings) -> str:
    """Grow a forest into `folder`, unless it stands there already.

    dataset: of images, or of series of parcels or pixels.
    Returns: what came out, as a text for people.
    """
    if (folder / BEST).exists():
        return f"the forest is grown already\nweights: {folder / BEST}"
    begin = time.monotonic()
    forest = of_dataset(dataset, study)
    print(_opening(dataset, forest))
    if unused := idle(study):
        print(f"note: a forest is grown in one go, without {', '.join(unused)}")
    validation = _validation(dataset, forest)
    said = _said(dataset, validation) if validation else ""
    if isinstance(dataset, SeriesDataset):
        said = series.judge_splits(dataset, forest.network, forest.card, CPU, folder=folder)
    details = validation.details if validation else {}
    card = replace(forest.card, scores=details)
    if study.fit.refit is not False and validation:
        (folder / refit.FOLDER).mkdir(exist_ok=True)
        checkpoint.save(folder / JUDGED, forest.network, card)
        forest = of_dataset(dataset, study, ("train", "val"))
        card = replace(forest.card, scores=details, refit=True)
        said = refit.below(said, "grown once more on train and val; scores are of before")
    minutes = (time.monotonic() - begin) / 60
    row = {"epoch": 1, "step": 1, "loss": forest.loss, "minutes": minutes}
    write_metrics(folder / METRICS, [row | (validation.columns if validation else {})])
    # Last, since it says that all is done.
    checkpoint.save(folder / BEST, forest.network, card)
    lines = [f"grown in {60 * minutes:.0f} s", said, f"weights: {folder / BEST}"]
    return "\n".join(filter(None, lines))


def beside(dataset: Dataset | SeriesDataset, study: TrainingSettings) -> str:
    """What a forest makes of the same samples, as a line to stand below a network's score."""
    begin = time.monotonic()
    series = replace(study.series, fill="auto")
    forest = of_dataset(dataset, replace(study, model=Model(FOREST), series=series))
    validation = _validation(dataset, forest)
    if validation is None:
        return "fit.baseline=forest: nothing to say without val samples"
    seconds = time.monotonic() - begin
    return f"forest on the same samples: {_said(dataset, validation)} ({seconds:.0f} s)"


def fit_tiles(
    dataset: Dataset, train: Sequence[Tile], held_out: Sequence[Tile], study: TrainingSettings
) -> np.ndarray:
    """As images.fit_fold, which see."""
    fold = dataset.with_splits(train=train, test=held_out)
    fold = replace(fold, statistics=measure_tiles(fold, Summary()))
    return _of_tiles(of_dataset(fold, study).network, ValTiles(fold, "test"), len(fold.legend))


def fit_samples(
    dataset: SeriesDataset, train: Samples, held_out: Samples, study: TrainingSettings
) -> np.ndarray:
    """As series.fit_fold, which see."""
    return _probabilities(dataset, of_samples(dataset, train, study), held_out)


def of_dataset(
    dataset: Dataset | SeriesDataset, study: TrainingSettings, splits: Sequence[str] = ("train",)
) -> Forest:
    """Grow a forest from the train split, or from more; the scaling is always that of train."""
    if isinstance(dataset, SeriesDataset):
        samples = dataset.samples()
        samples = samples.take(np.flatnonzero(np.isin(samples.split.astype(str), splits)))
        return of_samples(dataset, samples, study, measured=True)
    names, fit, seed = dataset.legend.names, study.fit, study.seed
    model = replace(study.model, trees=study.model.trees or TREES)
    model = replace(model, depth=model.depth or DEPTH)
    card = card_of(dataset, model)
    network: Any = checkpoint.build(card)
    together = [tile for split in splits for tile in dataset.tiles(split)]
    tiles = train_tiles(dataset.with_splits(train=together), fit.train_share, seed)
    rows = Rows(*pixel_rows(dataset, tiles, network, most=MOST, seed=seed))
    features = rows.x.shape[1]
    how = Growth(model.trees, model.depth, PIXELS_IN_LEAF, few_asked(features))
    loss = rows.teach(network.trees, study, names, how)
    card = replace(card, tiling=Tiling(_window(card.tiling.size, features), OVERLAP))
    return Forest(network.eval(), card, len(rows.y), loss)


def _window(tile: int, features: int) -> int:
    """Side of the windows of predictions, in pixels. tile: that of a tile."""
    side = max(tile, WINDOW)
    while side > 2 * OVERLAP and features * side**2 > HELD:
        side //= 2
    return max(side, 2 * OVERLAP)


def of_samples(
    dataset: SeriesDataset, train: Samples, study: TrainingSettings, *, measured: bool = False
) -> Forest:
    """Grow a forest from samples of series.

    measured: whether the scaling is that of the train split, which is known; else it is theirs.
    """
    model = replace(study.model, trees=study.model.trees or SERIES_TREES)
    study = replace(study, model=model)
    train = train.take(part_of(len(train), study.fit.train_share, study.seed))
    if measured:
        card = card_of_samples(dataset, study, dataset.statistics)
    else:
        statistics = measure_samples(dataset.folder, train, dataset.bands)
        card = card_of_samples(dataset, study, statistics, train)
    network: Any = checkpoint.build(card)
    rows = _series_rows(dataset, train, card, study.seed)
    leaf = max(1, len(rows.x) // LEAVES)
    asked = rows.x.shape[1] ** -0.5
    how = Growth(model.trees, model.depth or None, leaf, asked)
    loss = rows.teach(network.trees, study, dataset.legend.names, how)
    return Forest(network.eval(), card, len(rows.y), loss)


def _series_rows(dataset: SeriesDataset, train: Samples, card: ModelCard, seed: int) -> Rows:
    truth, classes = series.indices(train.code, dataset.legend.codes), len(dataset.legend)
    feed = SeriesBatches(dataset.folder, train, truth, view_of(card))
    truth = truth[feed.owner]
    counts = np.bincount(truth, minlength=classes)
    random, drawn = np.random.default_rng(seed), []
    for index, wanted in enumerate(np.rint(quotas(counts, MOST)).astype(int)):
        drawn.append(random.choice(np.flatnonzero(truth == index), wanted, replace=False))
    numbers = np.sort(np.concatenate(drawn))
    parts = []
    for batch in InOrder(len(numbers), TOGETHER):
        (values, valid, _, _), _ = feed[[(int(numbers[place]), 0) for place, _ in batch]]
        parts.append(courses(values, valid).numpy())
    return Rows(np.concatenate(parts), truth[numbers], counts)


def _validation(dataset: Dataset | SeriesDataset, forest: Forest) -> Validation | None:
    """Scores on the val split; None where there is nothing in it."""
    classes = len(dataset.legend)
    if isinstance(dataset, SeriesDataset):
        samples = dataset.samples("val")
        if not len(samples):
            return None
        truth = series.indices(samples.code, dataset.legend.codes)
        # Each pixel counts where each is seen by itself, as in the validation of networks.
        feed = SeriesBatches(dataset.folder, samples, truth, view_of(forest.card))
        batches = DataLoader(feed, None, sampler=InOrder(len(feed), predict.PREDICTED))
        with CPU.autocast():
            found = count(forest.network, batches, classes, device=CPU.torch)
        matrix = found.numpy()
    else:
        tiles = ValTiles(dataset)
        if not len(tiles):
            return None
        matrix = _of_tiles(forest.network, tiles, classes)
    return of_scores(Scores.of(matrix, dataset.legend.names))


def _probabilities(dataset: SeriesDataset, forest: Forest, samples: Samples) -> np.ndarray:
    """(N, K) float32."""
    view = view_of(forest.card)
    return predict.predict_samples(forest.network, dataset.folder, samples, view, device=CPU)


def _of_tiles(network: Callable[..., torch.Tensor], tiles: ValTiles, classes: int) -> np.ndarray:
    """Confusion matrix (K, K) int64 of the labelled pixels of tiles."""
    batches = DataLoader(tiles, collate_fn=gather)
    with CPU.autocast():
        matrix = count(network, batches, classes, device=CPU.torch, see=lambda one: (one,))
    return matrix.numpy()


def _opening(dataset: Dataset | SeriesDataset, forest: Forest) -> str:
    model, unit = forest.card.model, getattr(dataset, "unit", "pixel")
    deep = int(forest.network.get_buffer("trees.levels"))
    every = f", every {forest.card.series.step} days" if forest.card.series else ""
    return (
        f"{model.name} of {model.trees} trees, {deep} deep, {len(dataset.bands)} bands{every},"
        f" {len(dataset.legend)} classes\n{forest.rows} train samples, one per {unit}"
    )


def _said(dataset: Dataset | SeriesDataset, validation: Validation) -> str:
    columns = validation.columns
    text = f"validation mIoU {columns['val_miou']:.4f}"
    if isinstance(dataset, SeriesDataset):
        text += f", overall accuracy {columns['val_overall_accuracy']:.4f}"
    return text
