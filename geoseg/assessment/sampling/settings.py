"""Settings of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.received.keys import WEIGHTS

ALLOCATIONS = ("balanced", "proportional", "equal", "neyman")
DESIGNS = ("random", "systematic", "cluster")
NONE, CLASS, CLASS_CONFIDENCE = "none", "class", "class_confidence"


@dataclass
class Sampling:
    """Strata, size and design of a sample."""

    strata: str = CLASS
    """class, class_confidence (each class in a sure and an unsure part), none (one stratum), a
    raster of whole numbers, or zones: <vector file>:<attribute>."""
    unsure: float = 0.1
    """Share of each class that is its unsure part, with sample.strata=class_confidence."""
    rare: Any = None
    """Classes around which a buffer is a stratum of its own, where omissions are looked for."""
    buffer: int = 0
    """Width of this buffer in pixels."""
    size: int | None = None
    """Points; none = as many as the target standard errors need."""
    target_se: float = 0.01
    """Standard error of the overall accuracy that is aimed at."""
    target_class: str | None = None
    """Class whose area is to be known with a standard error of `target_class_se`."""
    target_class_se: float | None = None
    """Standard error aimed at for the share of `target_class` in the area."""
    expected_accuracy: Any = field(default=0.8, metadata=WEIGHTS)
    """User's accuracy that is expected: one for all, or by class {building: 0.7}, and 0.8 for
    others."""
    expected_omission: Any = field(default=0.01, metadata=WEIGHTS)
    """Share of the other strata that is really of `target_class`: one for all, or by stratum."""
    allocation: Any = field(default="balanced", metadata=WEIGHTS)
    """balanced, proportional, equal, neyman, or points by stratum {building: 75}; others get their
    share of the rest."""
    minimum: int = 50
    """Points that a rare stratum gets, with sample.allocation=balanced."""
    design: str = "random"
    """random, systematic (a square grid with a random start in each stratum), or cluster."""
    reserve: float = 0.1
    """Share of points drawn besides, to be used where a point cannot be interpreted."""
    double: float = 0.1
    """Share of points to be interpreted by a second person, to measure the interpreters."""

    def __post_init__(self) -> None:
        faults = Faults()
        for key in ("expected_accuracy", "expected_omission"):
            with faults.collect():
                setattr(self, key, _shares(f"sample.{key}", getattr(self, key)))
        with faults.collect():
            self.allocation = _allocation(self.allocation)
        for key, low, high in (("unsure", 0, 1), ("target_se", 0, 0.5), ("target_class_se", 0, 1)):
            value = getattr(self, key)
            if value is not None and not low < value < high:
                faults.add(f"sample.{key}={value}: must be above {low} and below {high}")
        for key in ("reserve", "double"):
            if not 0 <= getattr(self, key) <= 1:
                faults.add(f"sample.{key}={getattr(self, key)}: must be from 0 to 1")
        faults.one_of(self, "sample.", design=DESIGNS)
        if self.size is not None and self.size < 4:
            faults.add(f"sample.size={self.size}: must be at least 4 points")
        if self.minimum < 2:
            faults.add(f"sample.minimum={self.minimum}: a stratum needs 2 points for a variance")
        if (self.target_class is None) != (self.target_class_se is None):
            faults.add("sample.target_class and sample.target_class_se: give both, or neither")
        faults.found += self._buffer_faults()
        faults.raise_if_any()

    def _buffer_faults(self) -> list[str]:
        if self.buffer < 0:
            return [f"sample.buffer={self.buffer}: must not be negative"]
        if (self.buffer > 0) != bool(self.rare):
            return [
                "sample.buffer and sample.rare: a buffer needs its classes, and these its width"
            ]
        if self.buffer and self.strata not in (CLASS, CLASS_CONFIDENCE):
            return [f"sample.buffer={self.buffer}: only with strata=class or class_confidence"]
        if self.buffer and self.design == "cluster":
            return ["sample.buffer: not with design=cluster, whose strata are made of whole blocks"]
        return []

    @property
    def rare_names(self) -> list[str]:
        """Names of the rare classes."""
        if self.rare is None:
            return []
        return [
            str(n) for n in (self.rare if isinstance(self.rare, (list, tuple)) else [self.rare])
        ]


@dataclass
class Cluster:
    """Blocks of a cluster sample: fewer places to travel to."""

    side_m: float | None = None
    """Side of a block in metres."""
    points: int = 10
    """Points in each block."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.side_m is not None and not self.side_m > 0:
            faults.add(f"cluster.side_m={self.side_m}: must be above 0 metres")
        faults.at_least(self, "cluster.", points=1)
        faults.raise_if_any()


def _shares(key: str, value: Any) -> float | dict[str, float]:
    """A share, or shares by name. Raises: InputError."""
    if isinstance(value, Mapping):
        return {str(name): _share(f"{key}.{name}", one) for name, one in value.items()}
    return _share(key, value)


def _share(key: str, value: Any) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{key}={value}: expected a share from 0 to 1, or {{name: share}}"
        ) from None
    if not 0 <= share <= 1:
        raise InputError(f"{key}={value}: must be from 0 to 1")
    return share


def _allocation(value: Any) -> str | dict[str, int]:
    """The name of a way, or points by stratum. Raises: InputError."""
    if not isinstance(value, Mapping):
        if str(value) not in ALLOCATIONS:
            raise InputError(
                f"sample.allocation={value}: choose from {', '.join(ALLOCATIONS)}, or give points"
                " by stratum: {building: 75}"
            )
        return str(value)
    points = {str(name): float(count) for name, count in value.items()}
    wrong = [f"{name}: {count:g}" for name, count in points.items() if count % 1 or count < 2]
    if wrong:
        raise InputError(f"sample.allocation: {', '.join(wrong)}; expected whole numbers from 2 on")
    return {name: int(count) for name, count in points.items()}
