"""Page on networks that were judged on held-out samples: both ways side by side, and the gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from geoseg import __version__
from geoseg.foldscores import Gap, Judged, majority
from geoseg.legend import Legend
from geoseg.output import replacing
from geoseg.report import number, percent, say, score, shade
from geoseg.units import NOUNS

RIGHT, WRONG = (76, 168, 120), (214, 60, 76)
"""Colours of a whole row of right and wrong samples in a confusion matrix."""


@dataclass(frozen=True)
class FoldReport:
    """What the page shows."""

    ways: Sequence[Judged]
    gap: Gap | None
    legend: Legend
    title: str

    def write(self, path: Path, *, origin: dict[str, Any], notes: Sequence[str] = ()) -> None:
        """Write the page. origin: name → where things come from."""
        text = resources.files("geoseg.report").joinpath("folds.html").read_text(encoding="utf-8")
        page = Environment(autoescape=True, undefined=StrictUndefined).from_string(text)
        content = {
            "title": self.title,
            "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "version": __version__,
            "lead": self._lead(),
            "figures": self._figures(),
            "notes": list(notes),
            "ways": [self._way(way) for way in self.ways],
            "classes": self._classes(),
            "origin": [(name.replace("_", " "), say(value)) for name, value in origin.items()],
        }
        with replacing(path) as temporary:
            temporary.write_text(page.render(content), encoding="utf-8")

    def _lead(self) -> str:
        if self.gap:
            return self.gap.words
        way = self.ways[0]
        right = percent(way.scores.overall_accuracy)
        warning = (
            " Samples near each other are alike: elsewhere expect less. split.by=block shows how"
            " much less."
            if way.by == "random"
            else ""
        )
        return f"{right} of the samples are right when they are held out {way.title}.{warning}"

    def _figures(self) -> list[dict[str, str]]:
        figures = []
        for way in self.ways:
            mean = f"mean of the classes, held out {way.title}"
            right = f"of the samples are right, held out {way.title}"
            figures.append(("Overall accuracy", percent(way.scores.overall_accuracy), right))
            figures.append(("Macro F1", score(way.scores.macro_f1), mean))
        if self.gap:
            points = f"{100 * self.gap.overall_accuracy:+.1f}".replace("-", "−")
            figures.append(("Gap", points, "points of accuracy that random folds say more"))
        usual = percent(majority(self.ways[0].truth))
        figures.append(("Majority", usual, "right if the most frequent class were named always"))
        return [dict(zip(("name", "value", "meaning"), f, strict=True)) for f in figures]

    def _way(self, way: Judged) -> dict[str, Any]:
        seeds = len(way.seeds)
        return {
            "title": way.title,
            "units": f"{number(way.units)} {NOUNS[way.by]}",
            "folds": f"{way.folds} × {seeds} seed{'s' if seeds > 1 else ''}",
            "accuracy": score(way.scores.overall_accuracy),
            "accuracy_folds": str(way.over_folds("overall_accuracy")),
            "accuracy_seeds": str(way.over_seeds("overall_accuracy")),
            "f1": score(way.scores.macro_f1),
            "f1_folds": str(way.over_folds("macro_f1")),
            "f1_seeds": str(way.over_seeds("macro_f1")),
            "kappa": score(way.scores.kappa),
            "nearest": "–" if way.nearest_m is None else distance(way.nearest_m),
            "trainings": [
                (
                    one.seed,
                    one.fold,
                    number(one.samples),
                    bar(one.scores.overall_accuracy),
                    bar(one.scores.macro_f1),
                )
                for one in way.trainings
            ],
            "matrix": self._matrix(way),
            "totals": [number(int(n)) for n in way.confusion.sum(axis=0)],
            "all": number(int(way.confusion.sum())),
        }

    def _matrix(self, way: Judged) -> list[dict[str, Any]]:
        counts = way.confusion
        rows, columns = counts.sum(axis=1), counts.sum(axis=0)
        table = []
        for i, c in enumerate(self.legend.classes):
            cells = []
            for j, count in enumerate(counts[i].tolist()):
                of_row, of_column = count / max(1, rows[i]), count / max(1, columns[j])
                shares = f"→ {percent(of_row)} ↓ {percent(of_column)}" if count else ""
                color = shade(of_row, RIGHT if i == j else WRONG)
                cells.append({"samples": number(count), "shares": shares, "color": color})
            total = number(int(rows[i]))
            table.append({"name": c.name, "color": c.color, "cells": cells, "total": total})
        return table

    def _classes(self) -> list[dict[str, Any]]:
        seeds = len(self.ways[0].seeds)
        rows = []
        for i, c in enumerate(self.legend.classes):
            scores = []
            for way in self.ways:
                s = way.scores
                scores += [bar(v[i]) for v in (s.users_accuracy, s.producers_accuracy, s.f1)]
            samples = number(self.ways[0].scores.truth_pixels[i] // seeds)
            rows.append({"name": c.name, "color": c.color, "samples": samples, "scores": scores})
        return rows


def bar(value: float) -> dict[str, Any]:
    """A score as text, and as the length of the bar behind it."""
    return {"text": score(value), "percent": round(100 * value) if value == value else 0}


def distance(metres: float) -> str:
    return f"{metres / 1000:.3g} km" if metres >= 1000 else f"{metres:.0f} m"
