"""Train a network on a data set into a run folder."""

from __future__ import annotations

from pathlib import Path

from geoseg.commands import sweep
from geoseg.commands.run import run
from geoseg.dataset.samples import SeriesDataset, holds_samples
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.models.card import BEST, ModelCard
from geoseg.training.config import TrainConfig
from geoseg.training.processes import launch
from geoseg.training.start import train_images, train_series


def main(config: TrainConfig) -> float | None:
    with launch.first_speaks():
        text = _train(config)
    if not launch.first(config.fit.nodes):
        return None
    print(text)
    if config.lr_find:
        return None
    miou = ModelCard.read(Path(config.run) / BEST).scores.get("miou")
    return None if miou is None else float(miou)


def _train(config: TrainConfig) -> str:
    if config.lr_find and sweep.swept():
        raise InputError("lr_find=true: trains nothing to be compared; leave out --multirun")
    if holds_samples(config.dataset):
        samples = SeriesDataset.load(config.dataset)
        check_scored(len(samples.samples("val")), config.dataset)
        return train_series(samples, config)
    dataset = Dataset.load(config.dataset)
    check_scored(len(dataset.tiles("val")), config.dataset)
    if dataset.reference is not None:
        return train_series(dataset, config)
    return train_images(dataset, config)


def check_scored(count: int, folder: str) -> None:
    """Raises: InputError if a sweeper that goes by scores has no validation to go by."""
    if not count and sweep.searching():
        raise InputError(
            f"{folder}: no validation, and so no score to search by; prepare with split.val, or"
            " sweep over given values without hydra/sweeper"
        )


if __name__ == "__main__":
    # By full name: the processes of a sweep know nothing of this one's __main__.
    from geoseg import train

    run("train", TrainConfig, train.main, sweeps=True)
