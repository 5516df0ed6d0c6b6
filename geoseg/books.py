"""Books: what a training leaves in its folder and tells people, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import nn

from geoseg.curves import draw_curves
from geoseg.history import METRICS, History, Validation, write_metrics
from geoseg.loggers import open_logger
from geoseg.settings import Fit

Keep = Callable[[nn.Module, dict[str, Any]], None]
"""Saves a network as the best so far, with the details of its validation."""
Pictures = Callable[[nn.Module], dict[str, np.ndarray]]
"""(network) → pictures (H, W, 3) uint8 of what it makes of some val samples, by name."""


class Books:
    """Of the first process: metrics.csv, loggers, the best weights, lines on the terminal."""

    def __init__(
        self, folder: Path, fit: Fit, keep: Keep, pictures: Pictures | None, console: Console
    ) -> None:
        self._folder, self._fit, self._console = folder, fit, console
        self._keep, self._pictures = keep, pictures
        self._logger = open_logger(fit.logger, folder)

    def write(
        self, network: nn.Module, history: History, validation: Validation | None, *, better: bool
    ) -> None:
        """Write down an epoch. network: with the averaged weights, which were validated."""
        if better:
            self._keep(network, validation.details if validation else {})
        write_metrics(self._folder / METRICS, history.rows)
        numbers = {k: v for k, v in history.rows[-1].items() if v == v}
        self._logger.log(numbers, history.step)
        every = self._fit.pictures
        if self._pictures and every and (history.epoch % every == 0 or history.epoch == 1):
            for name, picture in self._pictures(network).items():
                self._logger.show(name, picture, history.step)
        self._console.print(_line(history, self._fit), highlight=False)

    def close(self, history: History) -> None:
        draw_curves(history.rows, self._folder / "curves.png")
        self._logger.close()


def _line(history: History, fit: Fit) -> str:
    row = history.rows[-1]
    # Where minutes end the training, nobody knows how many epochs there will be.
    of = "" if fit.max_minutes else f"/{fit.epochs}"
    text = f"epoch {history.epoch:>4}{of}  loss {row['loss']:.4f}"
    star = " *" if history.best_epoch == history.epoch else ""
    if "val_miou" in row:
        text += f"  val mIoU {row['val_miou']:.4f} (best {history.best:.4f}){star}"
    elif "val_error" in row:
        text += f"  val error {row['val_error']:.4f} (best {-history.best:.4f}){star}"
    return f"{text}  {history.minutes:.1f} min"
