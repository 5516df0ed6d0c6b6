"""Show scenes as those of another archive look: another season, another sensor (CycleGAN)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import Faults
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import SceneFiles
from geoseg.translation.settings import TranslateSettings


@dataclass
class TranslateConfig:
    """Learn how the scenes of like= look, and write those of scenes= so."""

    scenes: Any = None
    """Folder, glob or list of GeoTIFFs to translate."""
    like: Any = None
    """Folder, glob or list of GeoTIFFs that they are to look like: the same bands, of any place."""
    checkpoint: str | None = None
    """Instead of like=: the folder of an earlier call, or its translate.safetensors."""
    out: str | None = None
    """Folder to write: scenes/<name>.tif, translate.safetensors, examples.png."""
    bands: Bands = field(default_factory=Bands)
    translate: TranslateSettings = field(default_factory=TranslateSettings)
    seed: int = 0
    """Another seed, another network."""
    overwrite: bool = False
    """Replace an output of other settings."""


def main(cfg: TranslateConfig) -> None:
    faults = Faults()
    faults.need(cfg, scenes="<folder, glob or list of GeoTIFFs>", out="<folder>")
    if (cfg.like is None) == (cfg.checkpoint is None):
        faults.add(
            "like, checkpoint: give one of both: like=<scenes that these are to look like>, or"
            " checkpoint=<folder of an earlier call>"
        )
    faults.raise_if_any()
    from geoseg.translation.translate import Source, translate  # bring torch

    made = translate(
        SceneFiles(cfg.scenes, cfg.bands), str(cfg.out), Source(cfg.like, cfg.checkpoint),
        settings=cfg.translate, seed=cfg.seed, overwrite=cfg.overwrite,
    )  # fmt: skip
    print(made)


if __name__ == "__main__":
    run("translate", TranslateConfig, main)
