"""Prepare a data set from scenes and labels: targets, tiles, split, statistics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.commands import conf, run
from geoseg.dataset.prepare import PrepareSettings, prepare
from geoseg.dataset.split import Split
from geoseg.errors import Faults
from geoseg.geo.legend import LegendSettings
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes, harmonize, said_of_names


@dataclass
class PrepareConfig:
    """Burn labels on the scenes' grids, cut tiles, decide the split: the data set for training."""

    scenes: Any = None
    """Folder, glob or list of GeoTIFFs, or STAC (.json): a catalog, collection, item or saved
    search, or a Zarr or netCDF cube; by default the demo's."""
    dataset: str = "data/demo/dataset"
    """Folder to write."""
    overwrite: bool = False
    """Replace a data set that was made with other settings."""
    retile: bool = False
    """Copy scenes that are slow to read by windows (striped, large blocks) once, in tiles."""
    corrections: str | None = None
    """Vector file of corrections of a map (column `class`), burnt over the labels."""
    labels: Labels = field(default_factory=Labels)
    legend: LegendSettings = field(default_factory=LegendSettings)
    bands: Bands = field(default_factory=Bands)
    tiling: Tiling = field(default_factory=Tiling)
    split: Split = field(default_factory=Split)


def main(config: PrepareConfig) -> None:
    if config.scenes is None and config.labels.path is None:
        config = _demo(config)
    faults = Faults()
    with faults.collect():
        found = find_scenes(config.scenes, config.bands)
        scenes = harmonize(found)
    with faults.collect():
        legend = config.legend.load()
    faults.raise_if_any()
    settings = PrepareSettings(
        config.bands, config.tiling, config.split, config.retile, config.corrections
    )
    options = {"settings": settings, "overwrite": config.overwrite}
    summary = prepare(scenes, config.labels, legend, config.dataset, **options)  # type: ignore[arg-type]
    summary.notes(said_of_names(found))
    print(summary)


def _demo(config: PrepareConfig) -> PrepareConfig:
    labels = Labels(path="data/demo/labels.gpkg", field="class", width_field="width_m")
    legend = LegendSettings(path=str(conf.CONF / "legend" / "demo.yaml"))
    return replace(config, scenes="data/demo/scenes", labels=labels, legend=legend)


if __name__ == "__main__":
    run.run("prepare", PrepareConfig, main)
