"""Evaluate a map against labels: scores, a report with pictures, a map of errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.commands.run import run
from geoseg.dataset.tiles import Dataset
from geoseg.errors import Faults
from geoseg.evaluation.evaluate import Showing, evaluate
from geoseg.evaluation.outlines import Outlines
from geoseg.evaluation.sources import scenes_of
from geoseg.evaluation.truth import (
    Truth,
    check_same,
    corrected,
    from_corrections,
    from_dataset,
    from_labels,
)
from geoseg.geo.legend import Legend, LegendSettings
from geoseg.labels.settings import Labels
from geoseg.labels.zones import Zones
from geoseg.maps import landcover
from geoseg.maps.landcover import LEGEND_TAG, ClassMap
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import Scene, find_scenes

MOST_TOLERANCE = 1000
"""Pixels by which a boundary may be off: memory grows with the square of it."""


@dataclass
class EvaluateConfig:
    """Compare a map with labels: scores per class, a report with pictures, a map of errors."""

    map: str | None = None
    """GeoTIFF of geoseg.mosaic or geoseg.predict; none = the demo's."""
    out: str | None = None
    """Folder for report.html, scores.json, confusion.csv, errors.tif and disagreements.gpkg."""
    dataset: str | None = None
    """Folder of geoseg.prepare: only tiles of one split count; without labels.* with its labels."""
    split: str = "test"
    """Split of the data set that counts: train, val or test."""
    scenes: Any = None
    """Folder, glob or list of images for the pictures; none = those that the map was made of."""
    tolerance: int = 2
    """Pixels by which a boundary may be off and still count as found."""
    pictures: int = 6
    """Places that the report shows; a third each of the worst, the median and the best."""
    disagreements: int = 200
    """Places that disagreements.gpkg lists: the largest connected errors, with their classes."""
    corrections: str | None = None
    """Vector file of corrections of a map (column `class`), which count more than the labels; given
    alone, only they count."""
    zones: str | None = None
    """Polygons to score by, too, as <file>:<attribute with their names>."""
    polygons: str | None = None
    """File that geoseg.vectorize made of the map; the report draws its outlines over the images."""
    overwrite: bool = False
    """Replace an evaluation of other settings."""
    labels: Labels = field(default_factory=Labels)
    legend: LegendSettings = field(default_factory=LegendSettings)
    bands: Bands = field(default_factory=Bands)

    def __post_init__(self) -> None:
        faults = Faults()
        faults.at_least(self, "", tolerance=0, pictures=0, disagreements=0)
        if self.tolerance > MOST_TOLERANCE:
            faults.add(f"tolerance={self.tolerance}: at most {MOST_TOLERANCE} pixels")
        faults.raise_if_any()


def main(cfg: EvaluateConfig) -> None:
    given = (cfg.map, cfg.dataset, cfg.labels.path, cfg.corrections)
    if all(value is None for value in given):
        cfg.map, cfg.dataset = "maps/demo/landcover.tif", "data/demo/dataset"
        cfg.out = cfg.out or "reports/demo"
    found, truth, scenes, notes = _open(cfg)
    outlines = None
    if cfg.polygons is not None:
        outlines = Outlines.open(cfg.polygons, found.grid.crs, found.legend)
    made = evaluate(
        found,
        truth,
        str(cfg.out),
        scenes=scenes,
        showing=Showing(
            cfg.tolerance,
            cfg.pictures,
            tuple(notes),
            cfg.disagreements,
            outlines,
            Zones.open(cfg.zones, found.grid) if cfg.zones else None,
        ),
        overwrite=cfg.overwrite,
    )
    print(made)


def _open(cfg: EvaluateConfig) -> tuple[ClassMap, Truth, list[Scene], list[str]]:
    """Map, truth, images, and notes on the images. Raises: InputError with all faults."""
    faults = Faults()
    faults.need(cfg, map="<file.tif>", out="<folder>")
    if cfg.labels.path is None and cfg.dataset is None and cfg.corrections is None:
        faults.add(
            "labels: none given; set labels.path=<file …>, dataset=<folder of prepare> or"
            " corrections=<file>"
        )
    faults.raise_if_any()
    legend = faults.attempt(cfg.legend.load_if_given)
    dataset = faults.attempt(Dataset.load, cfg.dataset) if cfg.dataset is not None else None
    faults.raise_if_any()
    found = _read_map(str(cfg.map), legend)
    truth = None
    with faults.collect():
        labels = cfg.labels if cfg.labels.path is not None else None
        if labels is None and dataset is None:
            truth = from_corrections(str(cfg.corrections), found)
        else:
            truth = _open_truth(found, labels, dataset, cfg.split)
            truth = corrected(truth, cfg.corrections, found.legend)
    scenes: list[Scene] = []
    notes: list[str] = []
    with faults.collect():
        if cfg.scenes is not None:
            scenes = find_scenes(cfg.scenes, cfg.bands)
        else:
            scenes, notes = scenes_of(found, dataset)
    faults.raise_if_any()
    assert truth is not None
    return found, truth, scenes, notes


def _read_map(path: str, legend: Legend | None) -> ClassMap:
    found = ClassMap.read(path, legend)
    if legend is not None and LEGEND_TAG in found.tags:
        own = landcover.parse_legend(found.tags[LEGEND_TAG], path)
        check_same(legend, own, "the given legend", path)
    return found


def _open_truth(
    found: ClassMap, labels: Labels | None, dataset: Dataset | None, split: str
) -> Truth:
    if dataset is not None:
        return from_dataset(dataset, split, found, legend=found.legend, labels=labels)
    assert labels is not None
    return from_labels(labels, found, legend=found.legend)


if __name__ == "__main__":
    run("evaluate", EvaluateConfig, main)
