"""Explain a network: which bands, dates and places its classes depend on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import require
from geoseg.explanation.explain import explain
from geoseg.explanation.settings import ExplainSettings
from geoseg.models.settings import OwnTarget
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.network.judged import judged_by


@dataclass
class ExplainConfig:
    """Find out what a network goes by: bands, dates, and where it looks."""

    checkpoint: Any = None
    """Run folder or weights (.safetensors) of geoseg.train; none = the demo's."""
    dataset: str | None = None
    """Folder of geoseg.prepare, or of geoseg.prepare_series for parcels or pixels."""
    split: str = "val"
    """Split whose tiles or samples are looked at: val, test or train."""
    out: str | None = None
    """Folder for explain.html, explain.json, bands.csv, dates.csv and rasters."""
    explain: ExplainSettings = field(default_factory=ExplainSettings)
    predict: InferenceSettings = field(default_factory=InferenceSettings)
    model: OwnTarget = field(default_factory=OwnTarget)
    overwrite: bool = False
    """Replace an output of other settings."""


def main(cfg: ExplainConfig) -> None:
    if cfg.checkpoint is None and cfg.dataset is None:
        cfg = replace(cfg, checkpoint="runs/demo", dataset="data/demo/dataset")
        cfg = replace(cfg, out=cfg.out or "reports/demo/explain")
    require(
        cfg, checkpoint="<run folder or .safetensors>",
        dataset="<folder of geoseg.prepare or geoseg.prepare_series>", out="<folder>",
    )  # fmt: skip
    checkpoint, notes = judged_by(cfg.checkpoint, cfg.split)
    network = TrainedNetwork.open(checkpoint, cfg.predict, model=cfg.model.target)
    made = explain(
        network, str(cfg.dataset), str(cfg.out),
        split=cfg.split, settings=cfg.explain, overwrite=cfg.overwrite,
    )  # fmt: skip
    made.notes(notes)
    print(made)


if __name__ == "__main__":
    run("explain", ExplainConfig, main)
