"""Prepare: burn labels on the scenes' grids, cut tiles, decide the split, measure the bands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geoseg import blocks, command
from geoseg.bands import Bands
from geoseg.dataset import DESCRIPTION, PRODUCTS, Dataset, pixel_size
from geoseg.errors import Faults
from geoseg.labels import Labels
from geoseg.legend import Legend, LegendSettings
from geoseg.lock import alone
from geoseg.making import NOTHING, burn, finish
from geoseg.output import clearing
from geoseg.scene import Scene, find_scenes, harmonize
from geoseg.split import Split
from geoseg.summary import Summary
from geoseg.tiling import Tiling


@dataclass
class PrepareConfig:
    """Burn labels on the scenes' grids, cut tiles, decide the split: the data set for training."""

    scenes: Any = None
    """Folder, glob or list of GeoTIFFs; by default the demo's."""
    dataset: str = "data/demo/dataset"
    """Folder to write."""
    overwrite: bool = False
    """Replace a data set that was made with other settings."""
    retile: bool = False
    """Copy scenes that are slow to read by windows (striped, large blocks) once, in tiles."""
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
        scenes = harmonize(find_scenes(config.scenes, config.bands))
    with faults.collect():
        legend = config.legend.load()
    faults.raise_if_any()
    summary = prepare(
        scenes,
        config.labels,
        legend,
        config.dataset,
        bands=config.bands,
        tiling=config.tiling,
        split=config.split,
        overwrite=config.overwrite,
        retile=config.retile,
    )
    print(summary)


def _demo(config: PrepareConfig) -> PrepareConfig:
    labels = Labels(path="data/demo/labels.gpkg", field="class", width_field="width_m")
    legend = LegendSettings(path=str(command.CONF / "legend" / "demo.yaml"))
    return replace(config, scenes="data/demo/scenes", labels=labels, legend=legend)


@alone("prepare", "dataset")
def prepare(
    scenes: tuple[Scene, ...],
    labels: Labels,
    legend: Legend,
    dataset: str | Path,
    *,
    bands: Bands | None = None,
    tiling: Tiling | None = None,
    split: Split | None = None,
    overwrite: bool = False,
    retile: bool = False,
) -> Summary:
    """Make a data set from scenes and labels in the folder `dataset`, or go on in it.

    retile: let it refer to tiled copies of those files that are slow to read by windows.
    Returns: what was found, as a text for people.
    Raises: InputError for labels that miss all scenes, unknown values, splits without tiles …
    """
    tiling, split, bands = tiling or Tiling(), split or Split(), bands or Bands()
    settings: dict[str, Any] = {
        "labels": asdict(labels),
        "bands": bands.settings(),
        "tiling": asdict(tiling),
        "split": asdict(split),
    }
    if retile:
        settings["retile"] = True
        blocks.check_room(scenes, Path(dataset))
    planned = Dataset(Path(dataset), scenes, NOTHING, legend, tiling, pixel_size(scenes), settings)
    summary = Summary()
    split.check_names(scene.name for scene in scenes)
    with clearing(planned.folder, (DESCRIPTION,)):
        if burn(
            planned, labels, summary, command="prepare", products=PRODUCTS, overwrite=overwrite
        ):
            if retile:
                scenes, said = blocks.retile(scenes, planned.folder, tiling.size)
                summary.notes(said)
            else:
                blocks.remove_copies(planned.folder, scenes)
            slow = blocks.complaint(scenes, tiling.size)
            if slow:
                summary.note(slow)
            finish(replace(planned, scenes=scenes), labels, split, summary)
    return summary


if __name__ == "__main__":
    command.run("prepare", PrepareConfig, main)
