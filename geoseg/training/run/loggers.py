"""Send the metrics of a training to loggers."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from geoseg.errors import InputError
from geoseg.outputs.files import read_note, write_json

NOTE = ".loggers.json"
"""In a run folder: by the name of a logger its run, and the last epoch that it was told."""
PAUSE = 600.0
"""Seconds after a fault before the logger is tried again: a server that is away makes wait."""
REMEDIES = {
    "tensorboard": "look at the run folder's disk",
    "mlflow": "look at MLFLOW_TRACKING_URI",
    "wandb": "run `wandb login`, set WANDB_MODE=offline",
}


class Logger(Protocol):
    """One run in one of these programs."""

    id: str
    """Of the run in the program, by which a training that was stopped finds it again."""

    def log(self, numbers: dict[str, float], pictures: dict[str, np.ndarray], step: int) -> None:
        """Take what is new at a step. pictures: (H, W, 3) uint8, by name."""

    def close(self, *, well: bool) -> None:
        """End the run. well: the training is over, and did not fail."""


class LoggerFollower:
    """Tells a logger each epoch once, over stops too; its faults cost no training."""

    def __init__(self, name: str, folder: Path) -> None:
        """name: fit.logger. folder: of the run.

        Raises: InputError if the logger of a training that begins can't be had.
        """
        self._name, self._folder = name, folder
        self._logger: Logger | None = None
        self._told = 0
        self._again = 0.0
        self._warned = False
        if name == "none":
            return
        try:
            self._logger = self._open()
        except Exception as error:
            # A training that goes on may have been started by a queue, with nobody there.
            if not self._noted():
                raise InputError(
                    f"fit.logger={name}: can't begin ({_words(error)}); {REMEDIES[name]}, or take"
                    " fit.logger=none"
                ) from None
            self._fail(error)

    def tell(
        self, rows: list[dict[str, float]], pictures: dict[str, np.ndarray] | None = None
    ) -> None:
        """Tell all epochs that were not told yet.

        rows: of all epochs, as in metrics.csv. pictures: of the last one.
        """
        if self._name != "none" and time.monotonic() >= self._again:
            self._tell(rows, pictures or {})

    def end(self, rows: list[dict[str, float]], *, well: bool) -> None:
        """Tell what is missing, and end. well: the training is over, and did not fail."""
        if self._name == "none":
            return
        if self._told < len(rows):
            self._tell(rows, {})
        if self._logger is not None:
            try:
                self._logger.close(well=well)
            except Exception as error:
                self._fail(error)

    def _tell(self, rows: list[dict[str, float]], pictures: dict[str, np.ndarray]) -> None:
        before = self._told
        try:
            logger = self._logger = self._logger or self._open()
            for row in rows:
                if row["epoch"] <= self._told:
                    continue
                numbers = {k: v for k, v in row.items() if v == v}
                logger.log(numbers, pictures if row is rows[-1] else {}, int(row["step"]))
                self._told = int(row["epoch"])
        except Exception as error:
            self._fail(error)
        if self._told > before and self._logger is not None:
            self._note(self._logger)

    def _open(self) -> Logger:
        """Its run of this training, or a new one, to which the past epochs are told as well."""
        noted = self._noted()
        logger = _open(self._name, self._folder, noted.get("id", ""))
        self._told = noted.get("epoch", 0) if logger.id == noted.get("id") else 0
        self._note(logger)
        return logger

    def _note(self, logger: Logger) -> None:
        noted = {self._name: {"id": logger.id, "epoch": self._told}}
        write_json(self._folder / NOTE, _notes(self._folder) | noted)

    def _noted(self) -> dict[str, Any]:
        found: dict[str, Any] = _notes(self._folder).get(self._name, {})
        return found

    def _fail(self, error: Exception) -> None:
        self._again = time.monotonic() + PAUSE
        if not self._warned:
            print(
                f"geoseg train: WARNING: fit.logger={self._name}: {_words(error)}; the training"
                " goes on, and later tries tell what is missing",
                file=sys.stderr,
            )
        self._warned = True


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings that a run folder was made with, as nested dictionaries."""
    content = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in ("defaults", "hydra")}


def _open(name: str, folder: Path, run: str) -> Logger:
    """run: id of the one to go on with, if it is still there."""
    # Each of these libraries takes seconds to import; only one is needed.
    if name == "mlflow":
        from geoseg.training.run.mlflow import MLflow

        return MLflow(folder, settings_of(folder), run)
    if name == "wandb":
        from geoseg.training.run.wandb import WandB

        return WandB(folder, settings_of(folder), run)
    from geoseg.training.run.tensorboard import TensorBoard

    return TensorBoard(folder)


def _notes(folder: Path) -> dict[str, Any]:
    return read_note(folder / NOTE) or {}


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
