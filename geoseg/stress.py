"""Stress a network: scores by haze, shadow, noise, clouds and more, and by attacks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import Faults, require
from geoseg.models.settings import OwnTarget
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.robustness.settings import StressSettings
from geoseg.robustness.stress import stress


@dataclass
class StressConfig:
    """Find out what a network's maps are worth when images are worse than those of the training."""

    checkpoint: Any = None
    """Run folder or weights (.safetensors) of geoseg.train; none = the demo's."""
    dataset: str | None = None
    """Folder of geoseg.prepare with labels that no training has seen."""
    split: str = "test"
    """Split that is looked at: test, val or train."""
    against: Any = None
    """Another run or weights of the same classes, measured on the same tiles: with and without
    perturbed training, say."""
    out: str | None = None
    """Folder for stress.html, stress.json, stress.csv, curves.png, calibration.png and places/."""
    stress: StressSettings = field(default_factory=StressSettings)
    predict: InferenceSettings = field(default_factory=InferenceSettings)
    model: OwnTarget = field(default_factory=OwnTarget)
    overwrite: bool = False
    """Replace an output of other settings."""


def main(cfg: StressConfig) -> None:
    if cfg.checkpoint is None and cfg.dataset is None:
        cfg = replace(cfg, checkpoint="runs/demo", dataset="data/demo/dataset")
        cfg = replace(cfg, out=cfg.out or "reports/demo/stress")
    require(
        cfg, checkpoint="<run folder or .safetensors>", dataset="<folder of geoseg.prepare>",
        out="<folder>",
    )  # fmt: skip
    faults, opened = Faults(), TrainedNetwork.open
    network = faults.attempt(opened, cfg.checkpoint, cfg.predict, model=cfg.model.target)
    other = None if cfg.against is None else faults.attempt(opened, cfg.against, cfg.predict)
    faults.raise_if_any()
    networks = [one for one in (network, other) if one is not None]
    made = stress(
        networks, str(cfg.dataset), str(cfg.out),
        split=cfg.split, settings=cfg.stress, overwrite=cfg.overwrite,
    )  # fmt: skip
    print(made)


if __name__ == "__main__":
    run("stress", StressConfig, main)
