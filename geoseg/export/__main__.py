"""Export a trained network as a file that other programs run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import InputError
from geoseg.export.write import export
from geoseg.models.settings import OwnTarget
from geoseg.prediction.network import TrainedNetwork


@dataclass
class ExportConfig:
    """Write a trained network for images as ONNX, with its scaling inside, and check it."""

    checkpoint: Any = None
    """Run folder or weights (.safetensors) of geoseg.train; none = the demo's."""
    out: str | None = None
    """File to write (.onnx)."""
    format: str = "onnx"
    """onnx: ONNX Runtime, QGIS plugins and many others read that."""
    size: int | None = None
    """Height and width in pixels that all images must have, as the QGIS plugin Deepness wants it;
    none = any."""
    stac: bool = False
    """Describe the model for catalogs, too: a STAC item with the Machine Learning Model extension,
    <name>.stac.json, beside it."""
    model: OwnTarget = field(default_factory=OwnTarget)
    overwrite: bool = False
    """Replace an existing file that was made with other settings."""


def main(cfg: ExportConfig) -> None:
    checkpoint, out = cfg.checkpoint, cfg.out
    if checkpoint is None:
        checkpoint, out = "runs/demo", out or "runs/demo/model.onnx"
    if out is None:
        raise InputError("out: none given; set out=<file.onnx>")
    network = TrainedNetwork.open(checkpoint, model=cfg.model.target)
    made = export(
        network, out, format=cfg.format, size=cfg.size, stac=cfg.stac, overwrite=cfg.overwrite
    )
    print(made)


if __name__ == "__main__":
    run("export", ExportConfig, main)
