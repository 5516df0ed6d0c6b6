"""Log a training to Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = "geoseg"
UPLOAD = 120.0
"""Seconds at the end in which what is left is uploaded; `wandb sync` does the rest later."""


class WandB:
    """Settings, numbers by step, and pictures of one W&B run; all WANDB_* variables count."""

    def __init__(self, folder: Path, settings: dict[str, Any], run: str) -> None:
        """run: id of the one to go on with."""
        import wandb

        self._image = wandb.Image
        # What code says beats the environment, so nothing is said that the environment says.
        quiet = wandb.Settings()
        if "WANDB_CONSOLE" not in os.environ:
            quiet.console = "off"  # it would redirect stdout, progress bar and all
        if "WANDB_FINISH_TIMEOUT" not in os.environ:
            quiet.finish_timeout = UPLOAD
        offline = wandb.setup().settings.mode in ("offline", "dryrun", "disabled")
        self._run = wandb.init(
            project=_unless("WANDB_PROJECT", PROJECT),
            name=_unless("WANDB_NAME", folder.absolute().name),
            dir=_unless("WANDB_DIR", str(folder)),
            id=run or None,
            # Offline nobody knows what is there already; `wandb sync` joins the parts by the id.
            resume="allow" if run and not offline else None,
            config=settings,
            allow_val_change=True,
            settings=quiet,
        )
        self.id = str(self._run.id)

    def log(self, numbers: dict[str, float], pictures: dict[str, np.ndarray], step: int) -> None:
        shown = {name: self._image(picture) for name, picture in pictures.items()}
        # Otherwise the row is held back until the next one, and lost if the training is killed.
        self._run.log(numbers | shown, step=step, commit=True)

    def close(self, *, well: bool) -> None:
        self._run.finish(exit_code=0 if well else 1)


def _unless(variable: str, value: str) -> str | None:
    """The value, unless the environment has one."""
    return None if os.environ.get(variable) else value
