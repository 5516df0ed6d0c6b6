"""Write an evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.evaluation import pictures
from geoseg.evaluation.agreement import (
    COMPARED,
    ERRORS,
    LEFT_OPEN,
    NO_LABEL,
    NO_MAP,
    NO_SPLIT,
    Agreement,
)
from geoseg.evaluation.difference import Difference
from geoseg.evaluation.error_map import RIGHT, WRONG
from geoseg.evaluation.excerpts import Excerpt
from geoseg.evaluation.outlines import Outlines
from geoseg.evaluation.reliability import diagram
from geoseg.evaluation.truth import Truth
from geoseg.evaluation.zone_scores import ZoneScores
from geoseg.geo.extent import WGS84
from geoseg.geo.grid import Grid
from geoseg.geo.legend import IGNORED, NO_DECISION, NODATA, UNDECIDED_COLOR, LegendClass
from geoseg.geo.raster import Raster
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.numbers import hectares, mean, number, percent, say, score, shade, share
from geoseg.outputs.page import write_page
from geoseg.scenes.scene import Scene

OVERVIEW = 1000
"""Longer side of the picture of the whole map in pixels."""
WHY = {
    COMPARED: "a class in the map and in the labels",
    NO_MAP: "no image there, or a gap between maps",
    NO_SPLIT: "no tile of the chosen split, or one of the train split, which the network knows",
    LEFT_OPEN: "labelled, but the network was not sure enough for a class",
    NO_LABEL: "nobody labelled it, or the labels leave it open",
}
ZONES = 200
"""Zones that the page lists, those of most disagreement; zones.gpkg has all."""


@dataclass(frozen=True)
class Report:
    """What a report shows."""

    map: ClassMap
    truth: Truth
    agreement: Agreement
    places: Sequence[Excerpt]
    scenes: Sequence[Scene]
    zones: ZoneScores | None = None
    outlines: Outlines | None = None
    """Polygons that are drawn over the image of each place."""

    def write(self, path: Path, *, origin: dict[str, Any], notes: Sequence[str] = ()) -> None:
        """Write the page. origin: name → where things come from. Raises: InputError."""
        notes = list(notes)
        with Raster(self.map.path, nodata=NODATA) as file:
            overview = self._overview(file)
            shown = [self._place(place, file, notes) for place in self.places]
        content = (
            self._head()
            | self._classes()
            | self._matrix()
            | self._left_out()
            | self._confidence()
            | self._novelty()
            | self._origin(origin)
            | self._difference()
            | self._zones()
        )
        content |= {
            "notes": list(dict.fromkeys(notes)),
            "overview": overview,
            "places": shown,
            "panels": max((len(place["panels"]) for place in shown), default=1),
            # Pixels that are drawn larger than they are stay pixels.
            "rendering": "pixelated" if self._side() < 256 else "auto",
            "place_size": f"{self._side()} × {self._side()} pixels",
        }
        write_page(path, "geoseg.evaluation", "report.html", content)

    def _head(self) -> dict[str, Any]:
        made, scores = self.agreement, self.agreement.scores
        pixel = self.map.grid.pixel_size_m
        tolerance = f"{made.boundary.tolerance} pixels ({made.boundary.tolerance * pixel:.3g} m)"
        compared, area = made.pixels[COMPARED], hectares(made.hectares.pixels[COMPARED])
        figures = (
            ("Overall accuracy", percent(scores.overall_accuracy), "of the compared pixels agree"),
            ("Mean IoU", score(scores.miou), "overlap of map and labels, mean of the classes"),
            ("Mean F1", score(scores.macro_f1), "user’s and producer’s accuracy in one, mean"),
            ("Boundary F1", score(made.boundary.mean), f"outlines agree within {tolerance}"),
        )
        lead = (
            f"Of {number(compared)} compared pixels ({area} ha),"
            f" {percent(scores.overall_accuracy)} have the same class in the map as in the labels."
        )
        if made.leaves_open:
            lead += (
                f" Left undecided: {percent(made.share_open)}; of the rest"
                f" {percent(scores.overall_accuracy)} right."
            )
        split = self.truth.settings.get("split")
        return {
            "title": Path(self.map.path).name,
            "part": f"{split} split of {self.truth.settings['dataset']}" if split else "",
            "lead": lead,
            "tolerance": tolerance,
            "figures": [dict(zip(("name", "value", "meaning"), f, strict=True)) for f in figures],
        }

    def _difference(self) -> dict[str, Any]:
        """What the disagreement is made of."""
        found = Difference.of(self.agreement.confusion)
        parts = (
            ("quantity", found.quantity, "some classes have too much area, others too little"),
            ("exchange", found.exchange, "swapped: A for B here, B for A elsewhere"),
            ("shift", found.shift, "the rest: rings of three and more classes"),
        )
        whole = found.disagreement
        return {
            "disagreement": percent(whole),
            "parts": [
                {
                    "name": name,
                    "value": percent(value),
                    "meaning": meaning,
                    "width": 100 * value / whole if whole > 0 else 0.0,
                }
                for name, value, meaning in parts
            ],
        }

    def _zones(self) -> dict[str, Any]:
        entries = [] if self.zones is None else self.zones.to_list()
        ranked = sorted(
            entries,
            key=lambda e: (e["name"] is None, -(e["difference"]["disagreement"] or 0.0)),
        )
        rows = [
            {
                "name": "outside all zones" if e["name"] is None else e["name"],
                "pixels": number(e["pixels"]),
                "ha": hectares(e["hectares"]),
                "right": share(e["overall_accuracy"]),
                "width": 100 * (e["overall_accuracy"] or 0.0),
                "scores": [score(e[key]) for key in ("miou", "macro_f1")],
                "parts": [share(e["difference"][p]) for p in ("quantity", "exchange", "shift")],
            }
            for e in ranked[:ZONES]
        ]
        return {"zones": rows, "zones_left": max(0, len(entries) - ZONES)}

    def _classes(self) -> dict[str, Any]:
        made, scores, ground = self.agreement, self.agreement.scores, self.agreement.hectares
        columns = (
            *(scores.users_accuracy, scores.producers_accuracy, scores.iou, scores.f1),
            made.boundary.f1,
        )
        rows = [
            {
                "name": c.name,
                "color": c.color,
                "truth": number(scores.truth_pixels[i]),
                "truth_ha": hectares(ground.labels[i]),
                "mapped": number(scores.map_pixels[i]),
                "mapped_ha": hectares(ground.map[i]),
                "whole_ha": hectares(ground.mapped[i]),
                "scores": [
                    {"text": score(v[i]), "percent": round(100 * v[i]) if v[i] == v[i] else 0}
                    for v in columns
                ],
            }
            for i, c in enumerate(made.legend.classes)
        ]
        compared = number(made.pixels[COMPARED]), hectares(ground.pixels[COMPARED])
        sums = [*compared, *compared, hectares(ground.mapped.sum())]
        means = [mean(v) for v in columns]
        return {
            "classes": rows,
            "sums": [*sums, *map(score, means)],
            "legends": self._legends(),
            "hectares": self._measured(),
        }

    def _measured(self) -> str:
        """How hectares were measured."""
        grid = self.map.grid
        height, width = grid.pixel_sides_m
        size = f"Pixels of {width:.3g} m × {height:.3g} m"
        if grid.is_local:
            return (
                f"{size} by the unit of the map’s CRS, which is local: nobody knows its place on"
                " Earth, and so how true it is there."
            )
        return (
            f"Measured on the ground, not on the map: each pixel has its own area on the ellipsoid."
            f" {size} in the middle of the map."
        )

    def _legends(self) -> list[tuple[str, list[dict[str, str]]]]:
        empty = {"color": "#{:02x}{:02x}{:02x}".format(*pictures.EMPTY)}
        classes, errors = (
            [{"name": c.name, "color": c.color} for c in legend.classes]
            for legend in (self.agreement.legend, ERRORS)
        )
        if self.agreement.leaves_open:
            classes.append({"name": NO_DECISION, "color": UNDECIDED_COLOR})
        return [
            ("labels and map", [*classes, {"name": "no class"} | empty]),
            ("errors", [*errors, {"name": "not compared"} | empty]),
        ]

    def _matrix(self) -> dict[str, Any]:
        counts = self.agreement.confusion
        return {
            "matrix": matrix_rows(counts, self.agreement.legend.classes),
            "column_totals": [number(int(total)) for total in counts.sum(axis=0)],
            "compared": number(int(counts.sum())),
        }

    def _left_out(self) -> dict[str, Any]:
        counts, ground = self.agreement.pixels, self.agreement.hectares.pixels
        whole = self.map.grid.window.area
        rows = [
            (name, counts[name], ground[name], why) for name, why in WHY.items() if counts[name]
        ]
        rows.append(("whole grid", whole, sum(ground.values()), ""))
        return {
            "pixels": [
                {
                    "name": name,
                    "count": number(count),
                    "ha": hectares(area),
                    "share": percent(count / whole),
                    "why": why,
                }
                for name, count, area, why in rows
            ]
        }

    def _confidence(self) -> dict[str, Any]:
        """How far the confidence beside the map is what it says."""
        found = self.agreement.reliability
        if found is None:
            return {"confidence": None}
        picture = diagram({"confidence": (found, "#14606b")}, side=360)
        return {
            "confidence": {"ece": score(found.ece), "null": score(found.null()), "picture": picture}
        }

    def _novelty(self) -> dict[str, Any]:
        """How far the map is right where the ground is new to the network, and where it is not."""
        found = self.agreement.by_novelty
        if found is None:
            return {"novelty": None}
        rows = [
            {
                "novelty": f"{e['from']}–{e['to']}" if e["to"] > e["from"] else "100, novel",
                "pixels": number(e["pixels"]),
                "right": "–" if e["overall_accuracy"] is None else percent(e["overall_accuracy"]),
            }
            for e in found.to_list()
        ]
        return {"novelty": {"rows": rows, "share": percent(found.novel_share)}}

    def _origin(self, origin: dict[str, Any]) -> dict[str, Any]:
        grid, legend = self.map.grid, self.agreement.legend
        rows = [(name.replace("_", " "), say(v)) for name, v in origin.items() if v is not None]
        crs = crs_name(grid)
        rows += [
            ("grid", f"{grid.height} × {grid.width} pixels of {grid.pixel_size_m:.3g} m, {crs}"),
            ("legend", ", ".join(f"{c.code} {c.name}" for c in legend.classes)),
        ]
        return {"origin": rows}

    def _side(self) -> int:
        sides = [max(p.window.height, p.window.width) for p in self.places]
        return max(sides, default=1)

    def _overview(self, file: Raster) -> dict[str, Any]:
        grid = self.map.grid
        shape = grid.shape_within(OVERVIEW)
        codes = file.read(grid.window, shape=shape)[0][0]
        image = self._draw(codes)
        return {"image": image, "height": shape[0], "width": shape[1]}

    def _draw(self, codes: np.ndarray) -> str:
        made = self.agreement
        return pictures.of_codes(codes, made.legend, undecided=made.leaves_open)

    def _place(self, place: Excerpt, file: Raster, notes: list[str]) -> dict[str, Any]:
        legend, grid = self.agreement.legend, self.map.grid
        window = place.window
        codes = file.read(window)[0][0]
        labels, _ = self.truth.read(window)
        own, target = legend.encode(codes), legend.encode(labels)
        compared = (own != IGNORED) & (target != IGNORED)
        errors = np.where(own == target, RIGHT, WRONG).astype(np.uint8) * compared
        panels = [
            {"name": "labels", "image": pictures.of_codes(labels, legend)},
            {"name": "map", "image": self._draw(codes)},
            {"name": "errors", "image": pictures.of_codes(errors, ERRORS)},
        ]
        try:
            image = pictures.of_scenes(self.scenes, grid.crop(window))
        except InputError as error:
            notes.append(f"no image in some pictures: {error}")
            image = None
        if image is not None:
            panels.insert(0, {"name": "image", "image": image})
        if self.outlines is not None:
            panels.append(self._outlined(panels[0], grid.crop(window)))
        return {
            "rank": place.rank,
            "agreement": percent(place.agreement),
            "compared": number(place.compared),
            "where": whereabouts(grid.crop(window)),
            "panels": panels,
            "left": 100 * window.left / grid.width,
            "top": 100 * window.top / grid.height,
            "width": 100 * window.width / grid.width,
            "height": 100 * window.height / grid.height,
        }

    def _outlined(self, panel: dict[str, Any], grid: Grid) -> dict[str, Any]:
        """The picture of a panel with the polygons over it."""
        assert self.outlines is not None
        return {
            "name": f"{self.outlines.title} over {panel['name']}",
            "image": panel["image"],
            "size": f"{grid.width} {grid.height}",
            "outlines": self.outlines.paths(grid),
        }


def matrix_rows(counts: np.ndarray, classes: Sequence[LegendClass]) -> list[dict[str, Any]]:
    """Rows of a page's error matrix (K, K): each cell with its shares of row and column."""
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    table = []
    for i, c in enumerate(classes):
        cells = []
        for j, count in enumerate(counts[i].tolist()):
            of_row, of_column = count / max(1, rows[i]), count / max(1, columns[j])
            shares = f"→ {percent(of_row)} ↓ {percent(of_column)}" if count else ""
            color = shade(of_row, (76, 168, 120) if i == j else (214, 60, 76))
            cells.append({"count": number(count), "shares": shares, "color": color})
        total = number(int(rows[i]))
        table.append({"name": c.name, "color": c.color, "cells": cells, "total": total})
    return table


def crs_name(grid: Grid) -> str:
    """EPSG code and name of a CRS."""
    import pyproj

    crs = pyproj.CRS.from_user_input(grid.crs)
    code = crs.to_epsg()
    return f"EPSG:{code} ({crs.name})" if code else crs.name


def whereabouts(grid: Grid) -> str:
    """Middle of a grid in latitude and longitude; of a local CRS in its own coordinates."""
    if grid.is_local:
        x, y = grid.transform @ (grid.width / 2, grid.height / 2)
        return f"x {x:.2f}, y {y:.2f}"
    left, bottom, right, top = grid.bounds_in(WGS84)
    y, x = (bottom + top) / 2, (left + right) / 2
    return f"{abs(y):.5f}° {'N' if y >= 0 else 'S'}, {abs(x):.5f}° {'E' if x >= 0 else 'W'}"
