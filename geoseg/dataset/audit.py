"""Report what a person should know about the samples of a series before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.dataset.samples import Samples
from geoseg.outputs.counted import counted, first
from geoseg.outputs.csv_cells import write_csv
from geoseg.outputs.summary import Summary

AUDIT = "audit.csv"
"""Share of clear observations of every tile and date."""
SHOWN = 5
"""Samples named in a message; dates named per tile: 3."""


@dataclass
class TileAudit:
    """What was found on one tile."""

    name: str
    dates: tuple[date, ...]
    samples: int
    pixels: int
    asked: np.ndarray
    """(T,) pixels that each date counts for."""
    clear: np.ndarray
    """(T,) those among them that were clear."""

    def shares(self) -> np.ndarray:
        """(T,) share of clear observations per date; NaN where a date counts for no pixel."""
        with np.errstate(invalid="ignore"):
            return self.clear / self.asked


@dataclass
class Audit:
    """Gathers what was found; `report` says it."""

    tiles: list[TileAudit] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    """Ids of samples by what is special about them, a key of SAID."""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What is to be said of the values."""

    def add(self, what: str, ids: Sequence[str]) -> None:
        self.names.setdefault(what, []).extend(ids)

    def settle(self, samples: Samples) -> None:
        """Forget what one tile lacks of samples that another shows; say everything once."""
        held = set(samples.id.tolist())
        for what, ids in self.names.items():
            lost = what in LOST
            self.names[what] = [i for i in dict.fromkeys(ids) if not (lost and i in held)]
        for tile in self.tiles:
            tile.samples = int((samples.tile == tile.name).sum())

    def report(self, summary: Summary, samples: int) -> None:
        """Put tables, notes and warnings into the summary."""
        summary.notes(self.notes)
        rows = [_row(tile) for tile in self.tiles]
        header = ["tile", "dates", "first", "last", "samples", "pixels"]
        summary.table("Series", [*header, "clear, least", "median", "most"], rows)
        for tile in self.tiles:
            summary.notes(_worst(tile))
        for what, (noun, verb, text, warns) in SAID.items():
            if ids := self.names.get(what, []):
                told = f"{counted(len(ids), noun, verb)}{text}: {first(ids, SHOWN)}"
                (summary.warn if warns else summary.note)(told)
        for text in self.warnings:
            summary.warn(text)
        short = len(self.names.get("short", []))
        if short > samples / 2:
            summary.warn(f"most series are short ({short} of {samples}): give more dates")

    def write(self, folder: Path) -> None:
        """Write audit.csv: tile, date, share_clear."""
        rows: list[list[Any]] = [["tile", "date", "share_clear"]]
        for tile in self.tiles:
            for day, share in zip(tile.dates, tile.shares(), strict=True):
                rows.append([tile.name, day, None if np.isnan(share) else f"{share:.4f}"])
        write_csv(folder / AUDIT, rows)


LOST = ("outside", "dropped", "blind", "dateless")
"""Of SAID, what leaves a sample out."""
SAID = {
    "outside": ("sample", "", " outside all tiles: left out", True),
    "dropped": ("parcel", "", " without a pixel's centre: left out (samples.tiny=drop)", False),
    "blind": ("sample", "", " never observed clearly: left out", True),
    "dateless": ("sample", "have", " fewer than two dates in the period: left out", True),
    "touched": ("parcel", "", " without a pixel's centre: given the pixels touched", False),
    "unbuffered": ("parcel", "are", " too thin for samples.buffer_m: the edge is kept", False),
    "small": ("parcel", "are", " smaller than a pixel", False),
    "overlap": (
        "pair",
        "",
        " of parcels with an overlap of more than 5 % of the smaller: they share pixels, and may"
        " be on both sides of a split",
        True,
    ),
    "together": (
        "pair",
        "",
        " of points in one pixel: they have the same series, and may be on both sides of a split",
        True,
    ),
    "short": ("sample", "have", " fewer clear dates than series.min_clear", True),
}
"""What may be special about samples: noun, verb, what is said, and whether it is a warning."""


def _row(tile: TileAudit) -> list[object]:
    shares = tile.shares()
    shares = shares[~np.isnan(shares)]
    spread = np.percentile(shares, (0, 50, 100)) if len(shares) else (np.nan,) * 3
    ends = [tile.dates[0].isoformat(), tile.dates[-1].isoformat()]
    numbers = [f"{share:.0%}" for share in spread]
    return [tile.name, len(tile.dates), *ends, tile.samples, tile.pixels, *numbers]


def _worst(tile: TileAudit) -> list[str]:
    """The three dates of a tile that show least, where they show less than half."""
    shares = tile.shares()
    order = np.argsort(np.nan_to_num(shares, nan=2), kind="stable")[:3]
    worst = [f"{tile.dates[i]} ({shares[i]:.0%})" for i in order if shares[i] < 0.5]
    nothing = int((shares == 0).sum())
    text = f"{tile.name}: least clear: {', '.join(worst)}"
    text += f"; {nothing} of {len(shares)} dates show nothing" if nothing > 1 else ""
    return [text] if worst else []
