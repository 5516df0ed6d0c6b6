"""Books: what a training leaves in its folder and tells people, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from torch import nn

from geoseg.curves import draw_curves
from geoseg.errors import InputError
from geoseg.history import METRICS, History, Validation, write_metrics
from geoseg.loggers import Follower
from geoseg.settings import Fit

Keep = Callable[[nn.Module, dict[str, Any]], None]
"""Saves a network as the best so far, with the details of its validation."""
PICTURES = "pictures"
"""Folder in the run's, of one PNG per epoch that is shown."""


class Pictures(Protocol):
    """Shows what a network makes of some val samples."""

    def __call__(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Pictures (H, W, 3) uint8 by name."""

    def save(self, pictures: dict[str, np.ndarray], path: Path, title: str) -> None:
        """Write them all as one PNG for people."""


class Books:
    """Of the first process: metrics.csv, logger, pictures, best weights, lines on the terminal."""

    def __init__(
        self, folder: Path, fit: Fit, keep: Keep, pictures: Pictures | None, console: Console
    ) -> None:
        self._folder, self._fit, self._console = folder, fit, console
        self._keep, self._pictures = keep, pictures
        self._follower = Follower(fit.logger, folder)
        self._rows: list[dict[str, float]] = []

    def write(
        self, network: nn.Module, history: History, validation: Validation | None, *, better: bool
    ) -> None:
        """Write down an epoch. network: with the averaged weights, which were validated.

        Raises: InputError if the run folder is gone.
        """
        if not self._folder.is_dir():
            raise InputError(
                f"{self._folder}: somebody removed or renamed this run folder while the training"
                " wrote to it; what was learnt is lost: give the command again"
            )
        if better:
            self._keep(network, validation.details if validation else {})
        write_metrics(self._folder / METRICS, history.rows)
        self._rows = history.rows
        self._follower.tell(history.rows, self._show(network, history))
        self._console.print(_line(history, self._fit), highlight=False)

    def close(self, history: History) -> None:
        if history.rows:  # it may be gone, of a training that had long been over
            write_metrics(self._folder / METRICS, history.rows)
        draw_curves(history.rows, self._folder / "curves.png")
        self._follower.end(history.rows, well=True)

    def __enter__(self) -> Books:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None
    ) -> None:
        """Tell the logger of a training that failed or was interrupted."""
        # In a folder that is gone, a logger's own threads would complain at length.
        if kind is not None and self._folder.is_dir():
            self._follower.end(self._rows, well=False)

    def _show(self, network: nn.Module, history: History) -> dict[str, np.ndarray]:
        """Make and save the pictures of this epoch, if it is one that is shown."""
        every, epoch = self._fit.pictures, history.epoch
        if not (self._pictures and every):
            return {}
        if not (epoch % every == 0 or epoch == 1 or history.finished(self._fit)):
            return {}
        pictures, title = self._pictures(network), f"epoch {epoch}"
        if "val_miou" in history.rows[-1]:
            title += f", val mIoU {history.rows[-1]['val_miou']:.3f}"
        self._pictures.save(pictures, self._folder / PICTURES / f"epoch_{epoch:04}.png", title)
        return {f"val/{name}": picture for name, picture in pictures.items()}


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
