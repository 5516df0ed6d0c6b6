"""Copy the pixels of a tile's samples out of its stack in one pass over the images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.dataset.samples import days_path, load_pixels, pixels_path, save_days
from geoseg.errors import InputError
from geoseg.outputs.files import replacing
from geoseg.scenes.stack import MISSING, observed

if TYPE_CHECKING:
    from geoseg.scenes.stack import Stack, StackReader

MEMORY = 256 * 2**20
"""Bytes of a window of all dates and bands."""
ROWS = 2**16
"""Pixels of an array that are worked on at a time, at most; fewer where they have many dates."""
CELLS = 2**25
"""Values of an array that are worked on at a time."""


@dataclass(frozen=True)
class Period:
    """The dates of a stack that count for some samples."""

    index: np.ndarray
    """Places in the stack's dates."""
    days: np.ndarray
    """Days since the anchor of each, int16."""


@dataclass(frozen=True)
class Periods:
    """Which dates of a stack count for which pixels."""

    of: np.ndarray
    """(P,) number of each pixel's period."""
    periods: list[Period]
    own: bool
    """Whether each pixel has days of its own in the array, instead of all the same."""

    @property
    def length(self) -> int:
        """Dates in the longest period: T of the array."""
        return max((len(period.index) for period in self.periods), default=0)

    def covers(self, dates: int) -> bool:
        """Whether all dates of the stack count for all pixels."""
        return len(self.periods) == 1 and len(self.periods[0].index) == dates

    def days(self) -> np.ndarray:
        """(T,), or (P, T) int16; 0 behind the last date."""
        if not self.own:
            return self.periods[0].days
        table = np.zeros((len(self.periods), self.length), np.int16)
        for row, period in zip(table, self.periods, strict=True):
            row[: len(period.days)] = period.days
        return table[self.of]


def period(stack: Stack, zero: date, *, start: date | None, end: date | None) -> Period:
    """The dates from `start` to before `end`, and their days since `zero`."""
    kept = [
        place
        for place, day in enumerate(stack.dates)
        if (start is None or day >= start) and (end is None or day < end)
    ]
    index = np.array(kept, np.intp)
    return Period(index, stack.days(zero)[index])


def write_arrays(
    folder: Path, stack: Stack, pixel: np.ndarray, *, periods: Periods, dtype: str
) -> float:
    """Write pixels/<tile>.npy (P, T, C) and its days; a tile that is already there stays.

    pixel: (P,) row · width + column. The array grows under a temporary name; the windows of the
    stack in which no pixel lies are not read.
    Returns: the share of the observations read of which some bands had no data.
    Raises: InputError if an image is damaged or the disk is full.
    """
    path = pixels_path(folder, stack.name)
    shape = (len(pixel), periods.length, len(stack.bands))
    if _is_there(folder, stack.name, shape, dtype):
        return 0.0
    save_days(folder, stack.name, periods.days())
    with replacing(path) as temporary, stack.open() as reader:
        np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), shape)
        _reserve(temporary)
        for chosen, values in _read(reader, pixel):
            values = recoded(values, stack.missing, dtype)
            # Opened anew each time: what was written no longer counts as this process' memory.
            out = np.lib.format.open_memmap(temporary, "r+")
            if periods.covers(len(stack.dates)):
                out[chosen] = values
                continue
            of = periods.of[chosen]
            for number in np.unique(of):
                index = periods.periods[number].index
                one = of == number
                rows = np.full((int(one.sum()), *shape[1:]), MISSING[dtype], dtype)
                rows[:, : len(index)] = values[one][:, index]
                out[chosen[one]] = rows
        return reader.share_partial()


def _is_there(folder: Path, tile: str, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether an earlier call has written the arrays of a tile, and nobody cut them short."""
    if not pixels_path(folder, tile).exists() or not days_path(folder, tile).exists():
        return False
    try:
        pixels, days = load_pixels(folder, tile)
    except InputError:
        return False
    return pixels.shape == shape and pixels.dtype == dtype and days.shape[-1] == shape[1]


def _read(reader: StackReader, pixel: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places in `pixel` (n,), ascending, and the values there (n, T, C); each place once."""
    row, column = np.divmod(pixel, reader.stack.grid.width)
    order = np.argsort(row, kind="stable")
    rows = row[order]
    for window in reader.stack.windows(MEMORY):
        low, high = np.searchsorted(rows, (window.top, window.bottom))
        chosen = order[low:high]
        inside = (column[chosen] >= window.left) & (column[chosen] < window.right)
        chosen = np.sort(chosen[inside])
        if not len(chosen):
            continue
        image = reader.read(window)
        flat = image.reshape(-1, window.area)
        place = (row[chosen] - window.top) * window.width + column[chosen] - window.left
        step = max(1, min(ROWS, CELLS // len(flat)))
        for first in range(0, len(chosen), step):
            part = slice(first, first + step)
            values = np.take(flat, place[part], axis=1).T
            yield chosen[part], values.reshape(-1, *image.shape[:2])


def recoded(values: np.ndarray, missing: float, dtype: str) -> np.ndarray:
    """Values of a stack in another type, what is missing coded as that type does."""
    if values.dtype == dtype:
        return values
    wide = values.astype(dtype)
    if values.dtype.kind != "f":
        wide[np.equal(values, missing)] = MISSING[dtype]
    return wide


def common_dtype(dtypes: set[str]) -> str:
    """One type that holds the values of all stacks."""
    return next(iter(dtypes)) if len(dtypes) == 1 else "float32"


def count_clear(
    folder: Path, tile: str, periods: Periods, dates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often the pixels of a tile were observed, in any band.

    dates: of the stack. Returns: clear dates per pixel (P,) int32; per date of the stack the
    pixels it counts for, and those among them that were clear: (dates,) int64 each.
    """
    pixels, _ = load_pixels(folder, tile)
    clear = np.zeros(len(pixels), np.int32)
    asked, seen = np.zeros(dates, np.int64), np.zeros(dates, np.int64)
    for part in blocks(pixels):
        valid = np.any(observed(pixels[part]), axis=2)
        clear[part] = valid.sum(axis=1)
        for number in np.unique(periods.of[part]):
            index = periods.periods[number].index
            rows = valid[periods.of[part] == number]
            asked[index] += len(rows)
            seen[index] += rows[:, : len(index)].sum(axis=0)
    return clear, asked, seen


def blocks(pixels: np.ndarray) -> Iterator[slice]:
    """Slices of rows, small enough to work on."""
    step = max(1, min(ROWS, CELLS // max(1, pixels[:1].size)))
    for first in range(0, len(pixels), step):
        yield slice(first, first + step)


def _reserve(path: Path) -> None:
    """Have the disk keep room for the whole file: a mapped one can't say that it is full."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, os.path.getsize(path)))
