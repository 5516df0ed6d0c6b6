"""Write the HTML page of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.crossvalidation.scores import Gap
from geoseg.crossvalidation.tally import Tally
from geoseg.evaluation.report import matrix_rows
from geoseg.geo.legend import Legend
from geoseg.outputs.counted import counted
from geoseg.outputs.numbers import number, percent, say, score
from geoseg.outputs.page import write_page

COLUMNS = {
    "samples": ("user’s\naccuracy", "producer’s\naccuracy", "F1"),
    "pixels": (
        *("IoU\nby fold", "IoU\npooled", "F1\nby fold", "F1\npooled"),
        *("user’s\naccuracy", "producer’s\naccuracy"),
    ),
}
"""Scores of a class, by what is judged."""
WHOLES = 2
"""Measures of a way that its row has room for; the others are below, or beside the classes."""


@dataclass(frozen=True)
class FoldReport:
    """What the page shows."""

    ways: Sequence[Tally]
    gap: Gap | None
    legend: Legend
    title: str

    def write(self, path: Path, *, origin: dict[str, Any], notes: Sequence[str] = ()) -> None:
        """Write the page. origin: name → where things come from."""
        content = {
            "title": self.title,
            "lead": self._lead(),
            "figures": self._figures(),
            "notes": list(notes),
            "noun": self.ways[0].noun,
            "wholes": [name for _, name in self.ways[0].measures[:WHOLES]],
            "measures": [name for _, name in self.ways[0].measures],
            "ways": [self._way(way) for way in self.ways],
            "columns": COLUMNS[self.ways[0].noun],
            "classes": self._classes(),
            "means": [cell for way in self.ways for cell in _means(way)],
            "origin": [(name.replace("_", " "), say(value)) for name, value in origin.items()],
        }
        write_page(path, "geoseg.crossvalidation", "folds.html", content)

    def _lead(self) -> str:
        if self.gap:
            return self.gap.words
        way = self.ways[0]
        right = percent(way.scores.overall_accuracy)
        warning = (
            f" {way.noun.capitalize()} near each other are alike: elsewhere expect less."
            " split.by=block shows how much less."
            if way.by == "random"
            else ""
        )
        more = ""
        if way.noun == "pixels":
            more = (
                f", and the mIoU is {score(way.scores.miou)}. Single trainings differ: overall"
                f" accuracy {way.over_folds('overall_accuracy')}, mIoU {way.over_folds('miou')}"
            )
        return (
            f"{right} of the {way.noun} are right when they are held out {way.title}{more}."
            f"{warning}"
        )

    def _figures(self) -> list[dict[str, str]]:
        figures = []
        noun = self.ways[0].noun
        for way in self.ways:
            what, name = way.measures[1]
            right = f"of the {noun} are right, held out {way.title}"
            mean = f"mean of the classes, held out {way.title}"
            figures.append(("Overall accuracy", percent(way.scores.overall_accuracy), right))
            figures.append((name.replace("macro", "Macro"), score(getattr(way.scores, what)), mean))
        if self.gap:
            points = f"{100 * self.gap.overall_accuracy:+.1f}".replace("-", "−")
            figures.append(("Gap", points, "points of accuracy that random folds say more"))
        usual = percent(self.ways[0].majority)
        figures.append(("Majority", usual, "right if the most frequent class were named always"))
        return [dict(zip(("name", "value", "meaning"), f, strict=True)) for f in figures]

    def _way(self, way: Tally) -> dict[str, Any]:
        means = [what for what, _ in way.measures]
        return {
            "title": way.title,
            "units": f"{number(way.units)} {way.unit_noun}",
            "folds": f"{way.folds} × {counted(len(way.seeds), 'seed')}",
            "measures": [
                (
                    score(getattr(way.scores, what)),
                    str(way.over_folds(what)),
                    str(way.over_seeds(what)),
                )
                for what in means[:WHOLES]
            ],
            "kappa": score(way.scores.kappa),
            "nearest": "–" if way.nearest_m is None else distance(way.nearest_m),
            "trainings": [
                (
                    one.seed,
                    one.fold,
                    number(one.samples),
                    [bar(getattr(one.scores, what)) for what in means],
                )
                for one in way.trainings
            ],
            "matrix": matrix_rows(way.confusion, self.legend.classes),
            "totals": [number(int(n)) for n in way.confusion.sum(axis=0)],
            "all": number(int(way.confusion.sum())),
        }

    def _classes(self) -> list[dict[str, Any]]:
        first = self.ways[0]
        by_way = [_columns(way) for way in self.ways]
        return [
            {
                "name": c.name,
                "color": c.color,
                "count": number(first.scores.truth_pixels[i] // len(first.seeds)),
                "scores": [column[i] for columns in by_way for column in columns],
            }
            for i, c in enumerate(self.legend.classes)
        ]


def _columns(way: Tally) -> list[list[dict[str, Any]]]:
    """What COLUMNS names, each a cell per class."""
    s = way.scores
    accuracies = [[bar(v) for v in values] for values in (s.users_accuracy, s.producers_accuracy)]
    f1 = [bar(v) for v in s.f1]
    if way.noun == "samples":
        return [*accuracies, f1]
    spread = {
        what: [{"text": str(one), "percent": 0} for one in way.class_over_folds(what)]
        for what in ("iou", "f1")
    }
    return [spread["iou"], [bar(v) for v in s.iou], spread["f1"], f1, *accuracies]


def _means(way: Tally) -> list[str]:
    """The means of the classes that COLUMNS names, of pixels; samples have them above."""
    if way.noun == "samples":
        return []
    miou, f1 = str(way.over_folds("miou")), str(way.over_folds("macro_f1"))
    return [miou, score(way.scores.miou), f1, score(way.scores.macro_f1), "", ""]


def bar(value: float) -> dict[str, Any]:
    """A score as text, and as the length of the bar behind it."""
    return {"text": score(value), "percent": round(100 * value) if value == value else 0}


def distance(metres: float) -> str:
    return f"{metres / 1000:.3g} km" if metres >= 1000 else f"{metres:.0f} m"
