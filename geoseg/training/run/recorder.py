"""Record metrics, pictures and best weights of a training run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from torch import nn

from geoseg.errors import InputError
from geoseg.models.card import BEST, ModelCard, find_card
from geoseg.outputs.progress import Percent
from geoseg.training.run.curves import draw_curves
from geoseg.training.run.history import METRICS, History, Validation, write_metrics
from geoseg.training.run.loggers import LoggerFollower
from geoseg.training.settings import Fit

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


SAVING, SHOWING = 0.02, 0.02
"""Shares of the time that saving and pictures may take."""


class Seldom:
    """Something that is done as often as a share of the time allows."""

    def __init__(self, share: float) -> None:
        self._share, self._wait, self._last = share, 0.0, time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._last >= self._wait

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Context in which it is done."""
        began = time.monotonic()
        yield
        self._last = time.monotonic()
        self._wait = (self._last - began) / self._share


class RunRecorder:
    """Of the first process: metrics.csv, logger, pictures, best weights, lines on the terminal."""

    def __init__(
        self, folder: Path, fit: Fit, keep: Keep, pictures: Pictures | None, console: Console
    ) -> None:
        self._folder, self._fit, self._console = folder, fit, console
        self._keep, self._pictures = keep, pictures
        self._saving, self._showing = Seldom(SAVING), Seldom(SHOWING)
        self._best: tuple[nn.Module, dict[str, Any]] | None = None
        self._follower = LoggerFollower(fit.logger, folder)
        self._rows: list[dict[str, float]] = []
        self._percent = Percent()

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
            self._best = copy.deepcopy(network), validation.details if validation else {}
        write_metrics(self._folder / METRICS, history.rows)
        self._rows = history.rows
        self._follower.tell(history.rows, self._show(network, history))
        self._console.print(_line(history, self._fit), highlight=False)
        left = history.minutes_left(self._fit)
        if left is not None:
            self._percent.tell(history.minutes / max(history.minutes + left, 1e-9))

    def save(self, last: Callable[[], None], history: History) -> None:
        """Save the best weights and `last`, from which a stopped training goes on, if it is time.

        Both at once, since a training that goes on finds the same best weights again. They take
        longer than an epoch of few tiles; the last epoch is always saved.
        """
        if self._saving.due or history.finished(self._fit):
            with self._saving.timed():
                self._save_best()
                last()

    def _save_best(self) -> None:
        if self._best is not None:
            self._keep(*self._best)
            self._best = None

    def close(self, history: History) -> None:
        self._save_best()
        if history.rows:  # it may be gone, of a training that had long been over
            write_metrics(self._folder / METRICS, history.rows)
        draw_curves(history.rows, self._folder / "curves.png", colors=_colors(self._folder))
        self._follower.end(history.rows, well=True)

    def __enter__(self) -> RunRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None
    ) -> None:
        """Save the best weights and tell the logger of a training that failed or was stopped."""
        # In a folder that is gone, a logger's own threads would complain at length.
        if kind is not None and self._folder.is_dir():
            self._save_best()
            self._follower.end(self._rows, well=False)

    def _show(self, network: nn.Module, history: History) -> dict[str, np.ndarray]:
        """Make and save the pictures of this epoch, if it is one that is shown."""
        every, epoch = self._fit.pictures, history.epoch
        if not (self._pictures and every):
            return {}
        ends = epoch == 1 or history.finished(self._fit) is not None
        if not ends and (epoch % every or not self._showing.due):
            return {}
        title = f"epoch {epoch}"
        if "val_miou" in history.rows[-1]:
            title += f", val mIoU {history.rows[-1]['val_miou']:.3f}"
        with self._showing.timed():
            pictures = self._pictures(network)
            self._pictures.save(pictures, self._folder / PICTURES / f"epoch_{epoch:04}.png", title)
        return {f"val/{name}": picture for name, picture in pictures.items()}


def _colors(folder: Path) -> dict[str, str]:
    """Colours of the classes by name, as the card of the best weights has them."""
    path = folder / BEST
    card = find_card(path) if path.is_file() else None
    return {c.name: c.color for c in card.legend.classes} if isinstance(card, ModelCard) else {}


def _line(history: History, fit: Fit) -> str:
    row = history.rows[-1]
    # Where minutes end the training, nobody knows how many epochs there will be.
    of = "" if fit.max_minutes else f"/{fit.most}"
    text = f"epoch {history.epoch:>4}{of}  loss {row['loss']:.4f}"
    star = " *" if history.best_epoch == history.epoch else ""
    if "val_miou" in row:
        text += f"  val mIoU {row['val_miou']:.4f} (best {history.best:.4f}){star}"
    elif "val_error" in row:
        text += f"  val error {row['val_error']:.4f} (best {-history.best:.4f}){star}"
    elif "val_match" in row:
        text += f"  val match {row['val_match']:.4f} (best {history.best:.4f}){star}"
    return f"{text}  {history.minutes:.1f} min{_left(history, fit)}"


def _left(history: History, fit: Fit) -> str:
    """How long the whole training will still take."""
    minutes = history.minutes_left(fit)
    if minutes is None or history.finished(fit) is not None:
        return ""
    if minutes < 1:
        return f", {60 * minutes:.0f} s left"
    return f", {minutes:.0f} min left" if minutes < 100 else f", {minutes / 60:.1f} h left"
