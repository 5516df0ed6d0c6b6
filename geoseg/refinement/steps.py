"""Keep the steps of a refinement on disk, each with its corrections, so that any can be undone."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.geo.vector import Table, write_layers
from geoseg.labels.corrections import Corrections
from geoseg.outputs.files import read_json, replacing, write_json

NAME = "refine.json"
FOLDER = "steps"
SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Step:
    """One call with other corrections than the one before."""

    number: int
    corrections: str
    """Copy of the file, relative to the output."""
    count: int
    """Corrections in it."""
    scenes: dict[str, str]
    """Scene → file with what changes in its map as predicted, relative to the output."""
    drawn: list[str] = field(default_factory=list)
    """What tells each correction from others."""
    settings: dict[str, Any] = field(default_factory=dict)
    """How the network learnt."""
    stamps: dict[str, str] = field(default_factory=dict)
    """Scene → what its map was made of."""


@dataclass
class Journal:
    """All steps of an output."""

    out: Path
    steps: list[Step] = field(default_factory=list)
    at: int = 0
    """Step that the maps show; 0 = as predicted."""

    @classmethod
    def read(cls, out: Path) -> Journal:
        """Raises: InputError if it is damaged."""
        path = out / NAME
        if not path.exists():
            return cls(out)
        values = read_json(path)
        try:
            steps = [Step(**step) for step in values["steps"]]
            return cls(out, steps, int(values["at"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not as geoseg.refine writes it ({error}); refine into another out=…"
            ) from None

    @property
    def step(self) -> Step | None:
        """The one that the maps show."""
        return next((step for step in self.steps if step.number == self.at), None)

    @property
    def next(self) -> int:
        return 1 + max((step.number for step in self.steps), default=0)

    def folder_of(self, number: int) -> Path:
        return self.out / FOLDER / f"{number:04d}"

    def patch_of(self, scene: str) -> Path | None:
        """File with what changes in the map of a scene; None = nothing."""
        step = self.step
        if step is None or scene not in step.scenes:
            return None
        return self.out / step.scenes[scene]

    def add(self, step: Step, told: dict[str, Any]) -> None:
        """Note a step whose files are all there: from now on it counts."""
        self.steps.append(step)
        self.at = step.number
        self.save(told)

    def go_to(self, number: int, told: dict[str, Any]) -> None:
        """Have the maps show another step. Raises: InputError if there is none of that number."""
        numbers = [0, *(step.number for step in self.steps)]
        if number not in numbers:
            raise InputError(
                f"undo={number}: there is no such step in {self.out / NAME}; choose from"
                f" {', '.join(map(str, numbers))} (0 = as predicted)"
            )
        self.at = number
        self.save(told)

    def save(self, told: dict[str, Any]) -> None:
        values = {"at": self.at, "steps": [asdict(step) for step in self.steps]}
        write_json(self.out / NAME, told | values)


def keep_copy(corrections: Corrections, path: Path) -> None:
    """Copy what was drawn, whole or not at all; what QGIS holds open, too. Raises: InputError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(corrections.path, "rb") as file:
        is_database = file.read(len(SQLITE)) == SQLITE
    if not is_database:
        layers = {
            part.layer: Table(
                {"class": part.codes.astype(np.int32), "width_m": part.widths},
                part.geometries,
                part.crs,
            )
            for part in corrections.drawn
        }
        write_layers(path, layers)
        return
    with replacing(path) as temporary:
        temporary.unlink(missing_ok=True)
        # What an open file's log holds is not in the file itself yet.
        with (
            closing(sqlite3.connect(corrections.path)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")


def marks(corrections: Corrections) -> list[str]:
    """What tells each correction from others: where it lies, and what it says."""
    found = []
    for part in corrections.drawn:
        shapes = shapely.to_wkb(part.geometries).tolist()
        for shape, code, width in zip(shapes, part.codes, part.widths, strict=True):
            text = shape + f" {code} {width} {part.crs}".encode()
            found.append(hashlib.sha256(text).hexdigest()[:16])
    return found
