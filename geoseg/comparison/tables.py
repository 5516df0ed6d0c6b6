"""Write what became of what as tables: transitions, and zones as a layer for QGIS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.comparison.count import Counts
from geoseg.evaluation.difference import Difference
from geoseg.geo.layer_styles import ranges, write_styled
from geoseg.labels.zones import Zones
from geoseg.outputs.csv_cells import write_csv

TRANSITIONS, FIGURES, ZONES = "transitions.csv", "change.json", "zones.gpkg"
REDS = ("#fff5eb", "#fdd0a2", "#fdae6b", "#e6550d", "#a63603")
"""Of ColorBrewer."""


def write_transitions(path: Path, names: list[str], counts: Counts) -> None:
    """One row for each transition that occurs, classes that stay among them."""
    total, sums = counts.hectares.sum(), counts.hectares.sum(axis=1)
    rows: list[list[Any]] = [
        ["before", "after", "pixels", "hectares", "share_of_compared", "share_of_before"]
    ]
    for i, j in np.argwhere(counts.pixels > 0).tolist():
        area = float(counts.hectares[i, j])
        shares = area / total if total else 0.0, area / sums[i] if sums[i] else 0.0
        numbers = [int(counts.pixels[i, j]), round(area, 6), *(f"{s:.8g}" for s in shares)]
        rows.append([names[i], names[j], *numbers])
    write_csv(path, rows)


def zone_entries(zones: Zones | None, names: list[str], counts: Counts) -> list[dict[str, Any]]:
    """What happened in each zone, and, last, outside all of them (name None) if anything was."""
    if zones is None:
        return []
    order: list[tuple[str | None, int]] = [(name, i) for i, name in enumerate(zones.names, 1)]
    if counts.zone_pixels[0].sum():
        order.append((None, 0))
    entries = []
    for name, number in order:
        matrix = counts.zones[number]
        difference = Difference.of(matrix).to_dict(names)
        entries.append(
            {
                "name": name,
                "compared_ha": float(matrix.sum()),
                "changed_ha": float(matrix.sum() - np.trace(matrix)),
                **{k: v for k, v in difference.items() if k != "classes"},
                "before_ha": dict(zip(names, matrix.sum(axis=1).tolist(), strict=True)),
                "after_ha": dict(zip(names, matrix.sum(axis=0).tolist(), strict=True)),
                "transitions_ha": matrix.tolist(),
            }
        )
    return entries


def write_zones(path: Path, names: list[str], zones: Zones, counts: Counts) -> None:
    """A layer of the zones: hectares and share of each class before and after, and the change."""
    entries = [e for e in zone_entries(zones, names, counts) if e["name"] is not None]
    columns: dict[str, list[Any]] = {"zone": [e["name"] for e in entries]}
    columns["compared_ha"] = [e["compared_ha"] for e in entries]
    columns["changed_ha"] = [e["changed_ha"] for e in entries]
    for key, source in (
        ("changed_share", "disagreement"),
        *((k, k) for k in ("quantity", "exchange", "shift")),
    ):
        columns[key] = [np.nan if e[source] is None else e[source] for e in entries]
    for name, column in zip(names, column_names(names), strict=True):
        for when in ("before", "after"):
            areas = [e[f"{when}_ha"][name] for e in entries]
            columns[f"{column}_{when}_ha"] = areas
            columns[f"{column}_{when}_share"] = [
                area / e["compared_ha"] if e["compared_ha"] else np.nan
                for area, e in zip(areas, entries, strict=True)
            ]
        columns[f"{column}_change_ha"] = [
            e["after_ha"][name] - e["before_ha"][name] for e in entries
        ]
    shares = np.array(columns["changed_share"], float)
    write_styled(
        path,
        columns,
        geometries=zones.geometries,
        crs=zones.crs,
        style=ranges("changed_share", classes_of(shares)),
    )


def column_names(names: list[str]) -> list[str]:
    """Names of classes as databases and GIS take them for columns, each different."""
    made: list[str] = []
    for number, name in enumerate(names, 1):
        plain = re.sub(r"\W+", "_", name.lower()).strip("_") or "class"
        made.append(plain if plain not in made else f"{plain}_{number}")
    return made


def classes_of(shares: np.ndarray) -> list[tuple[float, float, str, str]]:
    """Five equal classes of shares (N,) for a style, from 0 to the largest."""
    known = shares[np.isfinite(shares)]
    top = float(known.max()) if known.size and known.max() > 0 else 1.0
    cuts = np.linspace(0, top, len(REDS) + 1).tolist()
    return [
        (low, high, f"{100 * low:.3g} – {100 * high:.3g} %", color)
        for low, high, color in zip(cuts[:-1], cuts[1:], REDS, strict=True)
    ]
