"""Score a map by zones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geoseg.evaluation.accuracy import Scores
from geoseg.evaluation.difference import Difference
from geoseg.evaluation.pairs import PairNumbers
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import HECTARE
from geoseg.geo.layer_styles import ranges, write_styled
from geoseg.labels.zones import Zones

REDS = ("#1a9850", "#a6d96a", "#fee08b", "#fdae61", "#d73027")
"""From little to much disagreement (ColorBrewer)."""


class ZoneScores:
    """Counts pairs of label and mapped class by zone, window by window."""

    def __init__(self, zones: Zones, grid: Grid, pairs: PairNumbers, names: list[str]) -> None:
        self.zones, self.names = zones, names
        self._grid, self._pairs = grid, pairs
        rows = len(zones) + 1
        self._pixels = np.zeros((rows, pairs.count), np.int64)
        self._hectares = np.zeros(rows)
        self.overlap = 0.0
        """Hectares that were compared and lie in several zones; each counts once."""

    def add(self, numbers: np.ndarray, window: Window) -> None:
        """Take the numbers of a window."""
        zoned = self.zones.burn(window)
        again = self.zones.overlap(window, zoned) & (numbers > 0)
        for part, m2 in self._grid.alike(window):
            inside = part.within(window)
            counts = self._pairs.counts_by(numbers[inside], zoned[inside], len(self.zones) + 1)
            for row, count in counts.items():
                self._pixels[row] += count
                self._hectares[row] += self._pairs.split(count).sum() * m2 / HECTARE
            self.overlap += int(np.count_nonzero(again[inside])) * m2 / HECTARE

    @property
    def confusions(self) -> np.ndarray:
        """(Z + 1, K, K) pixels, rows labels, columns map; the first is what lies in no zone."""
        return self._pairs.split(self._pixels)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must say."""
        if not self.overlap:
            return self.zones.notes
        return (
            *self.zones.notes,
            f"zones overlap: {self.overlap:.4g} compared ha lie in several of {self.zones.path};"
            " each pixel counts once, for the zone that comes first",
        )

    def to_list(self) -> list[dict[str, Any]]:
        """Scores of each zone, and, last, of what lies in none (name None), for JSON."""
        confusions = self.confusions
        order: list[tuple[str | None, int]] = [(n, i) for i, n in enumerate(self.zones.names, 1)]
        if confusions[0].any():
            order.append((None, 0))
        return [
            {
                "name": name,
                "pixels": int(confusions[row].sum()),
                "hectares": float(self._hectares[row]),
                **Scores.of(confusions[row], self.names).to_dict(),
                "difference": Difference.of(confusions[row]).to_dict(self.names),
            }
            for name, row in order
        ]

    def write(self, path: Path) -> None:
        """Write the zones with their scores as a GeoPackage, styled by disagreement."""
        entries = [e for e in self.to_list() if e["name"] is not None]
        columns: dict[str, list[Any]] = {
            "zone": [e["name"] for e in entries],
            "pixels": [e["pixels"] for e in entries],
            "hectares": [e["hectares"] for e in entries],
        }
        for key in ("overall_accuracy", "miou", "macro_f1"):
            columns[key] = [_number(e[key]) for e in entries]
        for key in ("disagreement", "quantity", "exchange", "shift"):
            columns[key] = [_number(e["difference"][key]) for e in entries]
        shares = np.array(columns["disagreement"])
        top = float(np.nanmax(shares)) if np.isfinite(shares).any() else 0.0
        cuts = np.linspace(0, top or 1.0, len(REDS) + 1).tolist()
        bounds = [
            (low, high, f"{100 * low:.3g} – {100 * high:.3g} % disagree", color)
            for low, high, color in zip(cuts[:-1], cuts[1:], REDS, strict=True)
        ]
        write_styled(
            path,
            columns,
            geometries=self.zones.geometries,
            crs=self.zones.crs,
            style=ranges("disagreement", bounds),
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
