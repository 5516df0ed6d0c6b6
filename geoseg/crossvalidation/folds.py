"""Train one network per fold and collect what each says of its held-out part.

What is done is kept on disk, so that a stopped run goes on.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.crossvalidation.draw import Folding
from geoseg.outputs.files import replacing


@dataclass(frozen=True)
class FoldPlan:
    """How folds are drawn."""

    folds: int
    """0: one per value of a column, or per scene."""
    seeds: tuple[int, ...]
    random: bool
    """Also at random, to show the gap."""
    split: Folding


@dataclass(frozen=True)
class Way:
    """How samples or tiles are held out: the folds, drawn before anything is trained."""

    by: str
    title: str
    units: int
    fold: np.ndarray
    """(S, N), a row per seed: of each sample, or of each unit of tiles."""
    nearest_m: float | None

    @property
    def folds(self) -> int:
        """Trainings per seed."""
        return int(self.fold.max()) + 1


@dataclass(frozen=True)
class FoldJob:
    """One training of a way."""

    seed: int
    fold: int
    """From 1."""
    held: np.ndarray
    """Names what is held out: a result of something else does not count."""
    shape: tuple[int, ...]
    """Of the result."""
    train: Callable[[str], tuple[np.ndarray, str]]
    """Place in words, for faults → result, and what to say of it."""


def train_folds(way: Way, jobs: Iterable[FoldJob], folder: Path, *, kept: str) -> list[np.ndarray]:
    """The results of the jobs of a way, of those done before from their files in `folder`.

    kept: what the results are called in the files. Raises: InputError of a training.
    """
    results = []
    for job in jobs:
        path = folder / f"seed_{job.seed}" / f"fold_{job.fold}.npz"
        found = _load(path, job, kept)
        if found is None:
            place = f"{way.title}, seed {job.seed}, fold {job.fold} of {way.folds}"
            begin = time.monotonic()
            found, said = job.train(place)
            print(f"{place}: {said} ({time.monotonic() - begin:.0f} s)", flush=True)
            _save(path, job.held, found, kept)
        results.append(found)
    return results


def _save(path: Path, held: np.ndarray, result: np.ndarray, kept: str) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{"held": held, kept: result})  # type: ignore[arg-type]


def _load(path: Path, job: FoldJob, kept: str) -> np.ndarray | None:
    """The result of a job that is done, None if it isn't, or its file is damaged."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as whole, np.load(whole) as file:
            same = np.array_equal(file["held"], job.held)
            found: np.ndarray = file[kept]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if same and found.shape == job.shape else None
