"""Find out what a training starts from, without loading torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.models.card import BEST, ENCODER, LAST, EncoderCard, ModelCard, find_card, weights_hash
from geoseg.models.published import fetch
from geoseg.models.published.sources import SOURCES, Source, check_lite, check_name
from geoseg.models.settings import CLASSIFY, FOREST, OWN, Model
from geoseg.received import tensor_file
from geoseg.scenes.bands import in_order, is_nameless, nominal_range

COARSER = 2.0
"""Factor between pixel sizes from which on shapes look other to a network."""
OTHER_UNITS = 8.0
"""Factor between value ranges from which on units are likely to be others."""
SIZES = ("width", "layers", "heads", "keys")
"""Of networks for series; 0 = as published."""


@dataclass(frozen=True)
class Origin:
    """A weights file to start from, and its card if geoseg made it."""

    path: Path
    card: ModelCard | EncoderCard | None = None

    @classmethod
    def find(cls, weights: str | None) -> Origin | None:
        """What `model.weights` means; None where it is empty, or a name such as imagenet.

        Raises: InputError for what looks like a path but is no file, or a damaged one of geoseg.
        """
        path = local_file(weights)
        return None if path is None else cls(path, find_card(path))

    def check(self, model: Model) -> None:
        """Raises: InputError if it is another network's, as far as its card says."""
        faults = Faults()
        if isinstance(self.card, ModelCard):
            self._check_model(self.card.model, model, faults)
        elif model.for_series:
            faults.add(
                f"model.weights={self.path}: not of an earlier run of geoseg, which"
                f" model={model.name} must start from; give its run folder, or null"
            )
        elif isinstance(self.card, EncoderCard):
            self._check_encoder(self.card.encoder, model, faults)
            if model.keep == "network":
                faults.add(
                    f"model.keep=network: {self.path} is of an encoder alone; set"
                    " model.keep=encoder"
                )
        faults.raise_if_any()

    def _check_model(self, theirs: Model, model: Model, faults: Faults) -> None:
        if theirs.name == FOREST:
            faults.add(
                f"model.weights={self.path}: a forest, whose trees no network can start from; give"
                " the run of a network, or null"
            )
        elif theirs.name == OWN:
            faults.add(
                f"model.weights={self.path}: of {theirs.target}, which is code outside geoseg; no"
                f" {model.name} can start from its weights: give another run, or null"
            )
        elif CLASSIFY in (theirs.name, model.name) and theirs.name != model.name:
            faults.add(
                f"model.weights={self.path}: of the network {theirs.name}, this run's is"
                f" {model.name}: one of them classifies whole tiles, the other pixels, and their"
                " layers differ; give another run, or null"
            )
        elif model.for_series or theirs.for_series:
            for fault in _series_faults(theirs, model):
                faults.add(f"model.weights={self.path}: {fault}")
        else:
            self._check_encoder(theirs.encoder, model, faults)
            of = [f"{m.name} norm={m.norm}" if _segnets(theirs, model) else m.name
                  for m in (theirs, model)]  # fmt: skip
            if model.keep == "network" and of[0] != of[1]:
                faults.add(
                    f"model.weights={self.path}: its network is {of[0]}, this run's is {of[1]}, and"
                    " model.keep=network takes its decoder too; train the same, or set"
                    " model.keep=encoder"
                )

    def _check_encoder(self, encoder: str, model: Model, faults: Faults) -> None:
        if encoder != model.encoder:
            faults.add(
                f"model.weights={self.path}: its encoder is {encoder}, this run's is"
                f" {model.encoder}; set model.encoder={encoder}, or start from other weights"
            )

    def places(self, bands: Sequence[str]) -> tuple[int | None, ...] | None:
        """For each band which of the file's it is, None if it has none of that name.

        None in all: nothing is known of names; bands are taken as they come.
        """
        if self.card is None:
            return None
        before = self.card.bands
        if in_order(before, bands):
            return tuple(range(len(bands)))
        if all(map(is_nameless, before)) or all(map(is_nameless, bands)):
            return None
        known = {name: n for n, name in enumerate(before) if not is_nameless(name)}
        return tuple(known.get(band) for band in bands)

    def classes(self, names: Sequence[str]) -> dict[int, int]:
        """Index of each class that the file's legend names too → its index there."""
        before = self.card.legend.names if isinstance(self.card, ModelCard) else []
        return {n: before.index(name) for n, name in enumerate(names) if name in before}

    def notes(self, card: ModelCard) -> list[str]:
        """What else differs from the new network's card and may make the start a worse one."""
        before, notes = self.card, []
        if before is None:
            return []
        sizes = before.pixel_size_m, card.pixel_size_m
        if all(sizes) and max(sizes) > COARSER * min(sizes):
            notes.append(
                f"note: it saw pixels of {sizes[0]:.3g} m, these have {sizes[1]:.3g} m: objects"
                " have other sizes in pixels"
            )
        highs = dict(zip(before.bands, before.statistics.high, strict=True))
        pairs = [
            (highs[band], high)
            for band, high in zip(card.bands, card.statistics.high, strict=True)
            if band in highs
        ]
        ratio = float(
            np.median([nominal_range(b) / nominal_range(a) for a, b in pairs or [(1, 1)]])
        )
        if not 1 / OTHER_UNITS < ratio < OTHER_UNITS:
            notes.append(
                f"note: it saw {before.dtype} values up to {max(a for a, _ in pairs):g}, these are"
                f" {card.dtype} up to {max(b for _, b in pairs):g}; each training scales by its own"
                " statistics"
            )
        series = before.series if isinstance(before, ModelCard) else None
        if card.model.name == "tempcnn" and series and card.series:
            steps = series.step, card.series.step
            if steps[0] != steps[1]:
                notes.append(
                    f"note: its dates lay {steps[0]} days apart, these lie {steps[1]}: its"
                    " convolutions span another time"
                )
        return notes

    def provenance(self, keep: str) -> dict[str, str]:
        """What a model card says of it."""
        name = self.path.name
        if name in (BEST, ENCODER):
            name = f"{self.path.absolute().parent.name}/{name}"
        return {"name": name, "hash": weights_hash(self.path), "kept": keep}


def local_file(weights: str | None) -> Path | None:
    """The file that `model.weights` means, or None where it is a name such as imagenet.

    Raises: InputError for what looks like a path but is no file.
    """
    if weights is None:
        return None
    path = Path(weights).expanduser()
    for name in (BEST, ENCODER):
        if (path / name).is_file():
            return path / name
    if path.is_file():
        return path
    if path.exists() or path.suffix or os.sep in weights:
        kind = f"is a folder without {BEST}" if path.is_dir() else "no such file"
        raise InputError(
            f"model.weights={weights}: {kind}; give a run folder, a .safetensors or state dict of"
            " the encoder, a name such as imagenet, or null for random weights"
        )
    return None


def encoder_of(weights: str | None) -> str | None:
    """The encoder that weights are of, as far as they tell; of published ones the first of theirs.

    Raises: InputError as `Origin.find`.
    """
    start = Origin.find(weights)
    if start is None:
        named = published(weights)
        return named.encoders[0] if named else None
    if isinstance(start.card, EncoderCard):
        return start.card.encoder
    return start.card.model.encoder if start.card and not start.card.model.for_series else None


def published(weights: str | None) -> Source | None:
    """The published weights of that name, unless a file is called so; None if there are none.

    Raises: InputError for what looks like a path but is no file.
    """
    if weights is None or local_file(weights) is not None:
        return None
    return SOURCES.get(weights)


def goes_on(run: Path) -> bool:
    """Whether a run folder holds a training that was stopped: it is past its start."""
    return (run / LAST).exists()


def check(model: Model, run: Path | None = None) -> None:
    """Raises: InputError if a network can't start from what `model.weights` names.

    run: folder of the new training, which replaces what is in it.
    """
    start = Origin.find(model.weights)
    if start is not None:
        replaced = [] if run is None else [(run / name).resolve() for name in (BEST, ENCODER, LAST)]
        if start.path.resolve() in replaced:
            raise InputError(
                f"model.weights={model.weights}: this training would replace it; choose another"
                " folder for run="
            )
        start.check(model)
        if start.card is not None:
            tensor_file.check(start.path)
            if model.weights_bands is not None:
                raise InputError(
                    f"model.weights_bands: {start.path} names its bands itself"
                    f" ({', '.join(start.card.bands)}); leave it out"
                )
        elif not model.for_series:
            check_lite(model)
    elif model.weights is not None:
        faults = Faults()
        if model.for_series:
            faults.add(
                f"model.weights={model.weights}: there are none for model={model.name}; give the"
                " folder of an earlier run, or null"
            )
        elif model.keep == "network":
            faults.add(
                f"model.keep=network: model.weights={model.weights} has no decoder; give the folder"
                " of an earlier run, or set model.keep=encoder"
            )
        else:
            with faults.collect():
                check_lite(model)
                check_name(model)
            source = published(model.weights)
            if source is not None:
                faults.attempt(source.check, model)
                faults.attempt(fetch.check, source)
        faults.raise_if_any()


def _segnets(*models: Model) -> bool:
    return all(model.name == "segnet" for model in models)


def _series_faults(theirs: Model, model: Model) -> list[str]:
    """What keeps a network for series, or another, from starting with the weights of `theirs`."""
    if theirs.name != model.name:
        return [
            f"of the network {theirs.name}, this run's is {model.name}; start from a run of"
            f" {model.name}, or set model={theirs.name}"
        ]
    keys = [key for key in SIZES if getattr(theirs, key) and getattr(model, key)]
    keys += ["cell", "bidirectional"] if model.name == "lstm" else []
    return [
        f"trained with model.{key}={_said(theirs, key)}, this run has {_said(model, key)}; set"
        f" model.{key}={_said(theirs, key)}"
        for key in keys
        if getattr(theirs, key) != getattr(model, key)
    ]


def _said(model: Model, key: str) -> str:
    return str(getattr(model, key)).lower()
