"""Hold what stress did to one or two networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.prediction.network import TrainedNetwork
from geoseg.robustness.settings import StressSettings
from geoseg.robustness.tally import ATTACK, NATURAL, WORST, Figures, Row

RUN, AGAINST = "run", "against"


@dataclass(frozen=True)
class Stressed:
    """What came out."""

    network: TrainedNetwork
    dataset: str
    split: str
    tiles: int
    settings: StressSettings
    runs: dict[str, Figures]
    """run and, where there is one beside it, against."""
    notes: tuple[str, ...]
    places: tuple[tuple[str, str], ...] = ()
    """Name of a kind and what was done; its picture is places/<kind>.png."""

    @property
    def clean(self) -> Row:
        return self.runs[RUN].clean

    def worst_kinds(self) -> list[tuple[str, Row]]:
        """Kinds of nature at their strongest, the most harmful first."""
        run = self.runs[RUN]
        ends = [(kind, run.curve(kind)[-1]) for kind in run.kinds(NATURAL)]
        return sorted(ends, key=lambda pair: pair[1].scores.miou)

    def pairs(self) -> list[dict[str, Any]]:
        """Overall accuracy before and after, of each run: the table of the two trainings.

        After: the worst attack of each ε, and the mean over nature's kinds at their strongest.
        """
        rows = []
        for name, run in self.runs.items():
            after: dict[str, float] = {}
            for epsilon in self.settings.epsilon:
                found = run.get(ATTACK, WORST, epsilon)
                if found is not None:
                    after[f"worst attack, ε = {epsilon:g}"] = found.scores.overall_accuracy
            ends = [run.curve(kind)[-1].scores.overall_accuracy for kind in run.kinds(NATURAL)]
            if ends:
                after["nature at its strongest (mean)"] = float(np.mean(ends))
            rows.append({"name": name, "before": run.clean.scores.overall_accuracy, "after": after})
        return rows
