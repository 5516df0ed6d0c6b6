"""Present a stack as a scene, read window by window.

What the network sees of a window is (T + T · C, H, W): a plane per date that holds its day, then
the bands of each date, scaled, NaN where there was no clear observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from geoseg.geo import raster
from geoseg.geo.band_tags import BandTags, Change
from geoseg.geo.grid import Grid, Window
from geoseg.outputs.closing import Closing
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.stack import Stack, observed

MEMORY = 256 * 2**20
"""Bytes of observations that are held at a time to count clear dates."""


@dataclass(frozen=True)
class DatedScene:
    """A stack as predict takes scenes."""

    stack: Stack
    days: tuple[int, ...]
    """Of its dates, since the anchor."""
    min_clear: int
    """Fewest clear dates of a pixel that gets a class."""

    adjoins = False
    unheeded: ClassVar[tuple[str, ...]] = ()
    mask: ClassVar[str | None] = None
    mask_values: ClassVar[tuple[int, ...]] = ()

    @property
    def name(self) -> str:
        return self.stack.name

    @property
    def grid(self) -> Grid:
        return self.stack.grid

    @property
    def dtype(self) -> str:
        return self.stack.dtype

    @property
    def bands_of_a_date(self) -> tuple[str, ...]:
        return self.stack.bands

    @property
    def dates(self) -> tuple[date, ...]:
        return self.stack.dates

    @property
    def tags(self) -> tuple[BandTags, ...]:
        return self.stack.tags

    @property
    def nodata(self) -> float | str | None:
        return self.stack.nodata

    @property
    def partial(self) -> bool:
        return self.stack.partial

    @property
    def bands(self) -> tuple[str, ...]:
        """One for each band of each date."""
        return tuple(f"{day} {band}" for day in self.stack.dates for band in self.stack.bands)

    @property
    def paths(self) -> tuple[str, ...]:
        return self.stack.paths

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.stack.paths + self.stack.masks

    def open(self) -> DatedReader:
        """Open the files. Raises: InputError."""
        return DatedReader(self)

    def select_bands(self, names: tuple[str, ...]) -> DatedScene:
        """The scene with these bands of each date. Raises: InputError."""
        return replace(self, stack=self.stack.select(names))

    def changed(self, made: Sequence[Change]) -> DatedScene:
        """The scene with its numbers brought to another scale and offset, per band of a date."""
        return replace(self, stack=self.stack.changed(made))

    def filled(self, means: tuple[float, ...]) -> DatedScene:
        """Itself: where nothing was observed, the network sees that."""
        return self

    def with_nodata(self, nodata: float | None) -> DatedScene:
        """The scene with a value that means nodata, None = as its files say."""
        return self if nodata is None else replace(self, stack=replace(self.stack, nodata=nodata))

    def highest(self, values: np.ndarray) -> float:
        """Not the largest: clouds that a mask has missed are brighter than any field."""
        return float(np.percentile(values, 98))

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """JSON values; paths relative to `folder`."""
        stack = self.stack.to_dict(folder)
        return {"stack": stack, "days": list(self.days), "min_clear": self.min_clear}

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: Path) -> DatedScene:
        stack = Stack.from_dict(values["stack"], folder)
        return cls(stack, tuple(values["days"]), values["min_clear"])

    def see(self, image: np.ndarray, statistics: BandStatistics) -> np.ndarray:
        """What the network sees (T + T · C, h, w) of an image of DatedReader.read (T · C, h, w)."""
        dates, bands = len(self.days), len(self.stack.bands)
        seen = np.empty((dates + dates * bands, *image.shape[1:]), np.float32)
        seen[:dates] = np.array(self.days, np.float32)[:, None, None]
        values = image.reshape(dates, bands, *image.shape[1:])
        scaled = seen[dates:].reshape(values.shape)
        mean, factor = statistics.scaling()
        np.subtract(values, mean[:, None, None], out=scaled, dtype=np.float32)
        scaled *= factor[:, None, None]
        scaled[~observed(values)] = np.nan
        return seen


def dated(
    stacks: Sequence[Stack], zeros: Mapping[str, date], *, min_clear: int
) -> list[DatedScene]:
    """Stacks with their days. zeros: by stack, the day they are counted from."""
    days = [tuple(map(int, stack.days(zeros[stack.name]))) for stack in stacks]
    return [DatedScene(stack, of, min_clear) for stack, of in zip(stacks, days, strict=True)]


@runtime_checkable
class AnyScene(Protocol):
    """What maps are made of: a Scene, or dated images as one."""

    @property
    def name(self) -> str: ...
    @property
    def grid(self) -> Grid: ...
    @property
    def bands(self) -> tuple[str, ...]: ...
    @property
    def bands_of_a_date(self) -> tuple[str, ...]:
        """Those of each date; of a scene without dates all."""

    @property
    def dtype(self) -> str: ...
    @property
    def paths(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> tuple[str, ...]:
        """All files that what it shows depends on."""

    @property
    def tags(self) -> tuple[BandTags, ...]: ...
    @property
    def nodata(self) -> float | str | None: ...
    @property
    def partial(self) -> bool: ...
    @property
    def dates(self) -> tuple[date, ...]:
        """Empty for a scene without dates."""

    @property
    def unheeded(self) -> tuple[str, ...]:
        """What its source has to tell clouds by, which nothing looks at."""

    @property
    def mask(self) -> str | None:
        """The mask of clouds of a scene without dates."""

    @property
    def mask_values(self) -> tuple[int, ...]: ...
    @property
    def days(self) -> tuple[int, ...]:
        """Those of the dates, since the anchor."""

    @property
    def adjoins(self) -> bool:
        """Whether neighbours show what lies beyond its edge: the dates of others differ."""

    def open(self) -> Any: ...
    def select_bands(self, names: tuple[str, ...]) -> AnyScene: ...
    def changed(self, made: Sequence[Change]) -> AnyScene: ...
    def filled(self, means: tuple[float, ...]) -> AnyScene: ...
    def with_nodata(self, nodata: float | None) -> AnyScene: ...
    def highest(self, values: np.ndarray) -> float: ...
    def to_dict(self, folder: Path) -> dict[str, Any]: ...


class DatedReader(Closing):
    """An open DatedScene."""

    def __init__(self, scene: DatedScene) -> None:
        self._scene = scene
        self._reader = scene.stack.open()
        self.block_height = scene.stack.block[0]

    def read(
        self, window: Window, *, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Observations (T · C, h, w) in the stack's dtype, and where enough dates are clear."""
        values = self._reader.read(window)
        valid = count_clear(values) >= self._scene.min_clear
        return values.reshape(-1, *values.shape[2:]), valid

    def close(self) -> None:
        self._reader.close()


def count_clear(values: np.ndarray) -> np.ndarray:
    """Number of dates (h, w) uint16 on which any band of values (T, C, h, w) was observed."""
    seen = np.any(observed(values), axis=1)
    counts: np.ndarray = seen.sum(axis=0, dtype=np.uint16)
    return counts


def write_clear(stack: Stack, path: Path) -> None:
    """Write a raster with the number of clear dates of each pixel, uint16.

    Raises: InputError if a file can't be read, or the disk is full.
    """
    with (
        stack.open() as reader,
        raster.create(path, stack.grid, dtype="uint16", names=("clear dates",)) as writer,
    ):
        for window in reader.stack.windows(MEMORY):
            writer.write(count_clear(reader.read(window)), window)
