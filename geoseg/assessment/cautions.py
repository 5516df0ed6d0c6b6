"""Say where an interval may be too narrow, and what would help."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.assessment.estimate import Sample
from geoseg.assessment.sampling.plan import FEW
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.outputs.counted import spaced

LARGE = 0.05
"""Share of the area from which omissions in a stratum matter."""
SEEN = 5
"""Observations of a class in such a stratum from which its interval is to be believed: with fewer,
nominal 95 % covered 62 to 93 % in simulations of the population of Olofsson et al. (2014)."""


REMEDY = (
    "more points in these strata help, or strata in which omissions are likelier"
    " (sample.strata=class_confidence, sample.buffer)"
)


def cautions(sample: Sample, file: SampleFile, *, level: float) -> list[str]:
    """What a reader of the figures must know."""
    looked = "blocks" if file.about["design"] == "cluster" else "points"
    said = [
        f"{part.name}: {int(seen)} {looked} were looked at; below"
        f" {FEW} an interval may be too narrow: add points there (sample.minimum)"
        for part, seen in zip(file.parts, sample.seen.tolist(), strict=True)
        if seen < min(FEW, part.units)
    ]
    omitted: list[str] = []
    for index, c in enumerate(file.legend.classes):
        omitted += _omissions(sample, file, index, c.name, c.code, level)
    return [*said, *omitted, REMEDY] if omitted else said


def _omissions(
    sample: Sample, file: SampleFile, index: int, name: str, code: int, level: float
) -> list[str]:
    """Of a class that was hardly ever seen in large strata that are not its own."""
    given = sample.observations
    if not (given.reference == index).any() and not (given.mapped == index).any():
        return []
    weights = sample.strata.weights
    rows = []
    for place, part in enumerate(file.parts):
        if weights[place] <= LARGE or part.code == code:
            continue
        seen = int(((given.stratum == place) & (given.reference == index)).sum())
        if seen < SEEN:
            rows.append((place, part, seen))
    if not rows:
        return []
    found = ", ".join(
        f"{part.name} ({100 * weights[place]:.0f} % of the area: {_times(seen)})"
        for place, part, seen in rows
    )
    unseen = [(place, part) for place, part, seen in rows if not seen]
    text = (
        f"{name}: seen fewer than {SEEN} times in {found}; its area and producer’s accuracy may be"
        " less sure than their intervals say"
    )
    if unseen:
        most = unseen_bound(sample, [place for place, _ in unseen], level) * file.about["hectares"]
        text += f"; where it was never seen there may still be up to {spaced(most, 1)} ha of it"
    return [text]


def unseen_bound(sample: Sample, places: Sequence[int] | None, level: float) -> float:
    """The largest share of a class that was never seen in some strata; None = in all of them.

    The share at which that would happen by chance once in 1 / (1 - level): 3 W_h / n_h at 0.95,
    of the stratum where it is largest (rule of three; Hanley 1983).
    """
    chosen = np.arange(len(sample.seen)) if places is None else np.asarray(places)
    weights, n = sample.strata.weights[chosen], np.maximum(sample.seen[chosen], 1)
    return float((weights * (1 - (1 - level) ** (1 / n))).max())


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
