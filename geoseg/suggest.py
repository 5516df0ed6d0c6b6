"""Suggest which windows of maps are worth labelling or correcting next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import require
from geoseg.refinement.suggest import Suggesting, suggest


@dataclass
class SuggestConfig:
    """Rank the windows of maps that are worth a look: unsure, unlike each other, and apart."""

    maps: Any = None
    """Output folder of predict or refine, or a list of class maps; none = the demo's."""
    out: str | None = None
    """GeoPackage to write, as next.gpkg."""
    dataset: str | None = None
    """Folder of prepare: its tiles are left out, as they have labels."""
    overwrite: bool = False
    """Replace an existing file."""
    suggest: Suggesting = field(default_factory=Suggesting)


def main(cfg: SuggestConfig) -> None:
    if cfg.maps is None:
        cfg = replace(cfg, maps="maps/demo", out=cfg.out or "maps/demo/next.gpkg")
    require(cfg, out="<file.gpkg>")
    made = suggest(
        cfg.maps,
        str(cfg.out),
        settings=cfg.suggest,
        dataset=cfg.dataset,
        overwrite=cfg.overwrite,
    )
    print(made)


if __name__ == "__main__":
    run("suggest", SuggestConfig, main)
