"""Hold what is estimated of a map, and say it as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.assessment.intervals import Interval
from geoseg.assessment.references import References
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.geo.legend import Legend
from geoseg.outputs.counted import decimals, spaced
from geoseg.outputs.summary import Summary

NOT_IN = "no class"
"""Of a map where it has none, or decided on none."""
MOST = 20
"""Zones that are listed on a terminal."""


@dataclass(frozen=True)
class ClassFigures:
    """What is estimated of a class."""

    name: str
    code: int
    color: str
    mapped: float | None
    """Hectares in the map; None = nobody measured it."""
    area: Interval
    """Hectares by the reference."""
    with_map: Interval | None
    """The same with the map as auxiliary, where its strata are not the classes."""
    labels: float | None
    """Hectares in the labels that the references were taken from, if they cover the map."""
    users: Interval
    producers: Interval
    f1: Interval


@dataclass(frozen=True)
class ZoneClass:
    """What is estimated of a class in a zone; None = too few points."""

    mapped: float
    """Hectares in the map."""
    area: Interval | None
    """Hectares by the reference."""
    users: Interval | None
    producers: Interval | None
    f1: Interval | None


@dataclass(frozen=True)
class ZoneFigures:
    """What is estimated of a zone."""

    name: str
    points: int
    hectares: float
    overall: Interval | None
    """None = too few points."""
    classes: tuple[ZoneClass, ...]


@dataclass(frozen=True)
class Interpreters:
    """How far two people agree who looked at the same points."""

    points: int
    same: int
    agreement: Interval
    pairs: tuple[tuple[str, str, int], ...]
    """Classes of the first and the second where they differ, and how often."""


@dataclass
class Assessment:
    """A map's accuracy and areas, estimated from a sample."""

    sample: SampleFile
    map: str
    references: References
    level: float
    overall: Interval
    classes: list[ClassFigures]
    counts: np.ndarray
    """(K + 1, K) points; rows map, the last without class, columns reference."""
    cells: list[list[Interval]]
    """The same as shares of the area."""
    zones: list[ZoneFigures] = field(default_factory=list)
    interpreters: Interpreters | None = None
    undecided: Interval | None = None
    """Share of the area where the map has no class; None = nowhere."""
    effective: float | None = None
    """Of a cluster sample: independent points that would give the same standard error."""
    cautions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    codes: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    """(n,) of the map at the points."""

    @property
    def legend(self) -> Legend:
        return self.sample.legend

    @property
    def done(self) -> int:
        """Interpreted points."""
        return int(self.references.done.sum())

    def to_dict(self) -> dict[str, Any]:
        """Content of accuracy.json."""
        return {
            "level": self.level,
            "points": {"drawn": len(self.sample.key.id), "interpreted": self.done},
            "hectares": self.sample.about["hectares"],
            "overall_accuracy": self.overall.to_dict(),
            "undecided": self.undecided.to_dict() if self.undecided else None,
            "effective_points": self.effective,
            "classes": [
                {
                    "name": c.name,
                    "code": c.code,
                    "hectares_in_map": c.mapped,
                    "hectares": c.area.to_dict(),
                    "hectares_with_map_as_auxiliary": c.with_map.to_dict() if c.with_map else None,
                    "hectares_in_labels": c.labels,
                    "users_accuracy": c.users.to_dict(),
                    "producers_accuracy": c.producers.to_dict(),
                    "f1": c.f1.to_dict(),
                }
                for c in self.classes
            ],
            "error_matrix": {
                "rows": [*self.legend.names, NOT_IN],
                "columns": self.legend.names,
                "points": self.counts.tolist(),
                "share_of_area": [[cell.value for cell in cells] for cells in self.cells],
                "standard_error": [[cell.se for cell in cells] for cells in self.cells],
            },
            "strata": [
                {"name": p.name, "hectares": p.hectares, "units": p.units, "points_drawn": p.n}
                for p in self.sample.parts
            ],
            "zones": self._zones(),
            "interpreters": {
                "points": self.interpreters.points,
                "same": self.interpreters.same,
                "agreement": self.interpreters.agreement.to_dict(),
                "differences": [list(pair) for pair in self.interpreters.pairs],
            }
            if self.interpreters
            else None,
            "cautions": self.cautions,
            "notes": self.notes,
            "origin": self.origin,
        }

    def _zones(self) -> list[dict[str, Any]]:
        """Content of accuracy.json by zone."""
        return [
            {
                "name": z.name,
                "points": z.points,
                "hectares": z.hectares,
                "overall_accuracy": z.overall.to_dict() if z.overall else None,
                "classes": [
                    {
                        "name": name,
                        "hectares_in_map": c.mapped,
                        **{
                            key: found.to_dict() if found else None
                            for key, found in (
                                ("hectares", c.area),
                                ("users_accuracy", c.users),
                                ("producers_accuracy", c.producers),
                                ("f1", c.f1),
                            )
                        },
                    }
                    for name, c in zip(self.legend.names, z.classes, strict=True)
                ],
            }
            for z in self.zones
        ]

    @property
    def origin(self) -> dict[str, Any]:
        about = self.sample.about
        return {
            "sample": self.sample.path,
            "references": self.references.settings,
            "map": self.map,
            "sampled_map": about["map"],
            "model": about["model"],
            "design": about["design"],
            "sample_settings": about["sample"],
            "where": about["where"],
            "seed": about["seed"],
            "drawn_by_geoseg": about["drawn_by_geoseg"],
            "assessed_by_geoseg": __version__,
        }

    def summary(self) -> Summary:
        """Tables for a terminal."""
        summary, percent = Summary(), f"{100 * self.level:g} %"
        header = ["class", "map, ha", "estimated, ha", "±", f"{percent} interval"]
        truth = any(c.labels is not None for c in self.classes)
        ha = partial(_ha, digits=decimals(float(self.sample.about["hectares"])))
        rows = []
        for c in self.classes:
            a = c.area
            cells = [c.name, ha(c.mapped), ha(a.value), ha(a.margin)]
            cells.append(f"{ha(a.low)} – {ha(a.high)}")
            rows.append([*cells, ha(c.labels)] if truth else cells)
        summary.table("areas", [*header, "labels, ha"] if truth else header, rows)
        accuracy = [
            [c.name, *(_plus_minus(x) for x in (c.users, c.producers, c.f1))] for c in self.classes
        ]
        summary.table("accuracy", ["class", "user's", "producer's", "F1"], accuracy)
        if self.zones:
            more = f", the first {MOST} of {len(self.zones)}" if len(self.zones) > MOST else ""
            found = [
                [z.name, z.points, ha(z.hectares), _plus_minus(z.overall)]
                for z in self.zones[:MOST]
            ]
            header = ["zone", "points", "ha", "overall accuracy"]
            summary.table(f"by zone{more}", header, found)
        o = self.overall
        summary.note(
            f"overall accuracy {_plus_minus(o)} ({percent}: {o.low:.3f} –"
            f" {o.high:.3f}), {self.done} of {len(self.sample.key.id)} points interpreted"
        )
        summary.notes(self.notes)
        for text in self.cautions:
            summary.warn(text)
        return summary


def _ha(value: float | None, *, digits: int) -> str:
    if value is None or value != value:
        return "–"
    return spaced(value, digits)


def _plus_minus(one: Interval | None) -> str:
    if one is None or one.value != one.value:
        return "–"
    return f"{one.value:.3f} ± {one.margin:.3f}"
