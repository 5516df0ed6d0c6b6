"""Hold what an explanation found, and write its tables, rasters and charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.evaluation.accuracy import Scores
from geoseg.explanation.importance import Importance
from geoseg.explanation.settings import GRADCAM
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.maps.layers import qml_of_ramp
from geoseg.outputs.csv_cells import write_csv
from geoseg.outputs.files import replacing

AGAINST_AND_FOR = ("#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b")
"""Colours from −100, what speaks against a class, to 100, what speaks for it."""
NOWHERE_AND_HERE = ("#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#67001f")
"""Colours from 0 to 100 of what has no sign."""
NODATA = -32768


@dataclass(frozen=True)
class Heat:
    """What speaks for a class at a place, pixel by pixel."""

    kind: str
    class_name: str
    code: int
    percent: np.ndarray
    """(h, w) int16: percent of the largest value, negative: it speaks against the class."""
    largest: float
    """In the unit of the kind: probability of occlusion, logit of the others."""

    @classmethod
    def of(cls, kind: str, name: str, code: int, values: np.ndarray, valid: np.ndarray) -> Heat:
        """values, valid: (h, w)."""
        seen = np.abs(values[valid])
        largest = float(seen.max()) if seen.size else 0.0
        # Single pixels must not take all the colour.
        scale = float(np.percentile(seen, 99.5)) if largest else 0.0
        if kind != "gradients":
            scale = largest
        made = np.clip(values / (scale or 1.0), -1, 1) * 100
        percent = np.where(valid, np.rint(made), NODATA).astype(np.int16)
        return cls(kind, name, code, percent, largest)

    @property
    def ramp(self) -> tuple[str, ...]:
        return NOWHERE_AND_HERE if self.kind == GRADCAM else AGAINST_AND_FOR

    @property
    def low(self) -> int:
        return 0 if self.kind == GRADCAM else -100

    def write(self, path: Path, grid: Grid) -> None:
        """A GeoTIFF and its style beside it. Raises: InputError."""
        meaning = f"{self.kind}: {self.class_name}, percent of the largest ({self.largest:.4g})"
        with raster.create(path, grid, dtype="int16", nodata=NODATA, names=(meaning,)) as file:
            file.write(self.percent[None], grid.window)
        with replacing(path.with_suffix(".qml")) as temporary:
            temporary.write_text(qml_of_ramp(self.ramp, low=self.low), encoding="utf-8")

    def picture(self, image: np.ndarray) -> np.ndarray:
        """The heat over a grey image (h, w) 0..1: (3, h, w) uint8."""
        known = self.percent != NODATA
        share = np.clip((self.percent - self.low) / (100 - self.low), 0, 1) * (len(self.ramp) - 1)
        colors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.ramp])
        below = np.minimum(share.astype(int), len(self.ramp) - 2)
        rest = (share - below)[..., None]
        heat = colors[below] * (1 - rest) + colors[below + 1] * rest
        grey = 255 * np.clip(image, 0, 1)[..., None]
        made = np.where(known[..., None], 0.7 * heat + 0.3 * grey, 238)
        return np.moveaxis(made.astype(np.uint8), 2, 0)


@dataclass(frozen=True)
class Explained:
    """A place and what speaks for its classes."""

    title: str
    stem: str
    """Of the names of its rasters."""
    grid: Grid
    picture: np.ndarray
    """(3, h, w) uint8."""
    mapped: np.ndarray
    """(3, h, w) uint8."""
    heats: tuple[Heat, ...]
    bands: dict[str, dict[str, float]] = field(default_factory=dict)
    """Share of the integrated gradients by class and band."""
    gap: float = 0.0
    """Largest share by which these miss what they explain."""

    @property
    def classes(self) -> list[str]:
        return list(dict.fromkeys(heat.class_name for heat in self.heats))

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(heat.kind for heat in self.heats))


@dataclass
class Explanation:
    """All that was found."""

    names: list[str]
    clean: Scores | None = None
    bands: list[Importance] = field(default_factory=list)
    dates: list[Importance] = field(default_factory=list)
    attention: np.ndarray | None = None
    """(periods, K) shares by class of the label."""
    places: list[Explained] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def attended(self) -> list[float]:
        """Share of the attention by period, the mean over the classes that occur."""
        if self.attention is None:
            return []
        means: list[float] = np.nanmean(self.attention, axis=1).tolist()
        return means

    def date_rows(self) -> list[dict[str, Any]]:
        rows = [one.to_dict(self.names) for one in self.dates]
        if self.attention is not None:
            for row, mean, by_class in zip(rows, self.attended, self.attention, strict=True):
                row["attention"] = mean
                for name, share in zip(self.names, by_class.tolist(), strict=True):
                    row[f"attention:{name}"] = None if share != share else share
        return rows

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "scores": None if self.clean is None else self.clean.to_dict(),
            "bands": [one.to_dict(self.names) for one in self.bands],
            "dates": self.date_rows(),
            "places": [
                {
                    "title": place.title,
                    "rasters": [
                        {
                            "file": f"{heat.kind}/{place.stem}_class{heat.code}.tif",
                            "class": heat.class_name,
                            "largest": heat.largest,
                        }
                        for heat in place.heats
                    ],
                    "gradients_by_band": place.bands,
                    "gap_of_gradients": place.gap,
                }
                for place in self.places
            ],
            "notes": self.notes,
        }


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a table; None is left empty. Raises: InputError."""
    write_csv(path, [rows[0], *(row.values() for row in rows)])


BARS: dict[str, Any] = {"color": "#14606b", "ecolor": "0.4", "capsize": 3}


def draw_bands(found: Sequence[Importance], path: Path) -> None:
    """Draw the fall of the mean IoU by band, the largest on top."""
    figure, axes = _figure(7, 0.8 + 0.36 * len(found))
    places = range(len(found))
    axes.barh(places, [one.miou for one in found], xerr=[one.spread for one in found], **BARS)
    axes.set_yticks(places, [one.name for one in found])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("fall of mIoU when exchanged between tiles or samples")
    axes.grid(alpha=0.3, axis="x")
    _save(figure, path)


def draw_dates(found: Sequence[Importance], attended: Sequence[float], path: Path) -> None:
    """Draw the fall of the mean IoU by period, and the attention as a line where there is one."""
    figure, axes = _figure(10, 3.6)
    places = range(len(found))
    axes.bar(places, [one.miou for one in found], yerr=[one.spread for one in found], **BARS)
    axes.set_xticks(places, [one.name for one in found])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("fall of mIoU", color="#14606b")
    axes.set_xlabel("period that begins on (month-day)")
    if len(attended):
        beside = axes.twinx()
        beside.plot(places, attended, color="#b3402c", marker="o", linewidth=2)
        beside.set_ylabel("share of the attention", color="#b3402c")
        beside.set_ylim(bottom=0)
    _save(figure, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
