"""Draw the curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from geoseg.outputs.files import replacing
from geoseg.training.run.history import IOU

BLACK, GREY = "black", "0.55"
LAYOUT: Literal["constrained"] | None = "constrained"
"""How the axes make room for what stands around them."""
DPI = 110


def draw_curves(
    rows: list[dict[str, float]], path: Path, *, colors: Mapping[str, str] | None = None
) -> None:
    """Draw the rows of metrics.csv (one per epoch) as PNG.

    colors: of classes by name; others get matplotlib's.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4), layout=LAYOUT)
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 3, 2))
    known = {name for row in rows for name in row}
    _draw(left, rows, "loss", label="train", color=BLACK)
    if "val_loss" in known:
        # Another scale than train where the loss has more terms: what counts is where it turns.
        _draw(left, rows, "val_loss", label="validation (cross-entropy)", color="tab:red")
        left.legend(fontsize="small")
    left.set_title("loss")
    if "val_miou" in known:
        for column in [name for name in rows[-1] if name.startswith(IOU)]:
            name = column.removeprefix(IOU)
            _draw(middle, rows, column, label=name, color=(colors or {}).get(name), thin=True)
        _draw(middle, rows, "val_miou", label="mean, validation", color=BLACK)
        if "train_miou" in known:
            _draw(middle, rows, "train_miou", label="mean, train", color=BLACK, dashed=True)
        middle.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        middle.set_title("IoU of the validation by class")
        middle.set_ylim(0, 1)
    elif "val_error" in known:
        _draw(middle, rows, "val_error", color=BLACK)
        middle.set_title("validation error")
    elif "val_match" in known:
        _draw(middle, rows, "val_match", label="views matched, validation", color=BLACK)
        _draw(middle, rows, "val_match_by_chance", label="by chance", color=BLACK, dashed=True)
        middle.legend(fontsize="small")
        middle.set_title("validation")
        middle.set_ylim(0, 1)
    _draw(right, rows, "learning_rate", color=BLACK)
    right.set_title("learning rate")
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(rows) == 1:
            axes.set_xticks([rows[0]["epoch"]])
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _draw(
    axes: Any,
    rows: Sequence[Mapping[str, float]],
    column: str,
    *,
    label: str | None = None,
    color: str | None = None,
    **style: bool,
) -> None:
    """Draw a column over the epochs that have it; a single one as a point."""
    from matplotlib.patheffects import Normal, Stroke

    points = [(row["epoch"], row[column]) for row in rows if column in row]
    if not points:
        return
    width = 1.6 if style.get("thin") else 1.8
    # Colours of a legend may be as light as the paper.
    rim = [Stroke(linewidth=width + 1, foreground=GREY), Normal()] if style.get("thin") else []
    axes.plot(
        *zip(*points, strict=True),
        label=label,
        color=color,
        linewidth=width,
        linestyle="--" if style.get("dashed") else "-",
        marker="o" if len(points) == 1 else None,
        markerfacecolor="none" if style.get("dashed") else color,
        path_effects=rim,
    )
