"""Train: a data set in, a run folder with the best weights out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geoseg import command, processes, seriesset, sweep
from geoseg.augment import Augment
from geoseg.card import BEST, ModelCard
from geoseg.dataset import Dataset
from geoseg.errors import Faults, InputError
from geoseg.output import claim, clearing
from geoseg.seriesset import SeriesDataset
from geoseg.settings import (
    ANYWHERE,
    ARCHITECTURES,
    SERIES_NETWORKS,
    Fit,
    Loss,
    Model,
    SeriesSamples,
    Study,
)

SERIES_PRODUCTS = ("scores.json", "by_date.csv", "by_date.png")
PRODUCTS = (BEST, "last.ckpt", "metrics.csv", "curves.png", "tensorboard")
MAP_NETWORKS = ("utae",)
"""Networks for series that see whole windows."""


@dataclass
class TrainConfig:
    """Train a network on a data set of geoseg.prepare; started again, it goes on."""

    dataset: str = "data/demo/dataset"
    """Folder made by geoseg.prepare or geoseg.prepare_series."""
    run: str = "runs/demo"
    """Folder to write: weights, checkpoint, metrics, curves; with --multirun, sweep.csv and a
    folder like this for each job."""
    seed: int = 0
    """Of weights, order, augmentation and dropout."""
    overwrite: bool = False
    """Replace a run that was made with other settings."""
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    augment: Augment = field(default_factory=Augment)
    fit: Fit = field(default_factory=Fit)
    series: SeriesSamples = field(default_factory=SeriesSamples)


def main(config: TrainConfig) -> float | None:
    with processes.first_speaks():
        text = _train(config)
    if not processes.first(config.fit.nodes):
        return None
    print(text)
    miou = ModelCard.read(Path(config.run) / BEST).scores.get("miou")
    return None if miou is None else float(miou)


def _train(config: TrainConfig) -> str:
    if seriesset.unit_of(config.dataset) in ("parcel", "pixel"):
        samples = SeriesDataset.load(config.dataset)
        check_scored(len(samples.samples("val")), config.dataset)
        return train_series(samples, config)
    dataset = Dataset.load(config.dataset)
    check_scored(len(dataset.tiles("val")), config.dataset)
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


def check_scored(count: int, folder: str) -> None:
    """Raises: InputError if a sweeper that goes by scores has no validation to go by."""
    if not count and sweep.searching():
        raise InputError(
            f"{folder}: no validation, and so no score to search by; prepare with split.val, or"
            " sweep over given values without hydra/sweeper"
        )


def check_series(dataset: SeriesDataset, model: Model) -> None:
    """Raises: InputError if the network is not for such series, or there is nothing to learn."""
    faults = Faults()
    with faults.collect():
        names = [name for name in SERIES_NETWORKS if name not in MAP_NETWORKS]
        _check_network(model, names, f"series of one {dataset.unit} each", dataset.folder)
    if len(dataset.legend) < 2:
        faults.add(f"{dataset.folder}: the legend has one class: nothing to tell apart")
    faults.raise_if_any()
    if not len(dataset.samples("train")):
        raise InputError(f"{dataset.folder}: no train sample; run geoseg.prepare_series again")


def check_dataset(dataset: Dataset, model: Model) -> None:
    """Raises: InputError if scenes or targets are gone, or there is nothing to tell apart."""
    faults = Faults()
    with faults.collect():
        if dataset.reference is None:
            _check_network(model, ARCHITECTURES, "single images", dataset.folder)
        else:
            _check_network(model, MAP_NETWORKS, "windows through time", dataset.folder)
    if len(dataset.legend) < 2:
        faults.add(
            f"{dataset.folder}: the legend has one class ({dataset.legend.names[0]}): nothing to"
            " tell apart; add a class for the rest and set labels.background to it in prepare"
        )
    missing = [p for scene in dataset.scenes for p in scene.paths if not os.path.exists(p)]
    missing += [str(p) for s in dataset.scenes if not (p := dataset.target(s.name)).exists()]
    if missing:
        faults.add(
            f"{dataset.folder}: {len(missing)} of its files are gone ({_first(missing)});"
            " put them back, or run geoseg.prepare again"
        )
    faults.raise_if_any()
    if not dataset.tiles("train"):
        raise InputError(f"{dataset.folder}: no train tile; run geoseg.prepare again")


def _check_network(model: Model, names: Sequence[str], what: str, folder: Path) -> None:
    """Raises: InputError if the network isn't among those for what a data set holds."""
    if model.name not in names:
        raise InputError(
            f"model={model.name}: not for {what}, which {folder} holds; choose from"
            f" {', '.join(names)}"
        )


def _first(paths: Sequence[Any]) -> str:
    return ", ".join(map(str, paths[:3])) + (" …" if len(paths) > 3 else "")


if __name__ == "__main__":
    # By full name: the processes of a sweep know nothing of this one's __main__.
    from geoseg import train as by_name

    command.run("train", by_name.TrainConfig, by_name.main, sweeps=True)
