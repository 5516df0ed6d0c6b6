"""Draw how scores fall with the strength of what images suffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from geoseg.outputs.files import replacing
from geoseg.robustness.tally import ATTACK, NATURAL, Figures, Row

COLUMNS = 5
STYLES = ("-", "--")
"""Of the run and of the one beside it."""


def draw_scores(runs: Mapping[str, Figures], path: Path, *, colors: Mapping[str, str]) -> None:
    """Draw mIoU by strength, a panel per kind; of the first run the classes too.

    runs: by name. colors: of classes by name.
    """
    from matplotlib.patheffects import Normal, Stroke

    rim = [Stroke(linewidth=2.4, foreground="0.55"), Normal()]

    def classes(axes: Any, rows: list[Row]) -> None:
        for place, (name, color) in enumerate(colors.items()):
            values = [row.scores.iou[place] for row in rows]
            steps = range(len(rows))
            axes.plot(steps, values, color=color, linewidth=1.2, path_effects=rim, label=name)

    _draw(runs, path, lambda row: row.scores.miou, "mIoU", classes)


def draw_calibration(runs: Mapping[str, Figures], path: Path) -> None:
    """Draw the calibration error by strength, a panel per kind."""
    _draw(runs, path, lambda row: row.ece, "ECE", None)


def _draw(
    runs: Mapping[str, Figures],
    path: Path,
    value: Callable[[Row], float],
    label: str,
    beside: Callable[[Any, list[Row]], None] | None,
) -> None:
    from matplotlib.figure import Figure

    first = next(iter(runs.values()))
    kinds = [*first.kinds(NATURAL), *first.kinds(ATTACK)]
    lines = max(1, -(-len(kinds) // COLUMNS))
    figure = Figure(figsize=(3.1 * COLUMNS, 2.5 * lines), layout="constrained")
    grid = figure.subplots(lines, COLUMNS, squeeze=False, sharey=True).ravel()
    for axes, kind in zip(grid, kinds, strict=False):
        if beside is not None:
            beside(axes, first.curve(kind))
        for style, (name, figures) in zip(STYLES, runs.items(), strict=False):
            rows = figures.curve(kind)
            axes.plot(
                range(len(rows)), [value(row) for row in rows], style, color="black",
                linewidth=2, marker="o", markersize=3, label=f"{label}, {name}",
            )  # fmt: skip
        rows = first.curve(kind)
        axes.set_xticks(range(len(rows)), [f"{row.case.strength:g}" for row in rows])
        axes.set_title(kind, fontsize=11)
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    for axes in grid[len(kinds) :]:
        axes.axis("off")
    if kinds:
        figure.legend(
            *grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=6,
            fontsize="small",
        )  # fmt: skip
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
