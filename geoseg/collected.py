"""Collected: samples found, their pixels on disk, before anything is split."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geoseg.bandtags import BandTags
from geoseg.seriesset import Samples
from geoseg.summary import Summary


@dataclass
class Collected:
    """What a way into a series data set leaves: from stacks and parcels, or from a table."""

    samples: Samples
    """Their split is not decided yet: ""."""
    geometries: np.ndarray | None
    """(N,) shapely geometries."""
    crs: str | None
    """Of the geometries, x and y."""
    bands: tuple[str, ...]
    dtype: str
    """Of the pixel arrays."""
    reference: str
    """Month and day that days are counted from."""
    pixel_size_m: float
    tags: tuple[BandTags, ...] = ()
    """What most files said of each band, and what all values were brought to."""
    summary: Summary = field(default_factory=Summary)
    """Tables, notes and warnings of the audit."""
