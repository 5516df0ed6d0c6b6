"""Train an encoder on scenes without labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from geoseg.dataset.unlabelled import Imagery
from geoseg.models import checkpoint
from geoseg.models.card import ENCODER, EncoderCard, ModelCard
from geoseg.outputs.counted import counted
from geoseg.samples.augment import Augment
from geoseg.samples.draw import Draw
from geoseg.samples.unlabelled import SceneTiles
from geoseg.training.cards import card_of_imagery
from geoseg.training.loop import Task
from geoseg.training.objectives.distillation import (
    Distillation,
    DistillationValidator,
    Distilled,
)
from geoseg.training.objectives.reconstruction import (
    Reconstruction,
    ReconstructionValidator,
    hidden,
)
from geoseg.training.objectives.settings import Masking, Pretext
from geoseg.training.optimizer import encoder_of
from geoseg.training.processes.ranks import Session, ready
from geoseg.training.run.history import History
from geoseg.training.run.recorder import Keep
from geoseg.training.run_training import TaskBuilder, loaders, run_training
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import TrainingSettings
from geoseg.training.tasks.images import CPU_BATCH, GPU_BATCH

Sample = tuple[Tensor, Tensor]
"""Image (C, side, side) float32, valid (side, side) bool."""


class DrawnTiles(TorchDataset[Sample]):
    """Tiles moved at random and augmented."""

    def __init__(self, source: Imagery, augment: Augment, *, jitter: bool = True) -> None:
        self.tiles = SceneTiles(
            source.train,
            source.side,
            source.statistics,
            augment,
            aside=source.val,
            jitter=jitter,
        )

    def __getitem__(self, draw: Draw) -> Sample:
        image, valid = self.tiles.draw(draw[0], np.random.default_rng(draw[1]))
        return torch.from_numpy(image), torch.from_numpy(valid)

    def title(self, draw: Draw) -> str:
        """What a draw shows, for people."""
        scene, window = self.tiles.tiles[draw[0]]
        return f"{scene.name} (near row {window.top}, column {window.left})"

    def __len__(self) -> int:
        return len(self.tiles)


class StillTiles(TorchDataset[tuple[Tensor, Tensor, Tensor]]):
    """Tiles as they lie, and what of them is hidden, always the same."""

    def __init__(self, source: Imagery, masking: Masking) -> None:
        self.tiles = SceneTiles(source.val, source.side, source.statistics)
        self._masking = masking

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        image, valid = self.tiles.still(number)
        generator = torch.Generator().manual_seed(number)
        away = hidden((1, *valid.shape), self._masking, generator)[0]
        return torch.from_numpy(image), torch.from_numpy(valid), away

    def __len__(self) -> int:
        return len(self.tiles)


def learn_encoder(
    source: Imagery,
    folder: Path,
    study: TrainingSettings,
    *,
    pretext: Pretext,
) -> str:
    """Train into `folder`; as `run_training`."""
    session = ready(study, CPU_BATCH, on_gpu=GPU_BATCH)
    return run_training(
        TaskBuilder(
            session=session,
            card=card_of_imagery(source, study.model),
            task=partial(_task, source, session=session, pretext=pretext),
            opening=partial(_opening, source, session),
            report=_report,
            keeper=_keeper,
            product=_product,
        ),
        folder,
    )


def _task(
    source: Imagery,
    network: nn.Module,
    session: Session,
    pretext: Pretext,
    *,
    folder: Path,
    keep: Keep,
) -> Task:
    study, fit, masking = session.study, session.study.fit, pretext.masking
    train, val = DrawnTiles(source, study.augment, jitter=fit.jitter), StillTiles(source, masking)
    shuffle = Shuffle(len(train), least=fit.least, batch=fit.batch_size, seed=study.seed)
    learnt: dict[str, Any] = {
        "network": network,
        "objective": Reconstruction(masking, session.ranks),
        "validator": ReconstructionValidator(),
    }
    distilling = pretext.distilling
    if distilling is not None:
        learnt = {
            "network": Distilled(_encoder(network), len(source.bands), distilling.prototypes),
            "objective": Distillation(
                distilling, autocast=session.fabric.autocast, ranks=session.ranks
            ),
            "validator": DistillationValidator(),
        }
    return Task(
        **learnt,
        **loaders(session, train, val, shuffle),
        folder=folder,
        keep=keep,
        title=train.title,
    )


def _keeper(folder: Path, card: ModelCard) -> Keep:
    """What saves the encoder of the best network."""

    def keep(best: nn.Module, scores: dict[str, Any]) -> None:
        name = card.model.encoder
        own = EncoderCard(name, card.bands, card.statistics, card.dtype, card.pixel_size_m, scores)
        checkpoint.save_encoder(folder / ENCODER, _encoder(best), own)

    return keep


def _encoder(network: nn.Module) -> nn.Module:
    encoder = encoder_of(network)
    assert encoder is not None  # a forest has none, and was refused
    return encoder


def _opening(source: Imagery, session: Session, network: nn.Module, _: Task) -> str:
    size, model = sum(p.numel() for p in _encoder(network).parameters()) / 1e6, session.study.model
    return (
        f"encoder {model.encoder} of {model.name}, {size:.1f} million weights,"
        f" {counted(len(source.bands), 'band')}, on {session}\n"
        f"{counted(len(source.train), 'train tile')} of {source.side} px,"
        f" {counted(len(source.val), 'val tile')}"
    )


def _report(_: Path, history: History) -> str:
    best = history.rows[history.best_epoch - 1] if history.best_epoch else {}
    if "val_match" in best:
        return (
            "of the val tiles, each part finds the other of its tile with a probability of"
            f" {best['val_match']:.3f} (by chance: {best['val_match_by_chance']:.3f})"
        )
    if "val_error" not in best:
        return ""
    return (
        f"hidden pixels are filled in with a mean error of {best['val_error']:.3f} standard"
        f" deviations of their band (their mean alone: {best['val_error_of_mean']:.3f})"
    )


def _product(folder: Path) -> str:
    weights = folder / ENCODER
    return f"encoder: {weights} (python -m geoseg.train model.weights={weights})"
