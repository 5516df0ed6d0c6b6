"""Check a training's settings and start it in one process per device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.tiles import Dataset
from geoseg.dataset.unlabelled import Imagery
from geoseg.errors import Faults
from geoseg.models import origin
from geoseg.models.card import BEST, LAST
from geoseg.models.settings import FOREST, Model
from geoseg.samples.augment import Augment
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import Scene
from geoseg.training import refit
from geoseg.training.cards import card_of
from geoseg.training.checks import check_dataset, check_fit, check_series, find_unlabelled
from geoseg.training.config import TrainConfig
from geoseg.training.processes import launch
from geoseg.training.run.folder import LOGS, check_logger, check_start, opened
from geoseg.training.run.history import METRICS
from geoseg.training.settings import Fit, Loss, TrainingSettings

SERIES_PRODUCTS = ("scores.json", "by_date.csv", "by_date.png")
PRODUCTS = (BEST, LAST, METRICS, "curves.png", "pictures", refit.FOLDER, *LOGS)


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
    with faults.collect():
        check_fit(config.fit, config.model, tried=config.lr_find)
    with faults.collect():
        check_logger(config.fit, tried=config.lr_find)
    config = replace(config, dataset=str(dataset.folder.absolute()))
    unlabelled: list[Scene] = []
    if config.fit.unlabelled is not None:
        card = card_of(dataset, config.model)
        bands = Bands(**dataset.settings["bands"])
        with faults.collect():
            unlabelled = find_unlabelled(config.fit.unlabelled, card, bands)
    files = [path for scene in unlabelled for path in scene.paths]
    with faults.collect():
        _check_start(config, files=files)
    faults.raise_if_any()
    with _opened(config, PRODUCTS, files=files):
        launch.announce_torch(config.fit.nodes)
        return _spread(dataset, config, unlabelled=unlabelled)


def _study(config: TrainConfig) -> TrainingSettings:
    return TrainingSettings(
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
    with faults.collect():
        check_fit(config.fit, config.model, tried=config.lr_find)
    with faults.collect():
        check_logger(config.fit, tried=config.lr_find)
    with faults.collect():
        if isinstance(dataset, Dataset):
            check_dataset(dataset, config.model)
        else:
            check_series(dataset, config.model)
    if isinstance(dataset, Dataset) and config.series.fill == "linear":
        faults.add(
            f"series.fill=linear: model={config.model.name} takes dates as they are; leave it out"
        )
    if isinstance(dataset, Dataset) and config.fit.baseline != "none":
        faults.add(
            f"fit.baseline={config.fit.baseline}: none for windows through time; leave it out, or"
            " prepare the series with unit=pixel"
        )
    config = replace(config, dataset=str(dataset.folder.absolute()))
    with faults.collect():
        _check_start(config, but="augment")
    faults.raise_if_any()
    with _opened(config, (*PRODUCTS, *SERIES_PRODUCTS), but="augment"):
        launch.announce_torch(config.fit.nodes)
        return _spread(dataset, config)


def _spread(dataset: SeriesDataset | Dataset, config: TrainConfig, **options: Any) -> str:
    """Train in each process. options: of the one that learns, besides those that all have."""
    fit = config.fit
    said = launch.spread(
        learn, dataset, Path(config.run), _study(config), devices=fit.devices, nodes=fit.nodes,
        **options,
    )  # fmt: skip
    return said + _baseline(dataset, config)


def learn(
    source: SeriesDataset | Dataset | Imagery, folder: Path, study: TrainingSettings, **options: Any
) -> str:
    """Train on any source, in a process of its own or in this one; as `run_training`.

    Only here torch loads: whatever could be wrong without it has been said.
    """
    if isinstance(source, Imagery):
        from geoseg.training.tasks.encoder import learn_encoder

        return learn_encoder(source, folder, study, **options)
    if study.model.name == FOREST:
        from geoseg.training.tasks.forest import learn_forest

        return learn_forest(source, folder, study)
    if isinstance(source, SeriesDataset):
        from geoseg.training.tasks.series import learn_series

        return learn_series(source, folder, study)
    if source.reference is not None:
        from geoseg.training.tasks.cubes import learn_map

        return learn_map(source, folder, study)
    from geoseg.training.tasks import images

    return images.learn(source, folder, study, **options)


def _baseline(dataset: SeriesDataset | Dataset, config: TrainConfig) -> str:
    """What a forest makes of the same samples, if that is asked for, as one more line."""
    wanted = config.fit.baseline != "none" and not config.lr_find
    if not wanted or not launch.first(config.fit.nodes):
        return ""
    from geoseg.training.tasks.forest import beside

    return f"\n{beside(dataset, _study(config))}"


def _check_start(config: TrainConfig, *, but: str = "", files: Sequence[str] = ()) -> None:
    """Raises: InputError if the network can't start from what `model.weights` names."""
    if config.lr_find:
        origin.check(config.model)
    else:
        check_start(config, "train", but=("lr_find", but), files=files)


def _opened(
    config: TrainConfig, products: tuple[str, ...], *, but: str = "", files: Sequence[str] = ()
) -> AbstractContextManager[None]:
    """The run folder, claimed; a range test of learning rates leaves it as it is.

    but: a room of settings that the training does not read.
    """
    if config.lr_find:
        return nullcontext()
    return opened(config, "train", products, but=("lr_find", but), files=files)
