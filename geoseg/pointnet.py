"""Give LiDAR points the classes of a legend: train a PointNet on labels, then classify clouds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import Faults
from geoseg.geo.legend import LegendSettings
from geoseg.labels.settings import Labels
from geoseg.points.settings import PointNetSettings


@dataclass
class PointnetConfig:
    """Train a network for points on labels; with checkpoint=, classify clouds with one."""

    points: Any = None
    """Folder, glob or list of LAS or LAZ files."""
    out: str | None = None
    """Folder to write: pointnet.safetensors; with checkpoint= clouds/ and landcover/."""
    checkpoint: str | None = None
    """Network to classify with: the folder that a training wrote, or its pointnet.safetensors."""
    labels: Labels = field(default_factory=Labels)
    legend: LegendSettings = field(default_factory=LegendSettings)
    pointnet: PointNetSettings = field(default_factory=PointNetSettings)
    seed: int = 0
    """Another seed, other weights and tiles."""
    overwrite: bool = False
    """Replace an output of other settings."""


def main(cfg: PointnetConfig) -> None:
    _check(cfg)
    out = str(cfg.out)
    if cfg.checkpoint is not None:
        from geoseg.points.classify import classify  # brings torch, which --help needs not

        print(
            classify(
                cfg.checkpoint, cfg.points, out, settings=cfg.pointnet, overwrite=cfg.overwrite
            )
        )
        return
    from geoseg.points.train import train

    made = train(
        cfg.points, out, cfg.labels, cfg.legend.load(), settings=cfg.pointnet, seed=cfg.seed,
        overwrite=cfg.overwrite,
    )  # fmt: skip
    print(made)


def _check(cfg: PointnetConfig) -> None:
    """Raises: InputError for what is missing, or given in vain."""
    faults = Faults()
    faults.need(cfg, points="<folder, glob or list of LAS or LAZ files>", out="<folder>")
    if cfg.checkpoint is None and cfg.labels.path is None:
        faults.add(
            "labels: none given; set labels.path=<file …> to train, or checkpoint=<folder of a"
            " training> to classify"
        )
    if cfg.checkpoint is not None and cfg.labels.path is not None:
        faults.add(
            f"checkpoint={cfg.checkpoint} and labels.path={cfg.labels.path}: give labels to train,"
            " or a checkpoint to classify; geoseg evaluate compares maps with labels"
        )
    if cfg.checkpoint is None:
        faults.attempt(cfg.legend.load)
    faults.raise_if_any()


if __name__ == "__main__":
    run("pointnet", PointnetConfig, main)
