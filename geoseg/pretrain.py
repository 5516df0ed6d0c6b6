"""Pretrain: scenes without labels in, an encoder's weights out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg import command, processes, raster
from geoseg.augment import Augment
from geoseg.bands import Bands
from geoseg.card import ENCODER
from geoseg.errors import Faults
from geoseg.history import LAST, METRICS
from geoseg.imagery import Imagery
from geoseg.masking import Masking
from geoseg.runfolder import LOGS, check_logger, check_start, opened
from geoseg.scene import Scene, find_scenes
from geoseg.settings import ARCHITECTURES, Fit, Loss, Model, SeriesSamples, Study
from geoseg.tiling import Tiling

PRODUCTS = (ENCODER, LAST, METRICS, "curves.png", *LOGS)
LABELS_ONLY = (
    *("balance", "hard", "freeze", "train_share", "baseline"),
    *("unlabelled", "unlabelled_weight", "confidence"),
)
"""Settings of the training loop that are of labels, or of weights that are there already."""


@dataclass
class PretrainConfig:
    """Let an encoder learn from scenes without labels, by filling in what is hidden from it;
    started again, it goes on."""

    scenes: Any = None
    """Folder, glob or list of GeoTIFFs; by default the demo's."""
    run: str = "runs/demo_pretrained"
    """Folder to write: encoder.safetensors for `model.weights`, checkpoint, metrics, curves."""
    val: float = 0.1
    """Share of the tiles that are kept aside, to see how well it goes."""
    seed: int = 0
    """Of weights, order, augmentation and what is hidden."""
    overwrite: bool = False
    """Replace a run that was made with other settings."""
    model: Model = field(default_factory=Model)
    bands: Bands = field(default_factory=Bands)
    tiling: Tiling = field(default_factory=Tiling)
    augment: Augment = field(default_factory=Augment)
    mask: Masking = field(default_factory=Masking)
    fit: Fit = field(default_factory=Fit)

    def __post_init__(self) -> None:
        faults = Faults()
        if not 0 <= self.val < 1:
            faults.add(f"val={self.val}: must be in [0, 1)")
        if self.model.name not in ARCHITECTURES:
            names = ", ".join(ARCHITECTURES)
            faults.add(f"model={self.model.name}: not for single images; choose from {names}")
        for key in LABELS_ONLY:
            if getattr(self.fit, key) != getattr(Fit(), key):
                faults.add(f"fit.{key}: of trainings with labels; leave it out")
        if self.model.keep != "encoder":
            faults.add(f"model.keep={self.model.keep}: an encoder is trained here; leave it out")
        if self.tiling.overlap != Tiling(self.tiling.size).overlap:
            faults.add(f"tiling.overlap={self.tiling.overlap}: of predictions; leave it out")
        side = -(-self.tiling.size // self.mask.size)
        if round(self.mask.share * side * side) >= side * side:
            faults.add(
                f"mask.size={self.mask.size}: with mask.share={self.mask.share} nothing of a tile"
                f" of tiling.size={self.tiling.size} is left to see; take smaller squares"
            )
        faults.raise_if_any()


def main(config: PretrainConfig) -> None:
    with processes.first_speaks():
        with raster.environment():
            scenes = find_scenes(config.scenes or "data/demo/scenes", config.bands)
        text = pretrain(scenes, config)
    if processes.first(config.fit.nodes):
        print(text)


def pretrain(scenes: list[Scene], config: PretrainConfig) -> str:
    """Train an encoder into the folder `config.run`, or go on there.

    Returns: what came out, as a text for people.
    Raises: InputError before the first step for anything that could not end well.
    """
    check_logger(config.fit)
    paths = [path for scene in scenes for path in scene.paths]
    check_start(config, "pretrain", files=paths)
    with opened(config, "pretrain", PRODUCTS, files=paths):
        imagery = Imagery.of(scenes, config.tiling.size, val=config.val, seed=config.seed)
        return processes.spread(
            "geoseg.learnencoder:learn_encoder",
            imagery,
            Path(config.run),
            Study(
                config.model, Loss(), config.fit, SeriesSamples(), config.seed,
                augment=config.augment,
            ),
            devices=config.fit.devices,
            nodes=config.fit.nodes,
            masking=config.mask,
        )  # fmt: skip


if __name__ == "__main__":
    command.run("pretrain", PretrainConfig, main)
