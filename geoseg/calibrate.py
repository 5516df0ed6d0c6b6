"""Calibrate the confidences of a trained network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.calibration.calibrate import calibrate
from geoseg.calibration.settings import CalibrationSettings
from geoseg.commands.run import run
from geoseg.errors import require
from geoseg.models.settings import OwnTarget
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.network.judged import judged_by


@dataclass
class CalibrateConfig:
    """Make confidences mean what they say: write weights whose maps are calibrated."""

    checkpoint: Any = None
    """Run folder or weights (.safetensors) of geoseg.train; of a list the mean is calibrated; none
    = the demo's."""
    dataset: str | None = None
    """Folder of geoseg.prepare or geoseg.prepare_series with labels that no training has seen."""
    split: str = "val"
    """Split that is calibrated on: val, or test if nothing else is judged on it."""
    out: str | None = None
    """Weights to write (.safetensors); a page and a record lie beside them."""
    tta: str = "none"
    """Test-time augmentation that predict will use: none, flips or d4."""
    novelty: bool = False
    """Also learn from the data set's train split what ground the network knows, so that predict can
    say how novel pixels are: predict.layers=[confidence,novelty]."""
    calibrate: CalibrationSettings = field(default_factory=CalibrationSettings)
    predict: InferenceSettings = field(default_factory=InferenceSettings)
    model: OwnTarget = field(default_factory=OwnTarget)
    overwrite: bool = False
    """Replace an output that was made with other settings."""


def main(cfg: CalibrateConfig) -> None:
    if cfg.checkpoint is None and cfg.dataset is None:
        cfg = replace(cfg, checkpoint="runs/demo", dataset="data/demo/dataset")
        cfg = replace(cfg, out=cfg.out or "runs/demo/calibrated.safetensors")
    require(
        cfg, checkpoint="<run folder or .safetensors>", dataset="<folder of geoseg.prepare>",
        out="<file.safetensors>",
    )  # fmt: skip
    checkpoint, notes = judged_by(cfg.checkpoint, cfg.split)
    network = TrainedNetwork.open(checkpoint, cfg.predict, tta=cfg.tta, model=cfg.model.target)
    made = calibrate(
        network, str(cfg.dataset), str(cfg.out),
        split=cfg.split, settings=cfg.calibrate, novelty=cfg.novelty,
        overwrite=cfg.overwrite,
    )  # fmt: skip
    made.notes(notes)
    print(made)


if __name__ == "__main__":
    run("calibrate", CalibrateConfig, main)
