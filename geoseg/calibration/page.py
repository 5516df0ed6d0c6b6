"""Write a calibration as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geoseg.calibration.fit import Judged, Pixels, reliability, scores
from geoseg.evaluation.reliability import Reliability, diagram
from geoseg.geo.legend import Legend
from geoseg.models.calibration import VECTOR, Calibration
from geoseg.outputs.page import write_page

BEFORE, AFTER = "#b3402c", "#14606b"
BLOCKS = 60
"""Rows of the table of blocks at most: the worst ones."""


def write(
    path: Path, made: Calibration, pixels: Pixels, judged: Judged, *, legend: Legend, what: str
) -> None:
    """Write the page. what: pixels or samples, that have a class each.

    Raises: InputError if it can't be written.
    """
    content = {
        "what": what,
        "made": made,
        "judged": judged,
        "temperature": "–" if made.method == VECTOR else f"{made.temperature:.3f}",
        "diagram": _diagram(judged, pixels.truth),
        "scores": _scores(made),
        "classes": _classes(judged, pixels.truth, legend),
        "blocks": _blocks(judged, pixels),
        "risk": _risk(made),
        "least": 1 / (made.blocks + 1),
    }
    write_page(path, "geoseg.calibration", "calibration.html", content)


def _diagram(judged: Judged, truth: np.ndarray) -> str:
    curves = {"before": (reliability(judged.before, truth), BEFORE)}
    if judged.kept:
        curves["after"] = (reliability(judged.after, truth), AFTER)
    return diagram(curves, side=420)


def _scores(made: Calibration) -> list[tuple[str, ...]]:
    meanings = {
        "ece": ("ECE", "mean distance of confidence and share of hits, 15 bins"),
        "ece_null": ("ECE of chance alone", "what as many pixels give if confidences are right"),
        "nll": ("NLL", "mean −log of the probability of the true class"),
        "brier": ("Brier score", "mean squared distance of probabilities and truth"),
    }
    return [
        (name, *(f"{made.scores[when][key]:.4f}" for when in ("before", "after")), meaning)
        for key, (name, meaning) in meanings.items()
    ]


def _classes(judged: Judged, truth: np.ndarray, legend: Legend) -> list[dict[str, Any]]:
    """How reliable each class of the map is."""
    rows = []
    mapped = judged.after.argmax(axis=1)
    for index, one in enumerate(legend.classes):
        mine = mapped == index
        found = {
            "before": reliability(judged.before[mine], truth[mine]) if mine.any() else None,
            "after": reliability(judged.after[mine], truth[mine]) if mine.any() else None,
        }
        rows.append(
            {
                "name": one.name,
                "color": one.color,
                "pixels": int(mine.sum()),
                "diagram": _small(found["before"], found["after"], judged.kept),
            }
        )
    return rows


def _small(before: Reliability | None, after: Reliability | None, kept: bool) -> str:
    if before is None or after is None:
        return "–"
    curves = {"before": (before, BEFORE)} | ({"after": (after, AFTER)} if kept else {})
    return diagram(curves, side=230)


def _blocks(judged: Judged, pixels: Pixels) -> list[tuple[str, ...]]:
    rows = []
    for block in np.unique(pixels.block):
        mine = pixels.block == block
        before, after = (scores(p[mine], pixels.truth[mine]) for p in (judged.before, judged.after))
        right = (judged.after[mine].argmax(axis=1) == pixels.truth[mine]).mean()
        texts = (f"{before['ece']:.3f}", f"{after['ece']:.3f}", f"{after['ece_null']:.3f}")
        row = (str(int(block) + 1), f"{int(mine.sum())}", f"{right:.1%}", *texts)
        rows.append((after["ece"], row))
    rows.sort(key=lambda pair: -pair[0])
    return [row for _, row in rows[:BLOCKS]]


def _risk(made: Calibration) -> list[tuple[str, str]]:
    """Share of wrong pixels accepted by threshold."""
    wanted = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
    thresholds = np.array(made.thresholds)
    places = [int(np.abs(thresholds - one).argmin()) for one in wanted]
    return [(f"{thresholds[i]:g}", f"{made.risk[i]:.2%}") for i in places]
