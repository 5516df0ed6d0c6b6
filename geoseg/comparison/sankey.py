"""Draw which classes change into which as a Sankey diagram in SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from geoseg.geo.legend import LegendClass
from geoseg.outputs.numbers import hectares

WIDTH, BAR, GAP, MARGIN = 1000, 16, 14, 230
"""Of the drawing, of a class's bar, between bars, and for the names beside them, in units."""
HEIGHT = 420
"""Of all bars of a side together."""
LEAST = 13
"""Height that a bar's name needs."""
HAIR = 0.002
"""Share of the changed area below which a flow is not drawn."""


@dataclass
class _Bar:
    """A class on one side."""

    place: int
    top: float
    height: float
    used: float = 0.0

    def take(self, height: float) -> tuple[float, float]:
        """Top and bottom of the next flow at this bar."""
        top = self.top + self.used
        self.used += height
        return top, top + height


def sankey(classes: Sequence[LegendClass], areas: np.ndarray) -> str:
    """The drawing, or nothing if nothing changed.

    areas: (K, K) hectares, rows before, columns after; what keeps its class is not drawn.
    """
    flows = areas.astype(float).copy()
    np.fill_diagonal(flows, 0)
    total = flows.sum()
    if not total > 0:
        return ""
    scale = HEIGHT / total
    left, right = _bars(flows.sum(axis=1) * scale), _bars(flows.sum(axis=0) * scale)
    height = max(bar.top + max(bar.height, LEAST) for bar in (*left.values(), *right.values())) + 4
    # From the top of the left side to its bottom, so that flows of a bar do not cross there.
    order = [(i, j) for i, j in np.argwhere(flows > 0).tolist()]
    parts = [_flow(classes, flows, place, (left, right), scale) for place in order]
    ends = (flows.sum(axis=1), flows.sum(axis=0))
    for bars, sums, is_left in ((left, ends[0], True), (right, ends[1], False)):
        parts += [_name(classes[b.place], b, float(sums[b.place]), is_left) for b in bars.values()]
    return (
        f'<svg class="sankey" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
        ' aria-label="What changed into what">' + "".join(parts) + "</svg>"
    )


def _bars(heights: np.ndarray) -> dict[int, _Bar]:
    bars, top = {}, 2.0
    for place in np.flatnonzero(heights > 0).tolist():
        bars[place] = _Bar(place, top, float(heights[place]))
        top += max(float(heights[place]), LEAST) + GAP
    return bars


def _flow(
    classes: Sequence[LegendClass],
    flows: np.ndarray,
    place: tuple[int, int],
    sides: tuple[dict[int, _Bar], dict[int, _Bar]],
    scale: float,
) -> str:
    i, j = place
    area = float(flows[place])
    a0, a1 = sides[0][i].take(area * scale)
    b0, b1 = sides[1][j].take(area * scale)
    if area < HAIR * flows.sum():
        return ""
    x0, x1 = MARGIN + BAR, WIDTH - MARGIN - BAR
    middle = (x0 + x1) / 2
    title = f"{classes[i].name} to {classes[j].name}: {hectares(area)} ha"
    return (
        f'<path d="M{x0} {a0:.2f}C{middle} {a0:.2f} {middle} {b0:.2f} {x1} {b0:.2f}'
        f'L{x1} {b1:.2f}C{middle} {b1:.2f} {middle} {a1:.2f} {x0} {a1:.2f}Z"'
        f' fill="{classes[j].color}" fill-opacity=".55" stroke="#fff" stroke-width=".5">'
        f"<title>{escape(title)}</title></path>"
    )


def _name(one: LegendClass, bar: _Bar, area: float, is_left: bool) -> str:
    x = MARGIN if is_left else WIDTH - MARGIN - BAR
    text_x, anchor = (MARGIN - 8, "end") if is_left else (WIDTH - MARGIN + 8, "start")
    name = one.name if len(one.name) <= 24 else f"{one.name[:23]}…"
    height = max(bar.height, 1.0)
    middle = bar.top + height / 2 + 4.5
    return (
        f'<rect x="{x}" y="{bar.top:.2f}" width="{BAR}" height="{height:.2f}" fill="{one.color}"'
        ' stroke="#0004" stroke-width=".6"/>'
        f'<text x="{text_x}" y="{max(middle, bar.top + 10):.2f}" text-anchor="{anchor}">'
        f"{escape(name)} <tspan>{hectares(area)} ha</tspan></text>"
    )
