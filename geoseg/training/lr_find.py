"""Find a learning rate by a range test."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from geoseg.errors import InputError
from geoseg.models.device import enough_memory
from geoseg.outputs.csv_cells import write_csv
from geoseg.outputs.files import replacing
from geoseg.training.loop import Task, Training, read_well, seed_epoch
from geoseg.training.optimizer import set_frozen, set_rate
from geoseg.training.processes.ranks import Ranks
from geoseg.training.settings import Fit

TABLE, PICTURE = "lr_find.csv", "lr_find.png"
LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 120
"""Batches, between which the rate rises by the same factor."""
SMOOTH = 0.9
"""Share of the mean loss that a step keeps."""
BROKEN = 3.0
"""Times the lowest mean loss from which on a training has come apart."""
MARGIN = 10.0
"""Factor below the rate of the lowest loss: there the loss still falls, and little can go wrong."""


def find_rate(task: Task, fit: Fit, *, fabric: Fabric, seed: int) -> str:
    """Try rising learning rates on the train samples (Smith 2017), from fresh weights.

    Writes a table and a picture into the task's folder; nothing else of a run is touched.
    Returns: what came out, as a text for people.
    Raises: InputError if the loss is no number from the start.
    """
    with enough_memory("fit.batch_size", fit.batch_size), read_well():
        rates, losses = _tried(task, fit, fabric=fabric, seed=seed)
    ranks = Ranks.of(fabric)
    ranks.leave()
    if not rates:
        raise InputError("the loss is no number at any learning rate; look at the train samples")
    best = rates[losses.index(min(losses))] / MARGIN
    if not ranks.first:
        return ""
    _write(task.folder, rates, losses, best)
    return (
        f"fit.learning_rate={best:.1g} (a tenth of where the loss was lowest, among {len(rates)}"
        f" rates from {rates[0]:.0e} to {rates[-1]:.0e})\npicture: {task.folder / PICTURE}"
    )


def _tried(task: Task, fit: Fit, *, fabric: Fabric, seed: int) -> tuple[list[float], list[float]]:
    """Rising rates, and the moving mean of the loss at each, until it comes apart."""
    ranks = Ranks.of(fabric)
    training = Training(task, fit, fabric)
    set_frozen(task.network, frozen=fit.frozen > 0)
    rates: list[float] = []
    losses: list[float] = []
    sampler: Any = task.train.sampler
    mean, lowest, epoch = 0.0, math.inf, 0
    while len(rates) < STEPS:
        seed_epoch(seed, epoch, ranks)
        sampler.epoch = epoch
        for batch in islice(training.batches, STEPS - len(rates)):
            rate = LOWEST * (HIGHEST / LOWEST) ** (len(rates) / (STEPS - 1))
            set_rate(training.state["optimizer"], rate)
            mean = SMOOTH * mean + (1 - SMOOTH) * float(training.step(batch, 0.0))
            # Without this the first means, begun at 0, would be too low.
            smooth = mean / (1 - SMOOTH ** (len(rates) + 1))
            if not math.isfinite(smooth) or smooth > BROKEN * lowest:
                break
            rates.append(rate)
            losses.append(smooth)
            lowest = min(lowest, smooth)
        else:
            epoch += 1
            continue
        break
    return rates, losses


def _write(folder: Path, rates: list[float], losses: list[float], best: float) -> None:
    from matplotlib.figure import Figure

    rows = ((f"{a:.4g}", f"{b:.6g}") for a, b in zip(rates, losses, strict=True))
    write_csv(folder / TABLE, [("learning_rate", "loss"), *rows], end="\r\n")
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="black")
    axes.axvline(best, color="tab:red", label=f"fit.learning_rate={best:.1g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (moving mean)")
    axes.legend()
    axes.grid(alpha=0.3)
    with replacing(folder / PICTURE) as path:
        figure.savefig(path, format="png", dpi=110)
