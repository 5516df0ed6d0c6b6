"""Name the columns of parcels: label, group, period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoseg.dataset.settings import SampleSettings

if TYPE_CHECKING:
    from geoseg.labels.settings import Labels

PERIODS = (("from", "to"), ("start", "end"), ("start_date", "end_date"))
"""Attributes that hold each sample's period, if nobody says otherwise."""


@dataclass(frozen=True)
class _Roles:
    """Which attribute of a file says what."""

    labels: Labels
    samples: SampleSettings
    column: str | None
    prefix: str = "labels."
    """How the names of the settings begin in messages."""

    def said_of_periods(self, path: str, chosen: dict[str, str]) -> list[str]:
        """What is to be said of attributes that nobody named as each sample's period.

        chosen: what `of` gives. Land registers call so how long a parcel is valid.
        """
        if self.samples.start or self.samples.end or not {"start", "end"} <= set(chosen):
            return []
        return [
            f"{path}: {chosen['start']} and {chosen['end']} taken for each sample's period, outside"
            " which no image counts, and from whose year its days are counted; if they mean"
            " something else, leave these attributes out or rename them"
        ]

    def of(self, names: list[str]) -> dict[str, str]:
        """Role → attribute, for a file with these attributes; named ones may not be there."""
        labels, samples = self.labels, self.samples
        column = None if self.column == "tile" else self.column
        default = "id" if "id" in names else None
        chosen = {
            "value": labels.field,
            "id": samples.id or default,
            "group": samples.group,
            "column": column,
            "start": samples.start,
            "end": samples.end,
        }
        if samples.start is None and samples.end is None:
            for start, end in PERIODS:
                if start in names and end in names:
                    chosen |= {"start": start, "end": end}
                    break
        return {role: name for role, name in chosen.items() if name is not None}
