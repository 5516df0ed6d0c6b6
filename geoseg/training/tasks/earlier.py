"""Find the earlier run that fit.remember names, without torch, and what a training takes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoseg.dataset.tiles import Dataset
from geoseg.errors import Faults, InputError
from geoseg.models.card import ModelCard, find_weights
from geoseg.models.origin import OTHER_UNITS
from geoseg.models.settings import FOREST, OWN, Model
from geoseg.received import tensor_file
from geoseg.scenes.bands import BandStatistics, in_order, is_nameless, nominal_range
from geoseg.training.config import TrainConfig


@dataclass(frozen=True)
class EarlierRun:
    """The network whose classes are to be kept, and what it knows of a data set's bands."""

    path: Path
    """Its weights."""
    card: ModelCard
    bands: tuple[int, ...]
    """Index of each of its bands in the data set."""
    classes: tuple[int, ...]
    """Index of each of its classes in the data set's legend."""

    @classmethod
    def find(cls, remember: str, dataset: Dataset, model: Model) -> EarlierRun:
        """model: of the training, which must be like that of the run.

        Raises: InputError if that is no run of images, of another network, or knows bands or
        classes that the data set has not.
        """
        path, card = _read(remember)
        faults = Faults()
        theirs = (card.model.name, card.model.encoder)
        if theirs != (model.name, model.encoder):
            faults.add(
                f"fit.remember={remember}: {' with '.join(theirs)}, and this training is of"
                f" {model.name} with {model.encoder}; set model.name={theirs[0]}"
                f" model.encoder={theirs[1]}, as both must be the same"
            )
        names = dataset.legend.names
        missing = [name for name in card.legend.names if name not in names]
        if missing:
            faults.add(
                f"fit.remember={remember}: knows {', '.join(missing)}, and the legend of"
                f" {dataset.folder} has {', '.join(names)}; run geoseg.prepare with all classes of"
                " the earlier legend, by the same names and in any order, besides the new ones"
            )
        bands: tuple[int, ...] = ()
        with faults.collect():
            bands = _bands(remember, card, dataset)
        faults.raise_if_any()
        return cls(path, card, bands, tuple(map(names.index, card.legend.names)))

    def scaled(self, dataset: Dataset) -> Dataset:
        """The data set with the scaling of this run, so that both networks see the same."""
        mine, theirs = dataset.statistics.to_dict(), self.card.statistics.to_dict()
        for name, values in mine.items():
            for old, new in enumerate(self.bands):
                values[new] = theirs[name][old]
        return replace(dataset, statistics=BandStatistics.from_dict(dict(mine)))

    def said(self, names: Sequence[str]) -> list[str]:
        """What is to be said at the start."""
        old = [names[n] for n in self.classes]
        new = [name for name in names if name not in old]
        return [
            f"remembers {', '.join(old)} as {self.path} knows them, whose scaling is kept; new:"
            f" {', '.join(new) or 'none'}",
            "note: what has an image and no label counts as one of the old classes: label all of"
            " a new class in the labelled area",
        ]


def _read(remember: str) -> tuple[Path, ModelCard]:
    """Weights and card of a run. Raises: InputError for one from which no training can start."""
    try:
        path = find_weights(remember)
    except InputError:
        raise InputError(
            f"fit.remember={remember}: no such run; give the folder of an earlier run of"
            " geoseg.train, or its best.safetensors"
        ) from None
    card = ModelCard.read(path)
    tensor_file.check(path)
    if card.series is not None:
        raise InputError(f"fit.remember={remember}: of series; give a run of images")
    if card.model.name in (FOREST, OWN):
        what = "a forest" if card.model.name == FOREST else "a network of other code"
        raise InputError(
            f"fit.remember={remember}: {what}, from which no network of geoseg can start; give"
            " the run of one that geoseg built"
        )
    return path, card


def _bands(remember: str, card: ModelCard, dataset: Dataset) -> tuple[int, ...]:
    """Where each band of the run is in the data set: by name; in order where either has no names.

    Raises: InputError for bands that the data set has not, or has in other units.
    """
    before, now = card.bands, dataset.bands
    if in_order(before, now) or all(map(is_nameless, before)) or all(map(is_nameless, now)):
        gone = before[len(now) :]
        places = tuple(range(len(before)))
    else:
        gone = tuple(band for band in before if band not in now)
        places = tuple(now.index(band) for band in before if band in now)
    if gone:
        raise InputError(
            f"fit.remember={remember}: sees {', '.join(before)}, and {dataset.folder} has"
            f" {', '.join(now)}: no {', '.join(gone)}; give scenes with all of them,"
            " or name the bands in prepare: bands.names"
        )
    theirs, highs = card.statistics.high, [dataset.statistics.high[n] for n in places]
    pairs = zip(theirs, highs, strict=True)
    ratio = float(np.median([nominal_range(high) / nominal_range(old) for old, high in pairs]))
    if not 1 / OTHER_UNITS < ratio < OTHER_UNITS:
        raise InputError(
            f"fit.remember={remember}: saw {card.dtype} values up to"
            f" {max(theirs):g}, and those of {dataset.folder} go up to"
            f" {max(highs):g}; give scenes in the units of that run, whose scaling is kept"
        )
    return places


def remembering(config: TrainConfig) -> TrainConfig:
    """The settings with the start that fit.remember means: all of the earlier run's weights.

    Raises: InputError for settings that say otherwise.
    """
    remember, model = config.fit.remember, config.model
    if remember is None:
        return config
    faults = Faults()
    if model.name == OWN:
        faults.add(
            f"fit.remember={remember}: geoseg's networks alone start from an earlier run, and"
            " model.target names another; leave one of them out"
        )
    if model.weights is not None and not _same(model.weights, remember):
        faults.add(
            f"model.weights={model.weights}: fit.remember={remember} starts from that run;"
            " leave model.weights out"
        )
    faults.raise_if_any()
    if model.name == FOREST or model.for_series:
        return config  # refused by the checks of settings
    return replace(config, model=replace(model, weights=remember, keep="network"))


def _same(weights: str, remember: str) -> bool:
    try:
        return find_weights(weights).resolve() == find_weights(remember).resolve()
    except InputError:
        return False
