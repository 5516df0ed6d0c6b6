"""Log a training to TensorBoard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

NAME = "tensorboard"


class TensorBoard:
    """Event files in <run>/tensorboard, read by `tensorboard --logdir <run>`."""

    id = NAME

    def __init__(self, folder: Path) -> None:
        self._logger = TensorBoardLogger(folder, name=NAME, version="")

    def log(self, numbers: dict[str, float], pictures: dict[str, np.ndarray], step: int) -> None:
        self._logger.log_metrics(numbers, step)
        for name, picture in pictures.items():
            self._logger.experiment.add_image(name, picture, step, dataformats="HWC")
        # What was told is noted as such, and must outlive a kill.
        self._logger.save()

    def close(self, *, well: bool) -> None:
        self._logger.finalize("success" if well else "failed")
