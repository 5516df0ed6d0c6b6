"""Pretrain an encoder on scenes without labels."""

from __future__ import annotations

from pathlib import Path

from geoseg.commands.run import run
from geoseg.dataset.unlabelled import Imagery
from geoseg.geo import raster
from geoseg.models import origin
from geoseg.models.card import ENCODER, LAST
from geoseg.samples.settings import SeriesSamples
from geoseg.scenes.scene import Scene, find_scenes
from geoseg.training.config import PretrainConfig
from geoseg.training.objectives.settings import DISTIL, Loss, Pretext
from geoseg.training.processes import launch
from geoseg.training.run.folder import LOGS, check_logger, check_start, opened
from geoseg.training.run.history import METRICS
from geoseg.training.settings import TrainingSettings
from geoseg.training.start import learn

PRODUCTS = (ENCODER, LAST, METRICS, "curves.png", *LOGS)


def main(config: PretrainConfig) -> None:
    with launch.first_speaks():
        origin.check(config.model)  # before thousands of scenes are opened
        with raster.environment():
            scenes = find_scenes(config.scenes or "data/demo/scenes", config.bands)
        text = pretrain(scenes, config)
    if launch.first(config.fit.nodes):
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
        launch.announce_torch(config.fit.nodes)
        imagery = Imagery.of(scenes, config.tiling.size, val=config.val, seed=config.seed)
        return launch.spread(
            learn,
            imagery,
            Path(config.run),
            TrainingSettings(
                config.model, Loss(), config.fit, SeriesSamples(), config.seed,
                augment=config.augment,
            ),
            devices=config.fit.devices,
            nodes=config.fit.nodes,
            pretext=Pretext(config.mask, config.distil if config.method == DISTIL else None),
        )  # fmt: skip


if __name__ == "__main__":
    run("pretrain", PretrainConfig, main)
