"""Write a comparison of two maps as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.comparison.places import Place
from geoseg.comparison.result import Comparison
from geoseg.comparison.sankey import sankey
from geoseg.comparison.tables import zone_entries
from geoseg.evaluation import pictures
from geoseg.evaluation.report import crs_name, whereabouts
from geoseg.geo.ground import HECTARE
from geoseg.geo.legend import NODATA, Legend
from geoseg.geo.raster import Raster
from geoseg.outputs.numbers import hectares, number, percent, say, shade, share
from geoseg.outputs.page import write_page

OVERVIEW = 1000
"""Longer side of the picture of the whole map in pixels."""
KEYS = 24
"""Kinds of change that the key beside the picture names, the largest first."""
ZONES = 200
"""Zones that the page lists, those that changed most; zones.gpkg has all."""


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    made: Comparison
    change: Path
    """The map of changes."""

    def write(self, path: Path, *, origin: dict[str, Any]) -> None:
        """Write the page. origin: name → where things come from. Raises: InputError."""
        content = self._head() | self._matrix() | self._classes() | self._zones() | self._pictures()
        content |= {"left_out": self._left_out(), "origin": self._origin(origin)}
        write_page(path, "geoseg.comparison", "change.html", content)

    def _head(self) -> dict[str, Any]:
        made, counts = self.made, self.made.counts
        difference, pair = made.difference, made.pair
        compared, changed = float(counts.hectares.sum()), counts.changed[1]
        figures = [
            ("Changed", percent(difference.disagreement), f"{hectares(changed)} ha"),
            ("Quantity", percent(difference.quantity), "some classes have more area, others less"),
            ("Exchange", percent(difference.exchange), "swapped: A to B here, B to A elsewhere"),
            ("Shift", percent(difference.shift), "the rest: rings of three and more classes"),
        ]
        return {
            "title": f"{Path(pair.before.path).name} → {Path(pair.after.path).name}",
            "lead": (
                f"Of {hectares(compared)} ha that have a class in both maps, {hectares(changed)} ha"
                f" ({percent(difference.disagreement)}) changed it."
            ),
            "figures": [dict(zip(("name", "value", "meaning"), f, strict=True)) for f in figures],
            "bar": [
                {"name": name, "width": 100 * value}
                for name, value in zip(
                    ("quantity", "exchange", "shift"), self._parts(), strict=True
                )
            ],
            "floor": self._floor(),
            "minimum": self._minimum(),
            "notes": list(made.notes),
        }

    def _parts(self) -> list[float]:
        """Quantity, exchange and shift as shares of the change."""
        d = self.made.difference
        parts = (d.quantity, d.exchange, d.shift)
        return [part / d.disagreement if d.disagreement > 0 else 0.0 for part in parts]

    def _floor(self) -> str:
        counts = self.made.counts
        if not counts.changed[0]:
            return "Nothing changed, so nothing can be a matter of misregistration."
        pixel = self.made.pair.before.grid.pixel_size_m
        moved = (
            ""
            if self.made.pair.same_pixels
            else " Here the map after was brought onto other pixels, which alone makes such edges."
        )
        wide = counts.changed[1] - counts.thin[1]
        return (
            f"{percent(counts.thin_share)} of the changed area, {hectares(counts.thin[1])} ha, is"
            f" one pixel ({pixel:.3g} m) wide. Two maps that lie half a pixel apart differ just so"
            " along every edge: take this as the floor below which change cannot be told from"
            f" misregistration.{moved} {hectares(wide)} ha of change are wider."
        )

    def _minimum(self) -> str:
        made = self.made
        if made.dropped is None:
            return ""
        minimum = made.asked.minimum_m2 / HECTARE
        return (
            f"Patches of change below {minimum:.3g} ha count as unchanged:"
            f" {number(made.dropped_patches)} patches, {hectares(float(made.dropped.sum()))} ha."
            " So the areas after are those of the map before with the larger changes, not those of"
            " the map after."
        )

    def _matrix(self) -> dict[str, Any]:
        areas, pixels = self.made.counts.hectares, self.made.counts.pixels
        rows, columns, total = areas.sum(axis=1), areas.sum(axis=0), areas.sum()
        table = []
        for i, c in enumerate(self.made.pair.classes):
            cells = []
            for j in range(len(areas)):
                share = areas[i, j] / rows[i] if rows[i] else 0.0
                color = shade(float(share), (140, 150, 158) if i == j else (214, 96, 40))
                text = hectares(float(areas[i, j])) if pixels[i, j] else "–"
                cells.append(
                    {
                        "text": text,
                        "share": percent(float(share)) if pixels[i, j] else "",
                        "color": color,
                    }
                )
            table.append(
                {"name": c.name, "color": c.color, "cells": cells, "total": hectares(rows[i])}
            )
        return {
            "matrix": table,
            "column_totals": [hectares(float(area)) for area in columns],
            "total": hectares(float(total)),
            "sankey": sankey(self.made.pair.classes, areas),
        }

    def _classes(self) -> dict[str, Any]:
        made = self.made
        areas = made.counts.hectares
        lost, gained = (areas.sum(axis=axis) - np.diagonal(areas) for axis in (1, 0))
        entries = []
        for i, c in enumerate(made.pair.classes):
            before, after = float(areas[i].sum()), float(areas[:, i].sum())
            net = after - before
            entries.append(
                {
                    "name": c.name,
                    "color": c.color,
                    "cells": [
                        hectares(before),
                        hectares(after),
                        f"{'+' if net > 0 else '−' if net < 0 else ''}{hectares(abs(net))}",
                        percent(abs(net) / before) if before else "–",
                        hectares(float(gained[i])),
                        hectares(float(lost[i])),
                        *(percent(float(v)) for v in made.difference.by_class[i]),
                    ],
                }
            )
        return {"classes": entries}

    def _zones(self) -> dict[str, Any]:
        made = self.made
        entries = zone_entries(made.zones, made.pair.names, made.counts)
        ranked = sorted(entries, key=lambda e: (e["name"] is None, -(e["disagreement"] or 0)))
        shown = [
            {
                "name": "outside all zones" if e["name"] is None else e["name"],
                "compared": hectares(e["compared_ha"]),
                "changed": hectares(e["changed_ha"]),
                "share": share(e["disagreement"]),
                "width": 100 * (e["disagreement"] or 0.0),
                "parts": [share(e[k]) for k in ("quantity", "exchange", "shift")],
                "most": _largest(np.array(e["transitions_ha"]), made.pair.names),
            }
            for e in ranked[:ZONES]
        ]
        return {"zones": shown, "zones_left": max(0, len(entries) - ZONES)}

    def _pictures(self) -> dict[str, Any]:
        pair, legend = self.made.pair, self.made.codes.legend
        grid = pair.before.grid
        shape = grid.shape_within(OVERVIEW)
        with (
            Raster(self.change, nodata=NODATA) as change,
            Raster(pair.before.path, nodata=NODATA) as before,
            Raster(pair.after.path, grid=grid, resampling="nearest", nodata=NODATA) as after,
        ):
            codes = change.read(grid.window, shape=shape)[0][0]
            files = (("before", before, pair.before.legend), ("after", after, pair.after.legend))
            shown = [self._place(p, (*files, ("change", change, legend))) for p in self.made.places]
        sides = [max(p.window.height, p.window.width) for p in self.made.places]
        return {
            "overview": pictures.of_codes(codes, legend, undecided=True),
            "places": shown,
            "keys": self._keys(),
            "keys_left": max(0, len(self._kinds()) - KEYS),
            "rendering": "pixelated" if max(sides, default=1) < 256 else "auto",
        }

    def _kinds(self) -> list[tuple[float, int]]:
        """Hectares and code of the kinds of change that have a code, the largest first."""
        areas, table = self.made.counts.hectares, self.made.codes.table
        off = np.where(np.eye(len(areas), dtype=bool), 0, areas)
        sums = np.bincount(table.ravel(), weights=off.ravel(), minlength=256)
        return sorted(((float(a), c) for c, a in enumerate(sums) if a > 0), reverse=True)

    def _keys(self) -> list[dict[str, str]]:
        known = {c.code: c for c in self.made.codes.legend.classes}
        return [
            {"name": known[code].name, "color": known[code].color, "area": hectares(area)}
            for area, code in self._kinds()[:KEYS]
        ]

    def _place(self, place: Place, files: tuple[tuple[str, Raster, Legend], ...]) -> dict[str, Any]:
        grid, window = self.made.pair.before.grid, place.window
        panels = [
            {
                "name": name,
                "image": pictures.of_codes(file.codes(window), legend, undecided=True),
            }
            for name, file, legend in files
        ]
        return {
            "changed": percent(place.changed / window.area),
            "where": whereabouts(grid.crop(window)),
            "panels": panels,
            "left": 100 * window.left / grid.width,
            "top": 100 * window.top / grid.height,
            "width": 100 * window.width / grid.width,
            "height": 100 * window.height / grid.height,
        }

    def _left_out(self) -> list[dict[str, str]]:
        counts = self.made.counts
        compared = int(counts.pixels.sum())
        whole = self.made.pair.before.grid.window.area
        rows = [("compared", compared, float(counts.hectares.sum()))]
        rows += [(why, *found) for why, found in counts.left_out.items()]
        rows.append(("whole grid of the map before", whole, sum(row[2] for row in rows)))
        return [
            {"name": n, "count": number(c), "ha": hectares(a), "share": percent(c / whole)}
            for n, c, a in rows
        ]

    def _origin(self, origin: dict[str, Any]) -> list[tuple[str, str]]:
        grid = self.made.pair.before.grid
        rows = [(name.replace("_", " "), say(v)) for name, v in origin.items() if v is not None]
        size = f"{grid.height} × {grid.width} pixels of {grid.pixel_size_m:.3g} m"
        rows.append(("grid", f"{size}, {crs_name(grid)}, of the map before"))
        return rows


def _largest(areas: np.ndarray, names: list[str]) -> str:
    """The largest change of a matrix (K, K) in words."""
    off = np.where(np.eye(len(areas), dtype=bool), 0, areas)
    if not off.any():
        return "–"
    i, j = np.unravel_index(int(off.argmax()), off.shape)
    return f"{names[i]} to {names[j]}, {hectares(float(off[i, j]))} ha"
