"""Train: a data set in, a run folder with the best weights out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoseg import command, origin, processes, seriesset
from geoseg.augment import Augment
from geoseg.bands import Bands
from geoseg.card import BEST, ModelCard
from geoseg.dataset import Dataset
from geoseg.errors import Faults, InputError
from geoseg.runfolder import check_start, opened
from geoseg.seriesset import SeriesDataset
from geoseg.settings import (
    ARCHITECTURES,
    SERIES_NETWORKS,
    Fit,
    Loss,
    Model,
    SeriesSamples,
    Study,
)
from geoseg.unlabelled import find_unlabelled

SERIES_PRODUCTS = ("scores.json", "by_date.csv", "by_date.png")
PRODUCTS = (BEST, "last.ckpt", "metrics.csv", "curves.png", "tensorboard")
IMAGES_ONLY = ("encoder_lr_scale", "freeze", "hard", "unlabelled")
"""Settings of the training loop that series have no part for."""
MAP_NETWORKS = ("utae",)
"""Networks for series that see whole windows."""


@dataclass
class TrainConfig:
    """Train a network on a data set of geoseg.prepare; started again, it goes on."""

    dataset: str = "data/demo/dataset"
    """Folder made by geoseg.prepare or geoseg.prepare_series."""
    run: str = "runs/demo"
    """Folder to write: weights, checkpoint, metrics, curves."""
    seed: int = 0
    """Of weights, order, augmentation and dropout."""
    lr_find: bool = False
    """Only try rising learning rates, and write lr_find.png into the run folder; trains nothing."""
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
    return train_images(dataset, config)


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
        str(dataset.folder),
        str(run),
        seed,
        model=model or Model(),
        loss=loss or Loss(),
        augment=augment or Augment(),
        fit=fit or Fit(),
        overwrite=overwrite,
    )
    return train_images(dataset, config)


def train_images(dataset: Dataset, config: TrainConfig) -> str:
    """Train a network for images into the folder `config.run`; as `train`."""
    faults = Faults()
    with faults.collect():
        check_dataset(dataset, config.model)
    if config.fit.freeze and config.model.weights is None:
        faults.add(
            f"fit.freeze={config.fit.freeze}: an encoder with random weights would stay random; set"
            " model.weights, or leave it out"
        )
    config = replace(config, dataset=str(dataset.folder.absolute()))
    with faults.collect():
        _check_start(config)
    faults.raise_if_any()
    unlabelled = []
    if config.fit.unlabelled is not None:
        card = ModelCard.of(dataset, config.model, {})
        bands = Bands(**dataset.settings["bands"])
        unlabelled = find_unlabelled(config.fit.unlabelled, card, bands)
    with _opened(config, PRODUCTS):
        # The one that learns needs torch; whatever could be wrong without it has been said.
        return processes.spread(
            "geoseg.learn:learn",
            dataset,
            Path(config.run),
            _study(config),
            devices=config.fit.devices,
            nodes=config.fit.nodes,
            unlabelled=unlabelled,
        )


def _study(config: TrainConfig) -> Study:
    return Study(
        config.model, config.loss, config.fit, config.series, config.seed, config.lr_find,
        config.augment,
    )  # fmt: skip


def train_series(dataset: SeriesDataset | Dataset, config: TrainConfig) -> str:
    """Train a network for series into the folder `config.run`, or go on there.

    dataset: of parcels or pixels, or one of dated scenes.
    Returns: what came out, as a text for people.
    Raises: InputError before the first step for anything that could not end well.
    """
    faults = Faults()
    for key in IMAGES_ONLY:
        if getattr(config.fit, key) != getattr(Fit(), key):
            faults.add(f"fit.{key}: for networks of images; leave it out")
    with faults.collect():
        if isinstance(dataset, Dataset):
            check_dataset(dataset, config.model)
        else:
            check_series(dataset, config.model)
    if isinstance(dataset, Dataset) and config.series.fill == "linear":
        faults.add(
            f"series.fill=linear: model={config.model.name} takes dates as they are; leave it out"
        )
    config = replace(config, dataset=str(dataset.folder.absolute()))
    with faults.collect():
        _check_start(config, but="augment")
    faults.raise_if_any()
    with _opened(config, (*PRODUCTS, *SERIES_PRODUCTS), but="augment"):
        room = "learnmap:learn_map" if isinstance(dataset, Dataset) else "learnseries:learn_series"
        return processes.spread(
            f"geoseg.{room}",
            dataset,
            Path(config.run),
            _study(config),
            devices=config.fit.devices,
            nodes=config.fit.nodes,
        )


def _check_start(config: TrainConfig, *, but: str = "") -> None:
    """Raises: InputError if the network can't start from what `model.weights` names."""
    if config.lr_find:
        origin.check(config.model)
    else:
        check_start(config, "train", but=("lr_find", but))


def _opened(
    config: TrainConfig, products: tuple[str, ...], *, but: str = ""
) -> AbstractContextManager[None]:
    """The run folder, claimed; a range test of learning rates leaves it as it is.

    but: a room of settings that the training does not read.
    """
    if config.lr_find:
        return nullcontext()
    return opened(config, "train", products, but=("lr_find", but))


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
    command.run("train", TrainConfig, main)
