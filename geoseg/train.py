"""Train: a data set in, a run folder with the best weights out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from geoseg import command, processes, seriesset
from geoseg.augment import Augment
from geoseg.card import BEST
from geoseg.dataset import Dataset
from geoseg.errors import InputError
from geoseg.output import claim, clearing
from geoseg.seriesset import SeriesDataset
from geoseg.settings import (
    ANYWHERE,
    Fit,
    Loss,
    Model,
    SeriesSamples,
    Study,
)
from geoseg.trainable import check_dataset, check_series

SERIES_PRODUCTS = ("scores.json", "by_date.csv", "by_date.png")
PRODUCTS = (BEST, "last.ckpt", "metrics.csv", "curves.png", "tensorboard")


@dataclass
class TrainConfig:
    """Train a network on a data set of geoseg.prepare; started again, it goes on."""

    dataset: str = "data/demo/dataset"
    """Folder made by geoseg.prepare or geoseg.prepare_series."""
    run: str = "runs/demo"
    """Folder to write: weights, checkpoint, metrics, curves."""
    seed: int = 0
    """Of weights, order, augmentation and dropout."""
    overwrite: bool = False
    """Replace a run that was made with other settings."""
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    augment: Augment = field(default_factory=Augment)
    fit: Fit = field(default_factory=Fit)
    series: SeriesSamples = field(default_factory=SeriesSamples)


def main(config: TrainConfig) -> None:
    with processes.first_speaks():
        text = _train(config)
    if processes.first(config.fit.nodes):
        print(text)


def _train(config: TrainConfig) -> str:
    if seriesset.unit_of(config.dataset) in ("parcel", "pixel"):
        return train_series(SeriesDataset.load(config.dataset), config)
    dataset = Dataset.load(config.dataset)
    if dataset.reference is not None:
        return train_series(dataset, config)
    return train(
        dataset,
        config.run,
        model=config.model,
        loss=config.loss,
        augment=config.augment,
        fit=config.fit,
        seed=config.seed,
        overwrite=config.overwrite,
    )


def train(
    dataset: Dataset,
    run: str | Path,
    *,
    model: Model | None = None,
    loss: Loss | None = None,
    augment: Augment | None = None,
    fit: Fit | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> str:
    """Train a network into the folder `run`, or go on there, with one process per device.

    Returns: what came out, as a text for people.
    Raises: InputError before the first step for anything that could not end well.
    """
    config = TrainConfig(
        str(dataset.folder.absolute()),
        str(run),
        seed,
        overwrite,
        model or Model(),
        loss or Loss(),
        augment or Augment(),
        fit or Fit(),
    )
    check_dataset(dataset, config.model)
    with _opened(config, PRODUCTS):
        # The one that learns needs torch; whatever could be wrong without it has been said.
        return processes.spread(
            "geoseg.learn:learn",
            dataset,
            Path(run),
            devices=config.fit.devices,
            nodes=config.fit.nodes,
            model=config.model,
            loss=config.loss,
            augment=config.augment,
            fit=config.fit,
            seed=seed,
        )


def train_series(dataset: SeriesDataset | Dataset, config: TrainConfig) -> str:
    """Train a network for series into the folder `config.run`, or go on there.

    dataset: of parcels or pixels, or one of dated scenes.
    Returns: what came out, as a text for people.
    Raises: InputError before the first step for anything that could not end well.
    """
    if isinstance(dataset, Dataset):
        check_dataset(dataset, config.model)
        if config.series.fill == "linear":
            raise InputError(
                f"series.fill=linear: model={config.model.name} takes dates as they are; leave it"
                " out"
            )
    else:
        check_series(dataset, config.model)
    config = replace(config, dataset=str(dataset.folder.absolute()))
    with _opened(config, (*PRODUCTS, *SERIES_PRODUCTS), but="augment"):
        room = "learnmap:learn_map" if isinstance(dataset, Dataset) else "learnseries:learn_series"
        study = Study(config.model, config.loss, config.fit, config.series, config.seed)
        return processes.spread(
            f"geoseg.{room}",
            dataset,
            Path(config.run),
            study,
            devices=config.fit.devices,
            nodes=config.fit.nodes,
        )


@contextmanager
def _opened(config: TrainConfig, products: tuple[str, ...], *, but: str = "") -> Iterator[None]:
    """Claim the run folder and write down how it is made; the first of several processes does.

    but: settings that the training does not read.
    """
    if not processes.first(config.fit.nodes):
        yield
        return
    settings = {k: v for k, v in asdict(config).items() if k not in ("run", "overwrite", but)}
    settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in ANYWHERE}
    with clearing(config.run, products):
        claim(config.run, settings, command="train", products=products, overwrite=config.overwrite)
        command.record(Path(config.run), "train", config)
        yield


if __name__ == "__main__":
    command.run("train", TrainConfig, main)
