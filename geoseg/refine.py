"""Mend maps by corrections that a person drew, and let the network learn from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import Faults, InputError, require
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.refinement.settings import Refining
from geoseg.scenes.bands import Bands


@dataclass
class RefineConfig:
    """Work corrections into maps within seconds: right where they were drawn, better around."""

    checkpoint: Any = None
    """Run folder or weights (.safetensors) that made the maps; none = the demo's."""
    scenes: Any = None
    """Folder, glob or list of the GeoTIFFs that were mapped; none = the demo's."""
    maps: str | None = None
    """Output folder of predict; it stays as it is."""
    corrections: str | None = None
    """Vector file of points, lines and polygons with a column `class`; none = write an empty one
    with a form for QGIS, corrections.gpkg, into the output."""
    out: str | None = None
    """Folder for the mended maps, as predict lays them out, with refine.json and steps/."""
    undo: int | None = None
    """Take the maps back, or forth, to how they were after this step; 0 = as predicted."""
    serve: bool = False
    """Open a local page on which image and maps are seen and corrected by clicks, until Ctrl-C;
    needs geoseg[page]."""
    suggestions: str | None = None
    """File of geoseg.suggest whose windows *Next* on that page goes through; none = those that it
    would choose of the maps."""
    port: int = 0
    """Of that page, on this machine only; 0 = any that is free."""
    overwrite: bool = False
    """Replace an output that was made of other maps, its steps too."""
    bands: Bands = field(default_factory=Bands)
    refine: Refining = field(default_factory=Refining)

    def __post_init__(self) -> None:
        faults = Faults()
        faults.at_least(self, "", undo=0)
        if self.undo is not None and self.corrections is not None:
            faults.add("undo, corrections: either goes to a step or makes one; give one of them")
        if self.undo is not None and self.serve:
            faults.add("undo, serve: the page takes back single corrections; give one of them")
        if not 0 <= self.port < 65536:
            faults.add(f"port={self.port}: must be 0 to 65535")
        if self.port and not self.serve:
            faults.add(f"port={self.port}: is that of the page; set serve=true as well")
        if self.suggestions is not None and not self.serve:
            faults.add(
                f"suggestions={self.suggestions}: are gone through on the page; set serve=true too"
            )
        faults.raise_if_any()


def main(cfg: RefineConfig) -> None:
    if cfg.checkpoint is None and cfg.scenes is None and cfg.maps is None:
        cfg = replace(cfg, checkpoint="runs/demo", scenes="data/demo/scenes", maps="maps/demo")
        cfg = replace(cfg, out=cfg.out or "maps/demo_refined")
    require(
        cfg, checkpoint="<run folder or .safetensors>",
        scenes="<folder, glob or list of GeoTIFFs>", maps="<output folder of geoseg.predict>",
        out="<folder>",
    )  # fmt: skip
    if isinstance(cfg.checkpoint, list):
        raise InputError("checkpoint: refine adapts one network; give one, not a list")
    if cfg.serve:
        from geoseg.page.serve import check_packages

        check_packages()
    running = InferenceSettings(device=cfg.refine.device, precision=cfg.refine.precision)
    network = TrainedNetwork.open(cfg.checkpoint, running)
    # Its rooms bring torch, which nobody shall wait for to read the help.
    from geoseg.refinement.refine import Inputs, refine

    inputs = Inputs.open(network, cfg.scenes, str(cfg.maps), bands=cfg.bands)
    if cfg.serve:
        from geoseg.page.serve import serve

        said = serve(
            inputs,
            cfg.corrections,
            str(cfg.out),
            settings=cfg.refine,
            suggestions=cfg.suggestions,
            port=cfg.port,
            overwrite=cfg.overwrite,
        )
        print(said)
        return
    made = refine(
        inputs,
        cfg.corrections,
        str(cfg.out),
        settings=cfg.refine,
        undo=cfg.undo,
        overwrite=cfg.overwrite,
    )
    print(made)


if __name__ == "__main__":
    run("refine", RefineConfig, main)
