"""Adapt a trained network to another place or sensor, without labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.adaptation.adapt import adapt
from geoseg.adaptation.settings import AdaptSettings
from geoseg.commands.run import run
from geoseg.errors import require
from geoseg.models.settings import OwnTarget
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import SceneFiles


@dataclass
class AdaptConfig:
    """Measure a network's normalisation anew on other scenes, and write it as new weights."""

    checkpoint: Any = None
    """Run folder or weights (.safetensors) of geoseg.train."""
    scenes: Any = None
    """Folder, glob or list of GeoTIFFs of the other place; they need no labels."""
    out: str | None = None
    """Weights to write (.safetensors); a record lies beside them."""
    dataset: str | None = None
    """Folder of geoseg.prepare with labels of the other place, if there are any: only to say
    whether it got better."""
    bands: Bands = field(default_factory=Bands)
    adapt: AdaptSettings = field(default_factory=AdaptSettings)
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:<n> or mps."""
    model: OwnTarget = field(default_factory=OwnTarget)
    overwrite: bool = False
    """Replace an output that was made with other settings."""


def main(cfg: AdaptConfig) -> None:
    require(
        cfg, checkpoint="<run folder or .safetensors>",
        scenes="<folder, glob or list of GeoTIFFs>", out="<file.safetensors>",
    )  # fmt: skip
    running = InferenceSettings(device=cfg.device)
    network = TrainedNetwork.open(cfg.checkpoint, running, model=cfg.model.target)
    made = adapt(
        network, SceneFiles(cfg.scenes, cfg.bands), str(cfg.out), dataset=cfg.dataset,
        settings=cfg.adapt, overwrite=cfg.overwrite,
    )  # fmt: skip
    print(made)


if __name__ == "__main__":
    run("adapt", AdaptConfig, main)
