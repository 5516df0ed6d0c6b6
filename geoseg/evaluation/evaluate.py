"""Evaluate a map and write scores, the error map and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.errors import InputError
from geoseg.evaluation.accuracy import write_confusion_csv
from geoseg.evaluation.agreement import COMPARED, LEFT_OPEN, Agreement, compare
from geoseg.evaluation.difference import Difference
from geoseg.evaluation.disagreements import largest, write_disagreements
from geoseg.evaluation.error_map import PairRaster, error_codes, pair_raster
from geoseg.evaluation.excerpts import choose
from geoseg.evaluation.outlines import Outlines
from geoseg.evaluation.pairs import PairNumbers
from geoseg.evaluation.report import Report
from geoseg.evaluation.truth import Truth
from geoseg.evaluation.zone_scores import ZoneScores
from geoseg.geo.grid import Window
from geoseg.geo.ground import HECTARE
from geoseg.geo.legend import Legend
from geoseg.labels.zones import Zones
from geoseg.maps.folder import beside_of
from geoseg.maps.landcover import MODEL_TAG, VERSION_TAG, ClassMap
from geoseg.maps.layers import CONFIDENCE, NOVELTY
from geoseg.maps.qgis_layers import beside_layers, image_layers, map_layer
from geoseg.maps.qgis_project import MOST, Group, ProjectLayer, style_of, write_project
from geoseg.outputs.claims import claim
from geoseg.outputs.counted import spaced
from geoseg.outputs.files import clearing, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.stamp import sha256
from geoseg.scenes.scene import Scene

REPORT, DISAGREEMENTS, ZONES = "report.html", "disagreements.gpkg", "zones.gpkg"
PROJECT = "evaluation.qgz"
PRODUCTS = (
    *("errors.tif", "errors.tif.aux.xml", "errors.qml", "confusion.csv", "scores.json", REPORT),
    *(DISAGREEMENTS, ZONES, PROJECT),
)


@dataclass(frozen=True)
class Showing:
    """How boundaries are judged, and what the report shows."""

    tolerance: int = 2
    """Pixels by which a boundary may be off and still count as found."""
    pictures: int = 6
    """Places shown."""
    notes: tuple[str, ...] = ()
    """What the report says besides."""
    disagreements: int = 200
    """Places that disagreements.gpkg lists, the largest."""
    outlines: Outlines | None = None
    """Polygons of the map that the report draws over the images."""
    zones: Zones | None = None
    """By which scores are told too."""


@dataclass(frozen=True)
class Evaluation:
    """Scores and where the report of them is."""

    agreement: Agreement
    out: Path
    notes: tuple[str, ...] = ()
    """What must be known of labels and images."""

    def __str__(self) -> str:
        made, pixels = self.agreement, self.agreement.pixels
        left_out = ", ".join(
            f"{spaced(count)} {why}" for why, count in pixels.items() if why != COMPARED and count
        )
        left_open = []
        if made.leaves_open:
            right = made.scores.overall_accuracy
            left_open = [f"left undecided: {made.share_open:.1%}; of the rest {right:.1%} right"]
        if (found := made.reliability) is not None:
            left_open.append(
                f"confidence: ECE {found.ece:.3f} ({found.null():.3f} by chance alone), 0 = what is"
                " 90 % sure is right nine times of ten"
            )
        if made.by_novelty is not None:
            left_open.append(str(made.by_novelty))
        return "\n".join(
            (
                made.scores.table(),
                str(Difference.of(made.confusion)),
                *left_open,
                f"boundary F1 {made.boundary.mean:.3f} (within {made.boundary.tolerance} pixels)",
                "",
                f"compared: {spaced(pixels[COMPARED])} pixels"
                + (f"; left out: {left_out}" if left_out else ""),
                f"report: {self.out / REPORT} (open it in a browser)",
                f"map of errors: {self.out / 'errors.tif'} (open it in QGIS)",
                f"project for QGIS: {self.out / PROJECT} (images, map, confidence, errors in one)",
                *(
                    [f"largest errors: {self.out / DISAGREEMENTS} (open it in QGIS)"]
                    if (self.out / DISAGREEMENTS).exists()
                    else []
                ),
                *(f"note: {note}" for note in self.notes),
            )
        )


@alone("evaluate", "out")
def evaluate(
    found: ClassMap,
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
    zones = showing.zones
    settings = {"map": found.path, **truth.settings, "tolerance": showing.tolerance}
    settings |= {} if zones is None else {"zones": zones.settings}
    pairs = PairNumbers(len(found.legend))
    by_zone = None if zones is None else ZoneScores(zones, found.grid, pairs, found.legend.names)
    with clearing(out, PRODUCTS):
        claim(out, settings, command="evaluate", products=PRODUCTS, overwrite=overwrite)
        tags = {VERSION_TAG: __version__, MODEL_TAG: found.tags.get(MODEL_TAG, "unknown")}
        with pair_raster(out / "errors.tif", found.grid, pairs) as plain:
            made = _compared(found, truth, showing.tolerance, plain, by_zone)
            codes = error_codes(found.legend, made.confusion)
            plain.write_map(out / "errors.tif", codes, tags)
            worst = largest(plain, showing.disagreements)
    (out / DISAGREEMENTS).unlink(missing_ok=True)
    if worst:
        write_disagreements(out / DISAGREEMENTS, worst, found.legend, codes, found.grid.crs)
    if by_zone is not None:
        by_zone.write(out / ZONES)
    write_confusion_csv(out / "confusion.csv", made.confusion, found.legend.names)
    origin = _origin(found, truth)
    by_zone_ = {} if by_zone is None else {"zones": by_zone.to_list()}
    write_json(out / "scores.json", _scores(made, found, origin) | by_zone_)
    chosen = choose(made.places, -(-showing.pictures // 3))
    notes = [*truth.notes, *showing.notes, *(by_zone.notes if by_zone else ())]
    _write_project(out, found, codes.legend, scenes, notes)
    page = Report(found, truth, made, chosen, tuple(scenes), by_zone, showing.outlines)
    page.write(out / REPORT, origin=origin, notes=notes)
    return Evaluation(made, out, tuple(notes))


def _compared(
    found: ClassMap, truth: Truth, tolerance: int, plain: PairRaster, by_zone: ZoneScores | None
) -> Agreement:
    """Compare, and note each pixel's pair and zone. Raises: InputError if nothing is compared."""
    with plain.writing() as writer:

        def take(numbers: np.ndarray, window: Window) -> None:
            writer.write(numbers, window)
            if by_zone is not None:
                by_zone.add(numbers, window)

        made = compare(
            found, truth, tolerance=tolerance, take=take,
            confidence=beside_of(found.path, found.grid, CONFIDENCE),
            novelty=beside_of(found.path, found.grid, NOVELTY),
        )  # fmt: skip
    if made.pixels[COMPARED]:
        return made
    reasons = ", ".join(f"{count} {why}" for why, count in made.pixels.items() if count)
    raise InputError(
        f"{found.path}: no pixel has a class both in the map and in the labels ({reasons});"
        " give labels of the mapped place"
    )


def _origin(found: ClassMap, truth: Truth) -> dict[str, Any]:
    """Where the scores come from."""
    return {
        "map": found.path,
        "map_sha256": sha256(found.path),
        "model": found.tags.get(MODEL_TAG),
        "map_made_by_geoseg": found.tags.get(VERSION_TAG),
        "evaluated_by_geoseg": __version__,
        **truth.settings,
    }


def _write_project(
    out: Path, found: ClassMap, errors: Legend, scenes: Sequence[Scene], notes: list[str]
) -> None:
    """Write the QGIS project. errors: legend of errors.tif. notes: gets what it can't show."""
    crs = found.grid.crs
    parts: list[Group | ProjectLayer] = []
    for name, title in ((ZONES, "zones"), (DISAGREEMENTS, "largest errors")):
        if (out / name).exists():
            style = style_of(out / name, Path(name).stem)
            path = str(out / name)
            shown = name == DISAGREEMENTS
            parts.append(ProjectLayer(path, title, crs, style, Path(name).stem, visible=shown))
    parts.append(ProjectLayer(str(out / "errors.tif"), "errors", crs, errors.qml()))
    parts += [*beside_layers(found, notes), map_layer(found), image_layers(scenes, notes)]
    title = f"evaluation of {Path(found.path).name}"
    if left_out := write_project(out / PROJECT, title, found.grid, parts):
        notes.append(
            f"{PROJECT} shows {MOST} images or maps of a kind; {left_out} more are not in it"
        )


def _left_open(made: Agreement) -> dict[str, Any]:
    """What a map leaves open, for JSON: of its labelled pixels."""
    return {
        "pixels": made.pixels[LEFT_OPEN],
        "hectares": made.hectares.pixels.get(LEFT_OPEN, 0.0),
        "share": made.share_open,
        "right_of_the_rest": made.scores.overall_accuracy,
    }


def _scores(made: Agreement, found: ClassMap, origin: dict[str, Any]) -> dict[str, Any]:
    """Content of scores.json."""
    return {
        **made.scores.to_dict(),
        "difference": Difference.of(made.confusion).to_dict(found.legend.names),
        "boundary_f1": made.boundary.to_dict(found.legend.names),
        "pixels": dict(made.pixels),
        **({"left_undecided": _left_open(made)} if made.leaves_open else {}),
        **({"confidence": made.reliability.to_dict()} if made.reliability is not None else {}),
        **({"novelty": made.by_novelty.to_list()} if made.by_novelty is not None else {}),
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


def _per_pixel(made: Agreement, found: ClassMap) -> float:
    """Hectares of a pixel: the mean of those with a class, for they need not be of one size."""
    pixels = int(made.mapped.sum())
    if not pixels:
        return found.grid.pixel_size_m**2 / HECTARE
    return float(made.hectares.mapped.sum()) / pixels
