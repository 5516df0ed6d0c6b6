"""Estimate accuracy and areas by zone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.assessment.estimate import Sample
from geoseg.assessment.figures import ZoneClass, ZoneFigures
from geoseg.assessment.intervals import interval
from geoseg.assessment.measure import Measured


def by_zone(
    observed: Sample,
    names: Sequence[str],
    *,
    where: np.ndarray,
    measured: Measured,
    codes: Sequence[int],
    level: float,
) -> list[ZoneFigures]:
    """Figures of each zone that holds a pixel of what was sampled.

    names: of zones 1, 2, …; where: (n,) which of them each observation lies in. codes: of the
    classes.
    """
    made = []
    for number, name in enumerate(names, 1):
        whole = measured.zones.get(number, 0.0)
        if not whole:
            continue
        inside = where == number
        enough = len(np.unique(observed.observations.unit[inside])) >= 2
        mapped = [measured.by_zone.get((number, code), 0.0) for code in codes]
        classes = tuple(
            _of_class(observed, index, inside, whole, mapped[index], level)
            if enough
            else ZoneClass(mapped[index], None, None, None, None)
            for index in range(len(codes))
        )
        overall = interval(observed.overall(inside), level) if enough else None
        made.append(ZoneFigures(name, int(inside.sum()), whole, overall, classes))
    return made


def _of_class(
    observed: Sample, index: int, inside: np.ndarray, whole: float, mapped: float, level: float
) -> ZoneClass:
    """whole: hectares of the zone; mapped: those of the class in the map."""
    return ZoneClass(
        mapped,
        interval(observed.share(index, inside), level).times(whole),
        interval(observed.users(index, inside), level),
        interval(observed.producers(index, inside), level),
        interval(observed.f1(index, inside), level),
    )
