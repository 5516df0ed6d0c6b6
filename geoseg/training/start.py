"""Check a training's settings and start it in one process per device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.tiles import Dataset, said_of_changes_since
from geoseg.dataset.unlabelled import Imagery
from geoseg.errors import Faults
from geoseg.models import origin
from geoseg.models.card import BEST, LAST
from geoseg.models.settings import AUTO, CLASSIFY, FOREST, OWN, Model
from geoseg.received.target import describe
from geoseg.samples.augment import Augment
from geoseg.samples.settings import IMAGES, SERIES, WINDOWS, check_variation
from geoseg.scenes.bands import Bands
from geoseg.training import recipe, refit
from geoseg.training.cards import card_of, card_of_samples
from geoseg.training.checks import (
    check_dataset,
    check_fit,
    check_own_series,
    check_scene,
    check_series,
    check_several,
    find_styles,
    find_unlabelled,
)
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.processes import launch
from geoseg.training.run.folder import LOGS, check_logger, check_start, network_of, opened
from geoseg.training.run.history import METRICS
from geoseg.training.settings import NOTHING_OWN, Fit, Own, TrainingSettings
from geoseg.training.tasks.earlier import EarlierRun, remembering

SCORES = "scores.json"
SERIES_PRODUCTS = ("by_date.csv", "by_date.png")
PRODUCTS = (BEST, LAST, METRICS, "curves.png", "pictures", SCORES, refit.FOLDER, *LOGS)


def train(  # noqa: PLR0913 one keyword per key of the command, as notebooks call it
    dataset: Dataset | SeriesDataset,
    run: str | Path,
    *,
    model: Any = None,
    loss: Any = None,
    augment: Any = None,
    fit: Fit | None = None,
    metric: Any = None,
    seed: int = 0,
    overwrite: bool = False,
) -> str:
    """Train a network into the folder `run`, or go on there, with one process per device.

    model: settings, by default those of `recipe.network_for`; or a torch module, whose weights are
    the start; it is left as it is.
    loss: settings, or a callable (logits, target) → a number, as `OwnLoss`.
    augment: settings, or an albumentations transform, or a callable as `OwnAugmentation`.
    metric: callable of the confusion matrix (K, K) of each validation, rows labels; its number, or
    its numbers by name, go into metrics.csv as val_<name>.
    Returns: what came out, as a text for people.
    Raises: InputError before the first step for anything that could not end well.
    """
    config = TrainConfig(
        str(dataset.folder),
        str(run),
        seed,
        model=Model(AUTO, AUTO, AUTO) if model is None else _settings_of(model, Model, name=OWN),
        loss=_settings_of(loss, Loss),
        augment=_settings_of(augment, Augment),
        fit=fit or Fit(),
        overwrite=overwrite,
    )
    own = Own(
        None if isinstance(model, Model) else model,
        None if isinstance(loss, Loss) else loss,
        None if isinstance(augment, Augment) else augment,
        metric,
    )
    if isinstance(dataset, Dataset) and dataset.reference is None:
        return train_images(dataset, config, own)
    return train_series(dataset, config, own)


def _settings_of(given: Any, kind: type, **known: Any) -> Any:
    """Settings as they are given, or those that describe an object."""
    if given is None or isinstance(given, kind):
        return kind() if given is None else given
    return kind(target=describe(given), **known)


def train_images(dataset: Dataset, config: TrainConfig, own: Own = NOTHING_OWN) -> str:
    """Train a network for images into the folder `config.run`; as `train`."""
    faults = Faults()
    given, remember, before = config.model, config.fit.remember, network_of(config, "train")
    model = recipe.network_for(given, dataset, remember=remember, before=before)
    config = remembering(replace(config, model=model))
    faults.attempt(check_dataset, dataset, config.model)
    faults.attempt(check_fit, config.fit, config.model, tried=config.lr_find)
    faults.attempt(check_logger, config.fit, tried=config.lr_find)
    faults.attempt(check_variation, config.augment, config.series, IMAGES)
    faults.attempt(check_scene, config.scene, config.model, dataset)
    faults.attempt(check_several, config.scene, config.loss, config.fit, own.metric)
    config = replace(config, dataset=str(dataset.folder.absolute()))
    fit, style, earlier = config.fit, config.augment.style, None
    if fit.remember is not None:
        earlier = faults.attempt(EarlierRun.find, fit.remember, dataset, config.model)
    unlabelled, styles = None, None
    card = partial(card_of, dataset, config.model)
    if fit.unlabelled is not None:
        bands = Bands(**dataset.settings["bands"])
        unlabelled = faults.attempt(find_unlabelled, fit.unlabelled, card(), bands)
    if style is not None and config.model.name == FOREST:
        faults.add(f"augment.style={style}: a forest sees each pixel once, as it is; leave it out")
    elif style is not None:
        styles = faults.attempt(find_styles, config.augment, card(), dataset)
    files = [path for scene in (*(unlabelled or ()), *(styles or ())) for path in scene.inputs]
    if fit.remember is None or earlier is not None:  # else it is no start that was asked for
        faults.attempt(_check_start, config, files=files)
    faults.raise_if_any()
    lacks = recipe.what_lacks(given, config.model, dataset)
    for text in (*said_of_changes_since(dataset), *lacks):
        print(f"geoseg train: WARNING: {text}", file=sys.stderr)
    _check_own(dataset, config, own)
    with _opened(config, PRODUCTS, files=files):
        launch.announce_torch(config.fit.nodes)
        if config.model.name == CLASSIFY:
            return _spread(dataset, config, own)
        return _spread(dataset, config, own, unlabelled=unlabelled or (), earlier=earlier)


def _study(config: TrainConfig, own: Own) -> TrainingSettings:
    return TrainingSettings(
        config.model, config.loss, config.fit, config.series, config.seed, config.lr_find,
        config.augment, own, config.scene,
    )  # fmt: skip


def _check_own(dataset: SeriesDataset | Dataset, config: TrainConfig, own: Own) -> None:
    """Try what is not geoseg's, before anything is written. Raises: InputError."""
    study = _study(config, own)
    if not study.has_own:
        return
    launch.announce_torch(config.fit.nodes)
    from geoseg.training.own import check_own

    card = (
        card_of(dataset, config.model)
        if isinstance(dataset, Dataset)
        else card_of_samples(dataset, study, dataset.statistics)
    )
    check_own(study, card)


def train_series(
    dataset: SeriesDataset | Dataset, config: TrainConfig, own: Own = NOTHING_OWN
) -> str:
    """Train a network for series into the folder `config.run`, or go on there.

    dataset: of parcels or pixels, or one of dated scenes.
    Returns: what came out, as a text for people.
    Raises: InputError before the first step for anything that could not end well.
    """
    faults = Faults()
    config = replace(config, model=recipe.network_for(config.model, dataset))
    faults.attempt(check_fit, config.fit, config.model, tried=config.lr_find)
    faults.attempt(check_logger, config.fit, tried=config.lr_find)
    faults.attempt(check_own_series, config.fit, config.model)
    holds = WINDOWS if isinstance(dataset, Dataset) else SERIES
    faults.attempt(check_variation, config.augment, config.series, holds)
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
    faults.attempt(_check_start, config, but="augment")
    faults.raise_if_any()
    _check_own(dataset, config, own)
    with _opened(config, (*PRODUCTS, *SERIES_PRODUCTS), but="augment"):
        launch.announce_torch(config.fit.nodes)
        return _spread(dataset, config, own)


def _spread(dataset: SeriesDataset | Dataset, config: TrainConfig, own: Own, **options: Any) -> str:
    """Train in each process. options: of the one that learns, besides those that all have."""
    fit = config.fit
    said = launch.spread(
        learn, dataset, Path(config.run), _study(config, own), devices=fit.devices, nodes=fit.nodes,
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
    if study.model.name == CLASSIFY and isinstance(source, Dataset):
        from geoseg.training.tasks.scenes import learn_scenes

        return learn_scenes(source, folder, study)
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

    return f"\n{beside(dataset, _study(config, NOTHING_OWN))}"


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
