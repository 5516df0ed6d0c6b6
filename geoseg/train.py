"""Train: a data set in, a run folder with the best weights out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geoseg import command
from geoseg.augment import Augment
from geoseg.card import BEST
from geoseg.dataset import Dataset
from geoseg.errors import Faults, InputError
from geoseg.output import claim, clearing
from geoseg.settings import Fit, Loss, Model

PRODUCTS = (BEST, "last.ckpt", "metrics.csv", "curves.png", "tensorboard")


@dataclass
class TrainConfig:
    """Train a network on a data set of geoseg.prepare; started again, it goes on."""

    dataset: str = "data/demo/dataset"
    """Folder made by geoseg.prepare."""
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


def main(config: TrainConfig) -> None:
    dataset = Dataset.load(config.dataset)
    text = train(
        dataset,
        config.run,
        model=config.model,
        loss=config.loss,
        augment=config.augment,
        fit=config.fit,
        seed=config.seed,
        overwrite=config.overwrite,
    )
    print(text)


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
    """Train a network into the folder `run`, or go on there.

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
    check_dataset(dataset)
    settings = {k: v for k, v in asdict(config).items() if k not in ("run", "overwrite")}
    with clearing(run, PRODUCTS):
        claim(run, settings, command="train", products=PRODUCTS, overwrite=overwrite)
        command.record(Path(run), "train", config)
        # From here on torch is needed; whatever could be wrong without it has been said.
        from geoseg.learn import learn

        return learn(
            dataset,
            Path(run),
            model=config.model,
            loss=config.loss,
            augment=config.augment,
            fit=config.fit,
            seed=seed,
        )


def check_dataset(dataset: Dataset) -> None:
    """Raises: InputError if scenes or targets are gone, or there is nothing to tell apart."""
    faults = Faults()
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


def _first(paths: Sequence[Any]) -> str:
    return ", ".join(map(str, paths[:3])) + (" …" if len(paths) > 3 else "")


if __name__ == "__main__":
    command.run("train", TrainConfig, main)
