"""Hold what a comparison of two maps found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.comparison.count import REASONS, Counts
from geoseg.comparison.pair import MapPair
from geoseg.comparison.places import Place
from geoseg.comparison.strips import UNDECIDED
from geoseg.errors import Faults
from geoseg.evaluation.difference import Difference
from geoseg.evaluation.pairs import PairCodes
from geoseg.labels.zones import Zones
from geoseg.maps.landcover import IN_DOUBT
from geoseg.outputs.summary import Summary

MOST = 20
"""Kinds of change that are listed on a terminal."""


@dataclass(frozen=True)
class Asked:
    """What counts as change, and what the page shows."""

    minimum_m2: float = 0.0
    """Patches of change below this count as unchanged."""
    confidence: float | None = None
    """Percent that both maps must have for a pixel to count."""
    pictures: int = 6
    """Places shown."""

    def __post_init__(self) -> None:
        faults = Faults()
        if not 0 <= self.minimum_m2 < np.inf:
            faults.add(f"minimum_m2={self.minimum_m2}: must be 0 or more square metres")
        if self.confidence is not None and not 0 < self.confidence <= 100:
            faults.add(f"confidence={self.confidence}: must be above 0 and at most 100 percent")
        faults.at_least(self, "", pictures=0)
        faults.raise_if_any()


@dataclass(frozen=True)
class Comparison:
    """What became of what between two maps."""

    pair: MapPair
    asked: Asked
    counts: Counts
    codes: PairCodes
    """Codes of the map of changes."""
    places: list[Place]
    zones: Zones | None = None
    dropped: np.ndarray | None = None
    """(K, K) hectares of change below the minimum; counted as unchanged in `counts`."""
    dropped_patches: int = 0

    @property
    def difference(self) -> Difference:
        """Of the areas on the ground."""
        return Difference.of(self.counts.hectares)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        said = list(self.pair.notes)
        if REASONS[UNDECIDED] in self.counts.left_out:
            both = self.pair.before, self.pair.after
            if not any(found.leaves_open for found in both):
                said.append(f"neither map says what its code 255 means; {IN_DOUBT}")
        if self.zones is not None:
            said += self.zones.notes
            if self.counts.overlap:
                said.append(
                    f"zones overlap: {self.counts.overlap:.4g} ha lie in several of"
                    f" {self.zones.path}; each pixel counts once, for the zone that comes first"
                )
        if self.codes.other is not None:
            said.append(
                f"change.tif: more kinds of change than codes; the smallest are there as"
                f" “other”, code {self.codes.other}; transitions.csv has all of them"
            )
        return tuple(said)

    def text(self, out: str | Path) -> str:
        """What a person reads at the end; out: the folder that was written."""
        counts, names = self.counts, self.pair.names
        changes = sorted(
            (-float(counts.hectares[i, j]), i, j)
            for i, j in np.argwhere(counts.pixels > 0).tolist()
            if i != j
        )
        rows = [[names[i], names[j], f"{-area:.2f}"] for area, i, j in changes[:MOST]]
        summary = Summary()
        if rows:
            more = f", the {MOST} largest of {len(changes)}" if len(changes) > MOST else ""
            summary.table(f"What changed{more}", ["before", "after", "ha"], rows)
        compared = float(counts.hectares.sum())
        summary.note(f"changed: {counts.changed[1]:.2f} of {compared:.2f} ha; {self.difference}")
        if counts.changed[0]:
            summary.note(
                f"one pixel wide, as misregistration makes it: {counts.thin[1]:.2f} ha,"
                f" {100 * counts.thin_share:.1f} % of the change"
            )
        if self.dropped is not None:
            summary.note(
                f"below minimum_m2={self.asked.minimum_m2:g}, counted as unchanged:"
                f" {self.dropped_patches} patches, {float(self.dropped.sum()):.2f} ha"
            )
        summary.notes(
            f"not compared: {area:.2f} ha, {why}" for why, (_, area) in counts.left_out.items()
        )
        summary.note(f"page: {Path(out) / 'change.html'} (open it in a browser)")
        summary.note(f"map of changes: {Path(out) / 'change.tif'} (open it in QGIS)")
        for note in self.notes:
            summary.warn(note)
        return str(summary)
