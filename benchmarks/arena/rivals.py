"""Methods that are not geoseg's: each learns and predicts in a process of its own.

    python -m benchmarks.arena.rivals <job.json>

A rival reads the data set's arrays and writes what it found as prediction.npz: of images the class
indices (H, W) of each scene with a test part, of series those of the test samples.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arena import otb, plain
from benchmarks.arena.arrays import Images, Series, load_images, load_series
from benchmarks.arena.plain import Budget
from geoseg.dataset.samples import SeriesDataset, unit_of
from geoseg.dataset.tiles import Dataset
from geoseg.outputs.files import replacing, write_json

PREDICTION = "prediction.npz"
TOLD = "told.json"
TREES = 500
WINDOWS = (3, 7, 15)
"""Sides in pixels of the neighbourhoods whose mean and spread a forest of pixels sees."""
FOREST_PIXELS = 50_000
"""Pixels that a forest of pixels learns from at most."""
FOREST_LEAF = 5
"""Pixels in a leaf of such a forest at least: neighbours say nearly the same."""

Found = dict[str, np.ndarray]
"""Scene → class indices (H, W); of series "samples" → (N,)."""


@dataclass(frozen=True)
class Job:
    """What a rival is told."""

    method: str
    dataset: str
    out: str
    seed: int
    with_val: bool
    """The val part trains too."""
    minutes: float | None
    steps: int | None


def main(path: str) -> None:
    job = Job(**json.loads(Path(path).read_text(encoding="utf-8")))
    budget = Budget(job.minutes, job.steps)
    folder = Path(job.dataset)
    began = time.monotonic()
    if unit_of(folder) is None:
        data = load_images(Dataset.load(folder), with_val=job.with_val)
        found = OF_IMAGES[job.method](data, budget, job.seed)
    else:
        samples = SeriesDataset.load(folder)
        found = {"samples": OF_SERIES[job.method](samples, budget, job.seed)}
    out = Path(job.out)
    with replacing(out / PREDICTION) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]
    said: dict[str, Any] = {"train_seconds": budget.seconds or time.monotonic() - began}
    if budget.done:
        said |= {"steps": budget.done, "samples": budget.samples}
    write_json(out / TOLD, said)


def _images_plain(data: Images, budget: Budget, seed: int) -> Found:
    network = plain.train_unet(data, budget, seed)
    return {
        name: plain.map_scene(network, image, data.side, data.classes)
        for name, image in data.scenes.items()
    }


def _series_plain(dataset: SeriesDataset, budget: Budget, seed: int) -> np.ndarray:
    return plain.train_lstm(load_series(dataset), budget, seed)


def _images_majority(data: Images, budget: Budget, seed: int) -> Found:
    counts = np.bincount(
        np.concatenate([target.ravel() for _, target in data.train]), minlength=256
    )
    most = np.argmax(counts[: data.classes])
    return {name: np.full(image.shape[1:], most, np.uint8) for name, image in data.scenes.items()}


def _series_majority(dataset: SeriesDataset, budget: Budget, seed: int) -> np.ndarray:
    data: Series = load_series(dataset)
    most = np.argmax(np.bincount(data.index[data.places("train", "val")]))
    return np.full(len(data.places("test")), most)


def _images_forest(data: Images, budget: Budget, seed: int) -> Found:
    """A forest of pixels that sees their neighbourhood."""
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(seed)
    rows, classes = [], []
    for image, target in data.train:
        known = target != plain.IGNORED
        rows.append(neighbourhood(image)[known])
        classes.append(target[known])
    table, index = np.concatenate(rows), np.concatenate(classes)
    chosen = random.permutation(len(index))[:FOREST_PIXELS]
    # Balanced, as a rare class would else hardly ever be the most frequent one of a leaf.
    forest = RandomForestClassifier(
        TREES // 5, min_samples_leaf=FOREST_LEAF, class_weight="balanced_subsample",
        random_state=seed, n_jobs=-1,
    ).fit(table[chosen], index[chosen])  # fmt: skip
    found = {}
    for name, image in data.scenes.items():
        guess = forest.predict(neighbourhood(image).reshape(-1, table.shape[1]))
        found[name] = guess.reshape(image.shape[1:])
    return found


def neighbourhood(image: np.ndarray) -> np.ndarray:
    """Features (H, W, F) of the pixels of an image (C, H, W): values, and means and spreads."""
    from scipy.ndimage import uniform_filter

    features = [image]
    for side in WINDOWS:
        mean = uniform_filter(image, (0, side, side))
        square = uniform_filter(image**2, (0, side, side))
        features += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    return np.concatenate(features).transpose(1, 2, 0)


def _series_forest(dataset: SeriesDataset, budget: Budget, seed: int) -> np.ndarray:
    """The forest of benchmarks.series: 500 trees on series without gaps."""
    from benchmarks import series

    samples = series.each_pixel(dataset.samples())
    tested = samples.split == "test"
    return series.forest(dataset, samples.take(~tested), samples.take(tested), "", "forest", seed)


def _images_torchgeo(data: Images, budget: Budget, seed: int) -> Found:
    """TorchGeo's task at its defaults, on random crops, by Lightning's Trainer."""
    import torch
    from lightning.pytorch import Trainer, seed_everything
    from torch.utils.data import DataLoader, IterableDataset
    from torchgeo.trainers import SemanticSegmentationTask

    class Crops(IterableDataset[dict[str, torch.Tensor]]):
        """Batches without end, as its datamodules make them: cut at random, nothing more."""

        def __iter__(self) -> Any:
            random = np.random.default_rng(seed)
            pieces = [plain.filled(image, target, data.side) for image, target in data.train]
            while True:
                image, target = plain.crops(pieces, data.side, random, vary=False)
                budget.samples += len(image)
                yield {"image": image, "mask": target}

    shares = budget.progress()

    class Timed(SemanticSegmentationTask):
        """Without its schedule of the learning rate, which asks for a validation."""

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if next(shares, None) is None else None  # -1 ends the epoch, the only one

    seed_everything(seed, verbose=False)
    task = Timed(
        in_channels=len(data.train[0][0]), num_classes=data.classes, ignore_index=plain.IGNORED
    )
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, about workers and validation
        trainer.fit(task, DataLoader(Crops(), batch_size=None))
    task.eval()
    return {
        name: plain.map_scene(task, image, data.side, data.classes)
        for name, image in data.scenes.items()
    }


OF_IMAGES: dict[str, Callable[[Images, Budget, int], Found]] = {
    "plain": _images_plain,
    "forest": _images_forest,
    "torchgeo": _images_torchgeo,
    "otb": otb.map_images,
    "majority": _images_majority,
}
OF_SERIES: dict[str, Callable[[SeriesDataset, Budget, int], np.ndarray]] = {
    "plain": _series_plain,
    "forest": _series_forest,
    "majority": _series_majority,
}
NEEDS = {"forest": "sklearn", "torchgeo": "torchgeo"}
"""Method → module that must be there."""


if __name__ == "__main__":
    main(sys.argv[1])
