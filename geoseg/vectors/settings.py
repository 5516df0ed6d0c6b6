"""Settings of polygons out of maps, and what they mean for the classes of a legend."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError, shown
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.outputs.crew import cores
from geoseg.received.keys import WEIGHTS

CODES = 256
"""Numbers that a pixel can hold."""
MOST_PROCESSES = 8
"""That one process can keep busy."""
WORTH = 8 << 20
"""Pixels for which another process is started."""


@dataclass
class VectorSettings:
    """How a map becomes polygons."""

    minimum_m2: Any = field(default=0, metadata=WEIGHTS)
    """Least area in m² on the ground; smaller ones go to their neighbour with the longest shared
    edge; one number, or numbers by class: {building: 20, forest: 5000}, others 0."""
    simplify_m: float = 0.0
    """Metres by which outlines may be simplified; neighbours keep their shared edges; 0 = exact."""
    keep: list[str] = field(default_factory=list)
    """Classes whose areas are never merged into others, however small."""
    regular: list[str] = field(default_factory=list)
    """Classes whose areas also come with square corners, as the layer buildings_regular."""
    lines: list[str] = field(default_factory=list)
    """Classes that also come as centre lines with their width, as the layer roads."""
    unsure: float = 0.5
    """Probability below which a pixel counts as unsure, for the column share_unsure."""
    strip: int = 1024
    """Rows of the map that are read at once: memory, not the result, depends on it."""
    processes: int | None = None
    """Processes that outline blocks of the map at once; none = one per core, 8 at most, as far as
    the map is large enough; 1 = only the command's own."""

    def __post_init__(self) -> None:
        faults = Faults()
        with faults.collect():
            self._minima()
        if not 0 <= self.simplify_m < math.inf:
            faults.add(f"vector.simplify_m={self.simplify_m}: must be metres, 0 or more")
        if not 0 <= self.unsure <= 1:
            faults.add(f"vector.unsure={self.unsure}: must be a probability, 0 to 1")
        if self.strip < 1:
            faults.add(f"vector.strip={self.strip}: must be at least 1 row")
        faults.at_least(self, "vector.", processes=1)
        faults.raise_if_any()

    def processes_for(self, grid: Grid) -> int:
        """Processes that are worth starting: each takes as long as some blocks."""
        if self.processes is not None:
            return self.processes
        return max(1, min(cores(), MOST_PROCESSES, grid.height * grid.width // WORTH))

    def told(self) -> dict[str, Any]:
        """The settings that the polygons depend on."""
        given = self.minimum_m2
        minimum = dict(given) if hasattr(given, "items") else float(given)
        every = asdict(self) | {"minimum_m2": minimum}
        return {key: value for key, value in every.items() if key not in ("strip", "processes")}

    def _minima(self) -> dict[str | None, float]:
        """Least area by name of the class; None stands for all. Raises: InputError."""
        given = self.minimum_m2
        named = dict(given) if hasattr(given, "items") else {None: given}
        found: dict[str | None, float] = {}
        for name, value in named.items():
            key = "vector.minimum_m2" + (f".{name}" if name is not None else "")
            try:
                if isinstance(value, bool):
                    raise TypeError
                found[name] = float(value)
            except (TypeError, ValueError):
                raise InputError(f"{key}={shown(value)}: expected square metres") from None
            if not 0 <= found[name] < math.inf:
                raise InputError(f"{key}={shown(value)}: must be square metres, 0 or more")
        return found

    def minima(self, legend: Legend) -> np.ndarray:
        """Least area in m² of each code (256,) float64. Raises: InputError for unknown classes."""
        named = self._minima()
        minima = np.full(CODES, named.pop(None, 0.0))
        faults = Faults()
        for name, value in named.items():
            with faults.collect():
                minima[_code(legend, str(name), "vector.minimum_m2")] = value
        faults.raise_if_any()
        return minima

    def check(self, legend: Legend, faults: Faults) -> None:
        """Collect the faults of classes that a legend does not have."""
        with faults.collect():
            self.minima(legend)
        for key in ("keep", "regular", "lines"):
            with faults.collect():
                self.codes(key, legend)

    def codes(self, key: str, legend: Legend) -> np.ndarray:
        """Whether each code (256,) is of a class that `keep`, `regular` or `lines` names.

        Raises: InputError for unknown classes.
        """
        chosen = np.zeros(CODES, bool)
        faults = Faults()
        for name in getattr(self, key):
            with faults.collect():
                chosen[_code(legend, name, f"vector.{key}")] = True
        faults.raise_if_any()
        return chosen


def _code(legend: Legend, name: str, key: str) -> int:
    try:
        return legend.code_of(name)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
