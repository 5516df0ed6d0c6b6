"""Hold the probabilities below which a pixel or parcel gets no class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoseg.errors import Faults, InputError, shown
from geoseg.geo.legend import Legend, composed


@dataclass(frozen=True)
class Thresholds:
    """Probability from which on the most probable class is taken, for each class of a legend."""

    values: tuple[float, ...]
    """0..1, in the legend's order."""
    said: str
    """Where they come from, for people and tags."""

    @classmethod
    def parse(cls, value: Any, legend: Legend, key: str = "predict.threshold") -> Thresholds:
        """A number for all classes, or {class: number}; classes that are not named always count.

        Raises: InputError for numbers outside 0..1 and unknown classes.
        """
        if not isinstance(value, Mapping):
            share = _share(value, key)
            return cls((share,) * len(legend), f"threshold {share:g}")
        faults = Faults()
        by_name = dict.fromkeys(legend.names, 0.0)
        for name, one in value.items():
            with faults.collect():
                if composed(str(name)) not in by_name:
                    raise InputError(
                        f"{key}: class {shown(name)} is not in the legend; it has"
                        f" {', '.join(legend.names)}"
                    )
                by_name[composed(str(name))] = _share(one, f"{key}.{name}")
        faults.raise_if_any()
        said = ", ".join(f"{name} {share:g}" for name, share in by_name.items() if share)
        return cls(tuple(by_name.values()), f"threshold {said or 0}")

    @property
    def matter(self) -> bool:
        """Whether any pixel may stay without class."""
        return any(value > 0 for value in self.values)


def _share(value: Any, key: str) -> float:
    try:
        share = math.nan if isinstance(value, bool) else float(value)  # of a command line: text
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share <= 1:
        raise InputError(
            f"{key}={shown(value)}: expected a probability in 0..1, or {{<class>: <probability>}}"
        )
    return share
