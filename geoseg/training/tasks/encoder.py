"""Train an encoder on scenes without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from geoseg.dataset.unlabelled import Imagery
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint, transfer
from geoseg.models.card import ENCODER, EncoderCard, ModelCard
from geoseg.models.networks import build as models
from geoseg.samples.augment import Augment
from geoseg.samples.draw import Draw
from geoseg.samples.unlabelled import SceneTiles
from geoseg.training.loop import Task, fit_network, loading
from geoseg.training.objectives.reconstruction import Reconstruction, ReconstructionJudge, hidden
from geoseg.training.processes.ranks import Ranks, ready
from geoseg.training.run.history import History
from geoseg.training.sampler import Share, Shuffle
from geoseg.training.settings import Fit, Masking, TrainingSettings
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
    source: Imagery, folder: Path, study: TrainingSettings, *, masking: Masking
) -> str:
    """Train into `folder`, with the other processes if there are any.

    Returns: what came out, as a text for people.
    """
    torch.manual_seed(study.seed)
    study, device, fabric = ready(study, CPU_BATCH, on_gpu=GPU_BATCH)
    fit, ranks = study.fit, Ranks.of(fabric)
    channels = len(source.bands)
    network, started = models.build(study.model, channels, channels), ""
    assert isinstance(network, models.AnySize)  # a forest has no encoder, and was refused
    if study.model.weights is not None:
        with fabric.rank_zero_first(local=True):
            _, started = transfer.begin(network, study.model, _card(source, study), folder)
    if ranks.first:
        print(started + _opening(source, network, study, f"{device}{ranks}"))
    task = _task(source, network, study, folder, fabric, masking)
    history = fit_network(task, fit, fabric=fabric, seed=study.seed)
    return _closing(history, fit, folder)


def _task(
    source: Imagery,
    network: models.AnySize,
    study: TrainingSettings,
    folder: Path,
    fabric: Fabric,
    masking: Masking,
) -> Task:
    fit, ranks = study.fit, Ranks.of(fabric)
    train, val = DrawnTiles(source, study.augment, jitter=fit.jitter), StillTiles(source, masking)
    part, options = ranks.share(fit.batch_size), loading(fit, fabric.device)
    shuffle = Shuffle(len(train), least=fit.least, batch=fit.batch_size, seed=study.seed)
    share = Share.of(shuffle, fit, ranks)

    def keep(best: nn.Module, scores: dict[str, Any]) -> None:
        card = EncoderCard(
            study.model.encoder,
            source.bands,
            source.statistics,
            source.dtype,
            source.pixel_size_m,
            scores,
        )
        encoder = best.encoder
        assert isinstance(encoder, nn.Module)
        checkpoint.save_encoder(folder / ENCODER, encoder, card)

    return Task(
        network,
        Reconstruction(masking, ranks),
        DataLoader(train, part, sampler=share, **options),
        DataLoader(val, part, sampler=range(ranks.number, len(val), ranks.count), **options),
        ReconstructionJudge(),
        folder,
        keep,
        train.title,
    )


def _card(source: Imagery, study: TrainingSettings) -> ModelCard:
    """What is trained, in the words of a card: what it fills in are its classes."""
    classes = [{"code": n + 1, "name": b, "color": "#000000"} for n, b in enumerate(source.bands)]
    return ModelCard(
        study.model.trained(),
        source.bands,
        source.statistics,
        source.dtype,
        None,
        {},
        source.pixel_size_m,
        Legend.parse(classes, "bands"),
        Tiling(source.side, 0),
        {},
    )


def _opening(source: Imagery, network: models.AnySize, study: TrainingSettings, on: str) -> str:
    size = sum(p.numel() for p in network.encoder.parameters()) / 1e6
    lines = [
        f"encoder {study.model.encoder} of {study.model.name}, {size:.1f} million weights,"
        f" {len(source.bands)} bands, on {on}",
        f"{len(source.train)} train tiles of {source.side} px, {len(source.val)} val tiles",
    ]
    return "\n".join(lines)


def _closing(history: History, fit: Fit, folder: Path) -> str:
    lines = [f"{history.finished(fit)}: {history.minutes:.1f} minutes"]
    best = history.rows[history.best_epoch - 1] if history.best_epoch else {}
    if "val_error" in best:
        lines.append(
            f"hidden pixels are filled in with a mean error of {best['val_error']:.3f} standard"
            f" deviations of their band (their mean alone: {best['val_error_of_mean']:.3f})"
        )
    lines += [f"note: {remark}" for remark in history.remarks()]
    lines.append(
        f"encoder: {folder / ENCODER} (python -m geoseg.train model.weights={folder / ENCODER})"
    )
    return "\n".join(lines)
