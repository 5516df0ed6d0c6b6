"""Loggers: programs that follow a training from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from lightning.fabric.loggers.tensorboard import TensorBoardLogger


class Logger(Protocol):
    """Takes the numbers and pictures of a training."""

    def log(self, numbers: dict[str, float], step: int) -> None: ...

    def show(self, name: str, picture: np.ndarray, step: int) -> None:
        """picture: (H, W, 3) uint8."""

    def close(self) -> None: ...


def open_logger(name: str, folder: Path) -> Logger:
    """The logger of that name (fit.logger) for a run folder."""
    return TensorBoard(folder) if name == "tensorboard" else Silent()


class Silent:
    """Takes nothing."""

    def log(self, numbers: dict[str, float], step: int) -> None: ...

    def show(self, name: str, picture: np.ndarray, step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in <run>/tensorboard, read by `tensorboard --logdir <run>`."""

    def __init__(self, folder: Path) -> None:
        self._logger = TensorBoardLogger(folder, name="tensorboard", version="")

    def log(self, numbers: dict[str, float], step: int) -> None:
        self._logger.log_metrics(numbers, step)

    def show(self, name: str, picture: np.ndarray, step: int) -> None:
        self._logger.experiment.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        self._logger.finalize("success")
