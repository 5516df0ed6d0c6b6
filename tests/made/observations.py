"""Observations for the estimator of accuracy and areas."""

import numpy as np

from geoseg.assessment.estimate import Observations


def of_pixels(stratum, mapped, reference, *, area=None) -> Observations:
    """Observations whose units are single pixels. area: None = all alike."""
    count = len(stratum)
    area = np.ones(count) if area is None else area
    indices = (np.asarray(one, int) for one in (stratum, mapped, reference))
    return Observations(*indices, area, np.arange(count), np.ones(count))
