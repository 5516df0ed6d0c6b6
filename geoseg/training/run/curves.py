"""Draw the curves of a training."""

from __future__ import annotations

from pathlib import Path

from geoseg.outputs.files import replacing
from geoseg.training.run.history import IOU


def draw_curves(rows: list[dict[str, float]], path: Path) -> None:
    """Draw the rows of metrics.csv (one per epoch) as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: no global state, no display
    left, middle, right = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row["loss"] for row in rows], color="black")
    left.set_title("train loss")
    if rows and "val_miou" in rows[0]:
        for column in [name for name in rows[0] if name.startswith(IOU)]:
            values = [row[column] for row in rows]
            middle.plot(epochs, values, linewidth=1, label=column.removeprefix(IOU))
        middle.plot(epochs, [row["val_miou"] for row in rows], color="black", label="mean")
        middle.legend(fontsize="small")
        middle.set_title("validation IoU")
        middle.set_ylim(0, 1)
    elif rows and "val_error" in rows[0]:
        middle.plot(epochs, [row["val_error"] for row in rows], color="black")
        middle.set_title("validation error")
    right.plot(epochs, [row["learning_rate"] for row in rows], color="black")
    right.set_title("learning rate")
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
