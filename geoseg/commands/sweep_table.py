"""Tabulate the trainings of a sweep: what differs, and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.outputs import summary
from geoseg.outputs.csv_cells import write_csv

TABLE = "sweep.csv"
SHOWN = 20
"""Rows of the table that are printed; all are in TABLE."""


@dataclass(frozen=True)
class Job:
    """What came out of one training of a sweep."""

    settings: dict[str, str]
    """What differs between the jobs, by key."""
    run: str
    """Its folder."""
    val_miou: float | None = None
    """The best; None without validation, or if there was a fault."""
    loss: float | None = None
    """Of the last epoch, over the train tiles."""
    minutes: float | None = None
    fault: str = ""
    sweep: str = ""
    """Which call of the command it was made or found by."""

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.settings.items()) or "the job"


def write_table(folder: Path, jobs: Sequence[Job]) -> None:
    """One row per job: a column for each setting that is swept, then what came out."""
    keys = _keys(jobs)
    results = ("val_miou", "loss", "minutes", "run", "fault")
    rows = []
    for job in jobs:
        values = [getattr(job, name) for name in results]
        texts = [f"{v:.6g}" if isinstance(v, float) else v for v in values]
        rows.append([*(job.settings.get(key, "") for key in keys), *texts])
    write_csv(folder / TABLE, [[*keys, *results], *rows], end="\r\n")


def report(jobs: Sequence[Job], folder: Path) -> str:
    """The table for people, what is best, and where all of it is."""
    keys, done = _keys(jobs), [job for job in jobs if job.val_miou is not None]
    rows = [
        [
            *(job.settings.get(key, "") for key in keys),
            "fault" if job.fault else _number(job.val_miou, 4),
            _number(job.minutes, 1),
            job.run,
        ]
        for job in jobs[:SHOWN]
    ]
    lines = ["", summary.table([*keys, "val mIoU", "minutes", "run"], rows), ""]
    if len(jobs) > SHOWN:
        lines.append(f"… and {len(jobs) - SHOWN} more")
    if done:
        lines.append(f"best: {done[0]}, val mIoU {done[0].val_miou:.4f}: {done[0].run}")
    return "\n".join([*lines, f"table: {folder / TABLE}"])


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _keys(jobs: Sequence[Job]) -> list[str]:
    return list(dict.fromkeys(key for job in jobs for key in job.settings))
