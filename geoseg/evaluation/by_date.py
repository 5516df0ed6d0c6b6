"""Score a map of a series as if the season had ended on each day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from geoseg.evaluation.accuracy import Scores
from geoseg.outputs.csv_cells import write_csv
from geoseg.outputs.files import replacing
from geoseg.outputs.summary import table

DAYS = 12
"""Days on which the season is cut."""
YEAR = 2001
"""Not a leap year: for names of days alone."""
TABLE, PICTURE = "by_date.csv", "by_date.png"


@dataclass(frozen=True)
class ByDate:
    """Scores when only the dates up to a day are given."""

    days: tuple[int, ...]
    names: tuple[str, ...]
    """Of the days: month and day."""
    overall_accuracy: tuple[float, ...]
    macro_f1: tuple[float, ...]

    @classmethod
    def measure(
        cls, judge: Callable[[float], Scores], days: tuple[int, int], reference: str
    ) -> ByDate:
        """judge: scores with the dates up to a day. days: the first and the last observed."""
        cuts = sorted({int(day) for day in np.linspace(days[0], days[1], DAYS + 1)[1:]})
        scores = [judge(day) for day in cuts]
        zero = date.fromisoformat(f"{YEAR}-{reference}" if reference != "02-29" else "2001-03-01")
        return cls(
            tuple(cuts),
            tuple(f"{zero + timedelta(days=day):%m-%d}" for day in cuts),
            tuple(score.overall_accuracy for score in scores),
            tuple(score.macro_f1 for score in scores),
        )

    def __str__(self) -> str:
        rows = zip(
            self.names,
            (f"{value:.3f}" for value in self.overall_accuracy),
            (f"{value:.3f}" for value in self.macro_f1),
            strict=True,
        )
        head = ["dates up to", "overall accuracy", "macro F1"]
        return "By date, on val\n" + table(head, [list(row) for row in rows])

    def save(self, folder: Path) -> None:
        """Write by_date.csv and by_date.png."""
        scores = zip(self.overall_accuracy, self.macro_f1, strict=True)
        texts = ((f"{accuracy:.6g}", f"{f1:.6g}") for accuracy, f1 in scores)
        rows = zip(self.days, self.names, texts, strict=True)
        header = ("day", "date", "overall_accuracy", "macro_f1")
        write_csv(folder / TABLE, [header, *((day, n, *said) for day, n, said in rows)], end="\r\n")
        self._draw(folder / PICTURE)

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure  # half as slow as all of geoseg

        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.days, self.overall_accuracy, "o-", label="overall accuracy")
        axes.plot(self.days, self.macro_f1, "s-", label="macro F1")
        axes.set_xticks(self.days, self.names, rotation=45, ha="right")
        axes.set_ylim(0, 1)
        axes.set_xlabel("only dates up to (month-day)")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
