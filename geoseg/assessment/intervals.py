"""Turn an estimate of a share into an interval that stays between 0 and 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from geoseg.assessment.estimate import Estimate


@dataclass(frozen=True)
class Interval:
    """A share and where it lies, at a level of confidence."""

    value: float
    se: float
    margin: float
    """Half the width of the usual, symmetrical interval: z times the standard error."""
    low: float
    """Ends of the interval that is reported: see `interval`."""
    high: float

    def times(self, factor: float) -> Interval:
        """The same in other units: hectares, when the factor is the whole area."""
        return Interval(*(factor * part for part in vars(self).values()))

    def to_dict(self) -> dict[str, float | None]:
        """JSON-safe: None where undefined."""
        return {k: None if math.isnan(v) else v for k, v in vars(self).items()}


def z_of(level: float) -> float:
    """How many standard errors lie on either side: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def interval(found: Estimate, level: float, *, most_unseen: float | None = None) -> Interval:
    """An interval on the logit scale, which near 0 and 1 is wider on the side that has room.

    Where all that was seen agrees, so that there is no spread to go by, the other end is the share
    at which that would have happened by chance once in 1 / (1 - level): about 3 / n at 0.95 (the
    rule of three). most_unseen: that end for a share of 0, where strata decide it.
    Source: Korn and Graubard 1999, Analysis of Health Surveys, 2.7; Hanley 1983, JAMA 249:1743.
    """
    value, se = found.value, found.se
    if math.isnan(value):
        return Interval(*(math.nan,) * 5)
    margin = z_of(level) * se
    if 0 < value < 1 and se > 0:
        logit = math.log(value / (1 - value))
        reach = margin / (value * (1 - value))
        return Interval(value, se, margin, _share(logit - reach), _share(logit + reach))
    if se > 0:  # a difference estimator may leave 0 to 1
        return Interval(value, se, margin, max(0.0, value - margin), min(1.0, value + margin))
    unseen = 1 - (1 - level) ** (1 / found.n) if found.n >= 1 else 1.0
    if value <= 0:
        high = unseen if most_unseen is None else most_unseen
        return Interval(value, se, margin, 0.0, min(1.0, high))
    if value >= 1:
        return Interval(value, se, margin, 1 - unseen, 1.0)
    return Interval(value, se, margin, value, value)


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
