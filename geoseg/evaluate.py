"""Evaluate: how well a map agrees with labels; scores, a report with pictures, a map of errors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg import __version__, command, landcover
from geoseg.accuracy import write_confusion_csv
from geoseg.agreement import COMPARED, ERRORS, Agreement, compare
from geoseg.bands import Bands
from geoseg.dataset import Dataset
from geoseg.errors import Faults, InputError
from geoseg.ground import HECTARE
from geoseg.labels import Labels
from geoseg.landcover import LEGEND_TAG, MODEL_TAG, VERSION_TAG, Map
from geoseg.legend import Legend, LegendSettings
from geoseg.lock import alone
from geoseg.output import claim, clearing, write_json
from geoseg.places import choose
from geoseg.report import Report
from geoseg.report.sources import scenes_of
from geoseg.scene import Scene, find_scenes
from geoseg.truth import Truth, check_same, from_dataset, from_labels

REPORT = "report.html"
PRODUCTS = (
    *("errors.tif", "errors.tif.aux.xml", "errors.qml", "confusion.csv", "scores.json", REPORT),
)


@dataclass
class EvaluateConfig:
    """Compare a map with labels: scores per class, a report with pictures, a map of errors."""

    map: str | None = None
    """GeoTIFF of geoseg.mosaic or geoseg.predict; none = the demo's."""
    out: str | None = None
    """Folder for report.html, scores.json, confusion.csv and errors.tif."""
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
    overwrite: bool = False
    """Replace an evaluation of other settings."""
    labels: Labels = field(default_factory=Labels)
    legend: LegendSettings = field(default_factory=LegendSettings)
    bands: Bands = field(default_factory=Bands)

    def __post_init__(self) -> None:
        faults = Faults()
        if self.tolerance < 0:
            faults.add(f"tolerance={self.tolerance}: must not be negative")
        if self.pictures < 0:
            faults.add(f"pictures={self.pictures}: must not be negative")
        faults.raise_if_any()


def main(cfg: EvaluateConfig) -> None:
    if cfg.map is None and cfg.dataset is None and cfg.labels.path is None:
        cfg.map, cfg.dataset = "maps/demo/landcover.tif", "data/demo/dataset"
        cfg.out = cfg.out or "reports/demo"
    found, truth, scenes, notes = _open(cfg)
    made = evaluate(
        found,
        truth,
        str(cfg.out),
        scenes=scenes,
        showing=Showing(cfg.tolerance, cfg.pictures, tuple(notes)),
        overwrite=cfg.overwrite,
    )
    print(made)


def _open(cfg: EvaluateConfig) -> tuple[Map, Truth, list[Scene], list[str]]:
    """Map, truth, images, and notes on the images. Raises: InputError with all faults."""
    faults = Faults()
    if cfg.map is None:
        faults.add("map: none given; set map=<file.tif>")
    if cfg.out is None:
        faults.add("out: none given; set out=<folder>")
    if cfg.labels.path is None and cfg.dataset is None:
        faults.add("labels: none given; set labels.path=<file …> or dataset=<folder of prepare>")
    faults.raise_if_any()
    legend = dataset = None
    with faults.collect():
        if cfg.legend.path or cfg.legend.classes:
            legend = cfg.legend.load()
    with faults.collect():
        dataset = Dataset.load(cfg.dataset) if cfg.dataset is not None else None
    faults.raise_if_any()
    found = _read_map(str(cfg.map), legend)
    truth = None
    with faults.collect():
        labels = cfg.labels if cfg.labels.path is not None else None
        truth = _open_truth(found, labels, dataset, cfg.split)
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


def _read_map(path: str, legend: Legend | None) -> Map:
    found = Map.read(path, legend)
    if legend is not None and LEGEND_TAG in found.tags:
        own = landcover.parse_legend(found.tags[LEGEND_TAG], path)
        check_same(legend, own, "the given legend", path)
    return found


def _open_truth(found: Map, labels: Labels | None, dataset: Dataset | None, split: str) -> Truth:
    if dataset is not None:
        return from_dataset(dataset, split, found, legend=found.legend, labels=labels)
    assert labels is not None
    return from_labels(labels, found, legend=found.legend)


@dataclass(frozen=True)
class Showing:
    """How boundaries are judged, and what the report shows."""

    tolerance: int = 2
    """Pixels by which a boundary may be off and still count as found."""
    pictures: int = 6
    """Places shown."""
    notes: tuple[str, ...] = ()
    """What the report says besides."""


@dataclass(frozen=True)
class Evaluation:
    """Scores and where the report of them is."""

    agreement: Agreement
    out: Path

    def __str__(self) -> str:
        made, pixels = self.agreement, self.agreement.pixels
        left_out = ", ".join(
            f"{count:,} {why}".replace(",", " ")
            for why, count in pixels.items()
            if why != COMPARED and count
        )
        return "\n".join(
            (
                made.scores.table(),
                f"boundary F1 {made.boundary.mean:.3f} (within {made.boundary.tolerance} pixels)",
                "",
                f"compared: {pixels[COMPARED]:,} pixels".replace(",", " ")
                + (f"; left out: {left_out}" if left_out else ""),
                f"report: {self.out / REPORT} (open it in a browser)",
                f"map of errors: {self.out / 'errors.tif'} (open it in QGIS)",
            )
        )


@alone("evaluate", "out")
def evaluate(
    found: Map,
    truth: Truth,
    out: str | Path,
    *,
    scenes: Sequence[Scene] = (),
    showing: Showing | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Compare a map with the truth and write scores, report and map of errors to a folder.

    scenes: images for the pictures. Pixels without map, label or class are never counted.
    Raises: InputError if nothing can be compared, a file is damaged, or `out` was made with other
    settings.
    """
    out, showing = Path(out), showing or Showing()
    settings = {"map": found.path, **truth.settings, "tolerance": showing.tolerance}
    with clearing(out, PRODUCTS):
        claim(out, settings, command="evaluate", products=PRODUCTS, overwrite=overwrite)
        tags = {VERSION_TAG: __version__, MODEL_TAG: found.tags.get(MODEL_TAG, "unknown")}
        with landcover.writing(out / "errors.tif", found.grid, ERRORS, tags=tags) as writer:
            made = compare(found, truth, tolerance=showing.tolerance, write=writer.write)
            if not made.pixels[COMPARED]:
                raise InputError(_nothing(found, made))
    write_confusion_csv(out / "confusion.csv", made.confusion, found.legend.names)
    origin = {
        "map": found.path,
        "map_sha256": _sha256(found.path),
        "model": found.tags.get(MODEL_TAG),
        "map_made_by_geoseg": found.tags.get(VERSION_TAG),
        "evaluated_by_geoseg": __version__,
        **truth.settings,
    }
    write_json(out / "scores.json", _scores(made, found, origin))
    chosen = choose(made.places, -(-showing.pictures // 3))
    page = Report(found, truth, made, chosen, tuple(scenes))
    page.write(out / REPORT, origin=origin, notes=(*truth.notes, *showing.notes))
    return Evaluation(made, out)


def _nothing(found: Map, made: Agreement) -> str:
    reasons = ", ".join(f"{count} {why}" for why, count in made.pixels.items() if count)
    return (
        f"{found.path}: no pixel has a class both in the map and in the labels ({reasons});"
        " give labels of the mapped place"
    )


def _scores(made: Agreement, found: Map, origin: dict[str, Any]) -> dict[str, Any]:
    """Content of scores.json."""
    return {
        **made.scores.to_dict(),
        "boundary_f1": made.boundary.to_dict(found.legend.names),
        "pixels": dict(made.pixels),
        "map_pixels_everywhere": dict(zip(found.legend.names, made.mapped.tolist(), strict=True)),
        "hectares_per_pixel": _per_pixel(made, found),
        "hectares": {
            "measured": "by the unit of a local CRS" if found.grid.is_local else "on the ground",
            "classes": [
                {"name": name, "labels": labels, "map": mapped, "map_everywhere": everywhere}
                for name, labels, mapped, everywhere in zip(
                    found.legend.names,
                    made.hectares.labels.tolist(),
                    made.hectares.map.tolist(),
                    made.hectares.mapped.tolist(),
                    strict=True,
                )
            ],
            "grid": dict(made.hectares.pixels),
        },
        "confusion": made.confusion.tolist(),
        "origin": origin,
    }


def _per_pixel(made: Agreement, found: Map) -> float:
    """Hectares of a pixel: the mean of those with a class, for they need not be of one size."""
    pixels = int(made.mapped.sum())
    if not pixels:
        return found.grid.pixel_size_m**2 / HECTARE
    return float(made.hectares.mapped.sum()) / pixels


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    command.run("evaluate", EvaluateConfig, main)
