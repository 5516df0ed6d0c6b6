"""Train networks that give a whole tile one class, or say of each class whether it is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from geoseg.dataset.scene_classes import SceneTiles, classes_of
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo.legend import IGNORED
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.card import BEST, ModelCard
from geoseg.outputs.counted import counted
from geoseg.outputs.files import write_json
from geoseg.samples.scenes import SceneSamples
from geoseg.samples.tiles import gather, sample_side, train_tiles
from geoseg.training import recipe, refit
from geoseg.training.cards import card_of
from geoseg.training.loop import Task
from geoseg.training.objectives.own import criterion_of
from geoseg.training.objectives.several import (
    HALF,
    SeveralLoss,
    SeveralObjective,
    SeveralScores,
    SeveralValidator,
    best_thresholds,
)
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import Session, ready
from geoseg.training.run.history import History
from geoseg.training.run.recorder import Keep
from geoseg.training.run_training import TaskBuilder, loaders, run_training
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import TrainingSettings
from geoseg.training.tasks.images import augmentation, styles_of, with_val
from geoseg.training.validation import SegmentationValidator, Validator, inputs

CPU_BATCH, GPU_BATCH = 16, 64
"""Tiles per step where the settings leave it open: each is one sample, not thousands of pixels."""
SCORES = "scores.json"


def learn_scenes(dataset: Dataset, folder: Path, study: TrainingSettings) -> str:
    """Train into `folder`; as `run_training`."""
    scenes = SceneTiles.of(dataset, study.scene)
    session = ready(recipe.for_images(study, scenes.dataset), CPU_BATCH, on_gpu=GPU_BATCH)
    made, learning = scenes.dataset, SceneLearning(scenes, session)
    return run_training(
        TaskBuilder(
            session=session,
            card=learning.card,
            task=partial(learning.task, made),
            again=partial(learning.task, with_val(made)) if made.tiles("val") else None,
            opening=learning.opening,
            report=learning.report,
        ),
        folder,
    )


@dataclass(frozen=True)
class SceneLearning:
    """What networks learn from tiles with a class or several, and what is said of it."""

    scenes: SceneTiles
    session: Session

    @property
    def card(self) -> ModelCard:
        """Its windows are tiles: what has another size shows other things."""
        dataset = self.scenes.dataset
        side = sample_side(dataset.tiles("train"), dataset.tiling.size)
        several = self.session.study.scene.several
        return replace(
            card_of(dataset, self.session.study.model),
            tiling=Tiling(side, 0),
            thresholds=(HALF,) * len(dataset.legend) if several else None,
        )

    def task(self, dataset: Dataset, network: nn.Module, *, folder: Path, keep: Keep) -> Task:
        """As `TaskBuilder.task`."""
        study, ranks, names = self.session.study, self.session.ranks, dataset.legend.names
        tiles = train_tiles(dataset, study.fit.train_share, study.seed)
        train = SceneSamples(
            dataset,
            tiles,
            classes=study.scene,
            augment=augmentation(study),
            style=styles_of(dataset, study, tiles),
            jitter=study.fit.jitter,
        )
        val = self._samples(dataset.tiles("val"))
        objective: Supervised
        validator: Validator
        if study.scene.several:
            counts = study.scene.presence(tiles).astype(float)
            objective, validator = SeveralObjective(SeveralLoss(ranks)), SeveralValidator(names)
        else:
            counts = np.eye(len(names))[classes_of(tiles)]
            objective = Supervised(criterion_of(study, counts, names=names, ranks=ranks))
            validator = SegmentationValidator(names, study.own.metric)
        shuffle = Shuffle.of(counts, study.fit, study.seed)
        return Task(
            network=network,
            objective=objective,
            **loaders(self.session, train, val, shuffle, collate_fn=gather),
            validator=validator,
            folder=folder,
            keep=keep,
            title=train.title,
        )

    def _samples(self, tiles: list[Tile]) -> SceneSamples:
        return SceneSamples(self.scenes.dataset, tiles, classes=self.session.study.scene)

    def opening(self, network: nn.Module, task: Task) -> str:
        """As `TaskBuilder.opening`."""
        dataset, study = self.scenes.dataset, self.session.study
        size = sum(p.numel() for p in network.parameters()) / 1e6
        kind = "several classes" if study.scene.several else "one class"
        train: Any = task.train.dataset
        val: Any = task.val.dataset
        lines = [
            f"{study.model.title}, {kind} for each tile, {size:.1f} million weights,"
            f" {counted(len(dataset.bands), 'band')}, {len(dataset.legend)} classes, on"
            f" {self.session}",
            f"{counted(len(train), 'train tile')} of {train.side} px,"
            f" {counted(len(val), 'val tile')}",
            recipe.said(study),
        ]
        return "\n".join([*lines, *self.scenes.said(study.scene)])

    def report(self, folder: Path, _: History) -> str:
        """As `TaskBuilder.report`: scores of all splits, and their errors side by side."""
        if self.session.study.scene.several:
            return self._several_report(folder)
        best, _card = checkpoint.load(refit.judged_weights(folder), self.session.study.network)
        network = self.session.device.place(best)
        names = self.scenes.dataset.legend.names
        written, said, errors = {}, [], []
        for split in SPLITS:
            tiles = self.scenes.dataset.tiles(split)
            if not tiles:
                continue
            truth, logits = self._seen(network, tiles)
            found = logits.argmax(1)
            matrix = confusion(truth, found, len(names))
            scores = Scores.of(matrix, names)
            by_scene = _by_scene(tiles, truth, found)
            more = {"confusion": matrix.tolist(), "by_scene": by_scene}
            written[split] = scores.to_dict() | more
            errors.append(f"{split} {1 - scores.overall_accuracy:.1%}")
            if split != "train":
                said.append(f"{split}: {counted(len(tiles), 'tile')}\n{scores.table('tile')}")
        write_json(folder / SCORES, written)
        return "\n\n".join([*said, f"error: {', '.join(errors)}"])

    @torch.inference_mode()
    def _seen(self, network: nn.Module, tiles: list[Tile]) -> tuple[np.ndarray, np.ndarray]:
        """Of each tile what is true, (N,) or (N, K), and what the network says, logits (N, K)."""
        device = self.session.device
        truth, said = [], []
        batches = DataLoader(self._samples(tiles), CPU_BATCH, collate_fn=gather)
        with device.autocast():
            for images, classes in batches:
                logits = network(*inputs(images.to(device.torch)))
                truth.append(classes.numpy())
                said.append(logits.float().cpu().numpy())
        return np.concatenate(truth), np.concatenate(said)

    def _several_report(self, folder: Path) -> str:
        """Chooses the thresholds on val, writes them into the card, and scores all splits by
        them."""
        best, card = checkpoint.load(folder / BEST, self.session.study.network)
        network = self.session.device.place(best)
        names, dataset = self.scenes.dataset.legend.names, self.scenes.dataset
        seen = {split: dataset.tiles(split) for split in SPLITS if dataset.tiles(split)}
        known = {split: self._known(network, tiles) for split, tiles in seen.items()}
        thresholds = (HALF,) * len(names)
        if "val" in known:
            thresholds = tuple(best_thresholds(*known["val"]))
        checkpoint.copy(folder / BEST, folder / BEST, replace(card, thresholds=thresholds))
        written: dict[str, Any] = {"thresholds": dict(zip(names, thresholds, strict=True))}
        said, errors = [], []
        for split, (probabilities, truth) in known.items():
            scores = SeveralScores.of(probabilities >= np.array(thresholds), truth, names)
            written[split] = scores.to_dict()
            errors.append(f"{split} {scores.error:.1%}")
            if split != "train":
                said.append(f"{split}: {counted(scores.tiles, 'tile')}\n{scores.table()}")
        write_json(folder / SCORES, written)
        chosen = ", ".join(f"{n} {t:.2f}" for n, t in zip(names, thresholds, strict=True))
        why = "for the highest F1 on val" if "val" in known else "no val tiles to choose others on"
        errors_said = f"error, of answers by tile and class: {', '.join(errors)}"
        return "\n\n".join([*said, f"thresholds: {chosen} ({why})\n{errors_said}"])

    def _known(self, network: nn.Module, tiles: list[Tile]) -> tuple[np.ndarray, np.ndarray]:
        """Of each tile with labels the probabilities (N, K) and what is there (N, K) bool."""
        truth, logits = self._seen(network, tiles)
        labelled = (truth != IGNORED).all(1)
        return 1 / (1 + np.exp(-logits[labelled].astype(np.float64))), truth[labelled] == 1


def _by_scene(tiles: list[Tile], truth: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """Of each scene: tiles with a class, and the share of them that is right."""
    names, known = np.array([tile.scene for tile in tiles]), truth != IGNORED
    return {
        name: {
            "tiles": int(here.sum()),
            "overall_accuracy": float((truth == found)[here].mean()) if here.any() else None,
        }
        for name in dict.fromkeys(names.tolist())
        if (here := known & (names == name)) is not None
    }
