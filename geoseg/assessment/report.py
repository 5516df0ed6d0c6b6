"""Write an assessment as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.assessment.figures import NOT_IN, Assessment, ClassFigures, ZoneFigures
from geoseg.assessment.intervals import Interval
from geoseg.outputs.numbers import SPACE, number, shade
from geoseg.outputs.page import write_page

GREEN, RED = (76, 168, 120), (214, 60, 76)
WIDEST = 4.0
"""Times the counted area up to which the drawing of areas reaches at most."""


@dataclass(frozen=True)
class Report:
    """The page of an assessment."""

    made: Assessment

    def write(self, path: Path) -> None:
        """Raises: InputError if it can't be written."""
        write_page(path, "geoseg.assessment", "assessment.html", self._content())

    def _content(self) -> dict[str, Any]:
        made = self.made
        return {
            "title": Path(made.map).name,
            "level": percent(made.level, digits=0),
            "figures": self._figures(),
            "cautions": made.cautions,
            "notes": made.notes,
            "classes": [self._class(c) for c in made.classes],
            "drawing": self._drawing(),
            "with_map": any(c.with_map for c in made.classes),
            "with_labels": any(c.labels is not None for c in made.classes),
            "whole": hectares(made.sample.about["hectares"]),
            "matrix": self._matrix(),
            "names": made.legend.names,
            "zones": [self._zone(zone) for zone in made.zones],
            "strata": self._strata(),
            "interpreters": self._interpreters(),
            "origin": [(k.replace("_", " "), say(v)) for k, v in made.origin.items() if say(v)],
        }

    def _figures(self) -> list[dict[str, str]]:
        made = self.made
        o = made.overall
        figures = [
            {
                "name": "Overall accuracy",
                "value": f"{percent(o.value)}",
                "range": f"{percent(o.low)} – {percent(o.high)}",
                "meaning": "of the area has the right class",
            },
            {
                "name": "Assessed area",
                "value": f"{hectares(made.sample.about['hectares'])} ha",
                "range": "",
                "meaning": "of which every pixel had a known chance to be drawn",
            },
            {
                "name": "Points",
                "value": number(made.done),
                "range": f"of {number(len(made.sample.key.id))} drawn",
                "meaning": f"in {len(made.sample.parts)} strata, {made.sample.about['design']}",
            },
        ]
        if made.undecided is not None:
            u = made.undecided
            figures.append(
                {
                    "name": "Without class",
                    "value": percent(u.value),
                    "range": f"{percent(u.low)} – {percent(u.high)}",
                    "meaning": "of the area: the map decides on none; accuracy is of the rest",
                }
            )
        if made.interpreters is not None:
            both = made.interpreters
            figures.append(
                {
                    "name": "Interpreters agree",
                    "value": percent(both.agreement.value),
                    "range": f"{percent(both.agreement.low)} – {percent(both.agreement.high)}",
                    "meaning": f"at {both.points} points that two people looked at",
                }
            )
        if made.effective is not None:
            figures.append(
                {
                    "name": "Effective points",
                    "value": number(round(made.effective)),
                    "range": "",
                    "meaning": "single random points that would tell as much as these blocks",
                }
            )
        return figures

    def _class(self, c: ClassFigures) -> dict[str, Any]:
        scores = [
            {
                "text": percent(one.value),
                "range": f"{percent(one.low)} – {percent(one.high)}",
                "share": 0 if math.isnan(one.value) else round(100 * one.value),
                "low": 0 if math.isnan(one.low) else round(100 * one.low, 1),
                "high": 0 if math.isnan(one.high) else round(100 * one.high, 1),
            }
            for one in (c.users, c.producers, c.f1)
        ]
        return {
            "name": c.name,
            "color": c.color,
            "mapped": hectares(c.mapped),
            "area": hectares(c.area.value),
            "margin": hectares(c.area.margin),
            "relative": percent(c.area.margin / c.area.value) if c.area.value > 0 else "–",
            "range": f"{hectares(c.area.low)} – {hectares(c.area.high)}",
            "with_map": f"{hectares(c.with_map.value)} ± {hectares(c.with_map.margin)}"
            if c.with_map
            else "",
            "labels": hectares(c.labels),
            "scores": scores,
        }

    def _drawing(self) -> dict[str, Any]:
        """Areas by class as shares of what pixel counting says: rare classes are as legible."""
        rows = [c for c in self.made.classes if c.mapped]
        reach = [c.area.high / c.mapped for c in rows if c.mapped]
        reach += [c.labels / c.mapped for c in rows if c.mapped and c.labels is not None]
        top = min(WIDEST, max([1.25, *(1.05 * one for one in reach)]))
        step = next(s for s in (0.1, 0.25, 0.5, 1.0) if top / s <= 8 or s == 1.0)

        def at(value: float | None, c: ClassFigures) -> float | None:
            return None if value is None or not c.mapped else 100 * min(value / c.mapped / top, 1)

        return {
            "rows": [
                {
                    "name": c.name,
                    "color": c.color,
                    "low": at(c.area.low, c),
                    "value": at(c.area.value, c),
                    "high": at(c.area.high, c),
                    "labels": at(c.labels, c),
                    "cut": c.area.high / (c.mapped or 1) > top,
                }
                for c in rows
            ],
            "ticks": [
                (100 * k * step / top, f"{round(100 * k * step)}{SPACE}%")
                for k in range(int(top / step + 1e-9) + 1)
            ],
            "one": 100 / top,
        }

    def _matrix(self) -> list[dict[str, Any]]:
        made = self.made
        rows = []
        colors = [c.color for c in made.classes]
        for i, (name, counts) in enumerate(
            zip((*made.legend.names, NOT_IN), made.counts.tolist(), strict=True)
        ):
            if i == len(colors) and not sum(counts):
                continue
            cells = []
            whole = sum(cell.value for cell in made.cells[i]) or 1.0
            for j, (count, cell) in enumerate(zip(counts, made.cells[i], strict=True)):
                cells.append(
                    {
                        "share": percent(cell.value, digits=2) if count else "0",
                        "se": f"± {percent(cell.margin, digits=2)}" if count else "",
                        "count": number(count),
                        "color": shade(cell.value / whole, GREEN if i == j else RED),
                    }
                )
            color = colors[i] if i < len(colors) else "#ffffff"
            rows.append(
                {"name": name, "color": color, "cells": cells, "total": number(sum(counts))}
            )
        return rows

    def _zone(self, zone: ZoneFigures) -> dict[str, Any]:
        return {
            "name": zone.name,
            "points": number(zone.points),
            "hectares": hectares(zone.hectares),
            "overall": f"{percent(zone.overall.low)} – {percent(zone.overall.high)}"
            if zone.overall and not math.isnan(zone.overall.value)
            else "–",
            "areas": [plus_minus(one.area) for one in zone.classes],
        }

    def _strata(self) -> list[dict[str, str]]:
        made = self.made
        place = {part.number: part for part in made.sample.parts}
        done = made.sample.key.stratum[made.references.done].tolist()
        whole = float(made.sample.about["hectares"])
        return [
            {
                "name": part.name,
                "pixels": number(part.pixels),
                "hectares": hectares(part.hectares),
                "share": percent(part.hectares / whole),
                "drawn": number(part.n),
                "done": number(done.count(part.number)),
            }
            for part in place.values()
        ]

    def _interpreters(self) -> dict[str, Any] | None:
        both = self.made.interpreters
        if both is None:
            return None
        return {
            "points": number(both.points),
            "same": number(both.same),
            "agreement": percent(both.agreement.value),
            "range": f"{percent(both.agreement.low)} – {percent(both.agreement.high)}",
            "pairs": both.pairs[:20],
        }


def say(value: Any) -> str:
    """JSON values as people read them."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {say(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(say, value))
    return str(value)


def percent(share: float, *, digits: int = 1) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}{SPACE}%"


def hectares(area: float | None) -> str:
    if area is None or math.isnan(area):
        return "–"
    size = abs(area)
    text = f"{area:,.0f}" if size >= 1000 else f"{area:.1f}" if size >= 10 else f"{area:.2f}"
    return text.replace(",", SPACE)


def plus_minus(one: Interval | None) -> str:
    if one is None or math.isnan(one.value):
        return "–"
    return f"{hectares(one.value)} ± {hectares(one.margin)}"
