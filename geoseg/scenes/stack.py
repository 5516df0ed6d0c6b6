"""Hold the dated images of one place on one grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import NO_CHANGE, BandTags, Change
from geoseg.geo.grid import Grid, Window
from geoseg.geo.open_files import OpenFiles
from geoseg.outputs.closing import Closing
from geoseg.scenes.layers import Image, Layer, Mask, open_limit

MISSING: dict[str, float] = {"uint16": 65535, "int16": -32768, "float32": float("nan")}
"""What stands where there is no clear observation, by the data type of a stack."""
GAP = timedelta(90)
"""Tiles whose first dates lie no further apart count their days from the same anchor."""


def observed(values: np.ndarray) -> np.ndarray:
    """True where an array (…) of one of the types of MISSING holds an observation."""
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    return np.asarray(values != MISSING[values.dtype.name])


@dataclass(frozen=True)
class Stack:
    """Dated images of one place on one grid; holds no pixels and no open file."""

    name: str
    """What series.pattern calls `tile`, or the name of what holds the files."""
    grid: Grid
    """Of its finest files; others are warped onto it."""
    dates: tuple[date, ...]
    """Sorted, each once."""
    bands: tuple[str, ...]
    dtype: str
    """uint16, int16 or float32."""
    layers: tuple[Layer, ...]
    """In the order in which they are laid: a later one fills what earlier ones of its date lack."""
    notes: tuple[str, ...] = ()
    """What was decided by rule, one sentence each."""
    nodata: float | str | None = None
    """Replaces the files' nodata value; "none" = no value means nodata."""
    mask_values: tuple[int, ...] = ()
    """Values of masks that mean not clear; empty = all but 0."""
    block: tuple[int, int] = (256, 256)
    """Height and width of the files' blocks."""
    tags: tuple[BandTags, ...] = ()
    """What most files say of each of `bands`, and what the values of all are brought to."""
    partial: bool = False
    """Whether an observation counts of which some bands are missing; else it is missing in all."""

    @property
    def missing(self) -> float:
        """What stands in the values where there is no clear observation."""
        return MISSING[self.dtype]

    @property
    def paths(self) -> tuple[str, ...]:
        """Files with images, each once."""
        return tuple(dict.fromkeys(layer.path for layer in self.layers))

    @property
    def masks(self) -> tuple[str, ...]:
        """Files with masks, each once."""
        return tuple(dict.fromkeys(layer.mask for layer in self.layers if layer.mask))

    def open(self) -> StackReader:
        """Open the files. Raises: InputError."""
        return StackReader(self)

    def days(self, anchor: date) -> np.ndarray:
        """Days of the dates since `anchor`, (T,) int16."""
        return np.array([(day - anchor).days for day in self.dates], np.int16)

    def select(self, bands: Iterable[str]) -> Stack:
        """The stack with these bands in this order. Raises: InputError, naming what is missing."""
        bands = tuple(bands)
        missing = [band for band in bands if band not in self.bands]
        if missing:
            raise InputError(
                f"series {self.name}: no band {', '.join(missing)}; it has"
                f" {', '.join(self.bands)}; set bands.order or give the missing files"
            )
        layers = tuple(kept for layer in self.layers if (kept := layer.select(bands)))
        tags = tuple(self.tags[self.bands.index(band)] for band in bands) if self.tags else ()
        return replace(self, bands=bands, layers=layers, tags=tags)

    def changed(self, made: Sequence[Change]) -> Stack:
        """The stack with its numbers brought to another scale and offset, per band."""
        if all(one == NO_CHANGE for one in made):
            return self
        by_band = dict(zip(self.bands, made, strict=True))
        layers: list[Layer] = []
        for layer in self.layers:
            for one in dict.fromkeys(by_band[band] for band in layer.bands):
                part = layer.select([band for band in layer.bands if by_band[band] == one])
                assert part is not None
                factor, add = one
                layers.append(
                    replace(part, factor=part.factor * factor, add=part.add * factor + add)
                )
        # In whole numbers what falls below 0 would be lost.
        return replace(self, layers=tuple(layers), dtype="float32")

    def within(self, start: date, end: date) -> Stack:
        """The stack's dates from `start` up to the day before `end`. Raises: InputError if none."""
        days = tuple(day for day in self.dates if start <= day < end)
        if not days:
            raise InputError(
                f"series {self.name}: no date from {start} to before {end}; its first is"
                f" {self.dates[0]}, its last {self.dates[-1]}"
            )
        layers = tuple(layer for layer in self.layers if start <= layer.day < end)
        return replace(self, dates=days, layers=layers)

    def windows(self, memory_bytes: int) -> Iterator[Window]:
        """Windows that partition the grid, aligned with the files' blocks, in order of rows.

        memory_bytes: that the values of a window stay below; a window is one pixel at least.
        """
        pixel = len(self.dates) * len(self.bands) * np.dtype(self.dtype).itemsize
        height, width = _size(self.grid, self.block, max(1, memory_bytes // pixel))
        return self.grid.window.blocks(height, width)

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """JSON values; paths relative to `folder`, so that a project can move as a whole."""
        return {
            "name": self.name,
            "grid": self.grid.to_dict(),
            "dates": [day.isoformat() for day in self.dates],
            "bands": list(self.bands),
            "dtype": self.dtype,
            "layers": [layer.to_dict(folder) for layer in self.layers],
            "notes": list(self.notes),
            "nodata": self.nodata if self.nodata == self.nodata else "nan",
            "mask_values": list(self.mask_values),
            "block": list(self.block),
            "tags": [tags.to_dict() for tags in self.tags],
            "partial": self.partial,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: Path) -> Stack:
        nodata = values["nodata"]
        return cls(
            values["name"],
            Grid.from_dict(values["grid"]),
            tuple(map(date.fromisoformat, values["dates"])),
            tuple(values["bands"]),
            values["dtype"],
            tuple(Layer.from_dict(layer, folder) for layer in values["layers"]),
            tuple(values["notes"]),
            float("nan") if nodata == "nan" else nodata,
            tuple(values["mask_values"]),
            tuple(values["block"]),
            tuple(map(BandTags.from_dict, values.get("tags", ()))),
            values.get("partial", False),
        )


def first_dates(stacks: Sequence[Stack]) -> dict[str, date]:
    """By tile, the date that stands for the beginning of its series, where no period is given.

    Tiles of one season begin some days apart: all take the earliest, so that day 10 is the same
    day on each. Where more than GAP lies between them, as from year to year, each has its own.
    """
    order = sorted(stacks, key=lambda stack: stack.dates[0])
    found: dict[str, date] = {}
    first = before = order[0].dates[0]
    for stack in order:
        begin = stack.dates[0]
        if begin - before > GAP:
            first = begin
        found[stack.name] = first
        before = begin
    return found


class StackReader(Closing):
    """An open stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        # Files are read in turns, window by window.
        self._files = OpenFiles(open_limit(), in_turns=True)
        by_path: dict[str, list[Layer]] = {}
        for layer in stack.layers:
            by_path.setdefault(layer.path, []).append(layer)
        self._images = [_Plan(stack, path, layers) for path, layers in by_path.items()]
        self._place = {day: number for number, day in enumerate(stack.dates)}
        self._whole = np.dtype(stack.dtype).kind != "f"
        self._ragged = list(range(len(stack.dates))) if stack.partial else _ragged(stack)
        self._held = self._some = 0

    def read(self, window: Window) -> np.ndarray:
        """Values (T, C, height, width) of a window in the stack's dtype, `missing` where not clear.

        An observation under a cloud is missing in all bands, as is one of which some bands have no
        data; of a `partial` stack the others count. What lies outside the grid's files is missing.
        Raises: InputError if a file is damaged.
        """
        stack = self.stack
        shape = (len(stack.dates), len(stack.bands), window.height, window.width)
        values = np.full(shape, stack.missing, stack.dtype)
        begun = np.zeros(shape[:2], bool)
        clear: dict[str, np.ndarray] = {}
        for plan in self._images:
            data, valid = self._files.get(plan.image, plan.image.open).read(window)
            for layer, rows, places in plan.parts:
                if layer.mask and layer.mask not in clear:
                    mask = Mask(layer.mask, stack.grid, stack.mask_values)
                    clear[layer.mask] = self._files.get(mask, mask.open).read(window)
                date_ = self._place[layer.day]
                for row, place in zip(rows, places, strict=True):
                    holds = valid if valid.ndim == 2 else valid[row]
                    if layer.mask:
                        holds = holds & clear[layer.mask]
                    target = values[date_, place]
                    if begun[date_, place]:
                        holds = holds & self._is_missing(target)
                    begun[date_, place] = True
                    _lay(data[row], target, holds, layer)
        for date_ in self._ragged:
            missing = self._is_missing(values[date_])
            held = ~missing.all(axis=0)
            gap = missing.any(axis=0) & held
            self._held, self._some = self._held + int(held.sum()), self._some + int(gap.sum())
            if not stack.partial:
                values[date_][:, gap] = stack.missing
        return values

    def share_partial(self) -> float:
        """Share of the observations read so far of which some bands had no data."""
        ragged = {self.stack.dates[place] for place in self._ragged}
        plans = [plan for plan in self._images if plan.parts[0][0].day not in ragged]
        files = [file for plan in plans if (file := self._files.kept(plan.image))]
        held = self._held + sum(file.held for file in files)
        return (self._some + sum(file.some for file in files)) / max(1, held)

    def _is_missing(self, values: np.ndarray) -> np.ndarray:
        missing: np.ndarray = values == self.stack.missing if self._whole else np.isnan(values)
        return missing

    def close(self) -> None:
        self._files.close()


class _Plan:
    """What is read of one file, and where it goes."""

    def __init__(self, stack: Stack, path: str, layers: list[Layer]) -> None:
        numbers = tuple(sorted({number for layer in layers for number in layer.numbers}))
        each = stack.partial or len(layers) > 1
        self.image = Image(path, numbers, stack.grid, stack.nodata, each=each)
        self.parts = [
            (
                layer,
                [numbers.index(number) for number in layer.numbers],
                [stack.bands.index(band) for band in layer.bands],
            )
            for layer in layers
        ]


def _ragged(stack: Stack) -> list[int]:
    """Places of the dates whose bands may hold data one without the other."""
    layers: dict[date, list[Layer]] = {}
    for layer in stack.layers:
        layers.setdefault(layer.day, []).append(layer)
    whole = set(stack.bands)
    return [
        place
        for place, day in enumerate(stack.dates)
        if len(layers.get(day, ())) != 1 or set(layers[day][0].bands) != whole
    ]


def _lay(data: np.ndarray, target: np.ndarray, holds: np.ndarray, layer: Layer) -> None:
    """Copy data (height, width) to where they hold, in the target's type, scaled as the layer is.

    Whole numbers that would fall below the least, or on what means missing, become its neighbour.
    """
    add = layer.add
    if layer.factor != 1:
        data = data.astype(np.float32) * np.float32(layer.factor)
    if add and target.dtype.kind == "f":
        data = data.astype(np.float32) + np.float32(add)
    elif add:
        low, high = (0, 65534) if target.dtype == np.uint16 else (-32767, 32767)
        data = np.clip(data.astype(np.int32) + int(add), low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(target, data, where=holds, casting="unsafe")


def _size(grid: Grid, block: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Height and width of windows of at most so many pixels, whole blocks if these fit."""
    height, width = min(block[0], grid.height), min(block[1], grid.width)
    if pixels >= grid.width * grid.height:
        return grid.height, grid.width
    if pixels >= grid.width * height:
        return pixels // grid.width // height * height, grid.width
    if pixels >= height * width:
        return height, pixels // height // width * width
    width = min(width, pixels)
    return pixels // width, width


def check_stacks(stacks: list[Stack]) -> None:
    """Raises: InputError with all that keeps stacks from being one data set."""
    faults = Faults()
    first = stacks[0]
    for stack in stacks:
        if tuple(stack.bands) != tuple(first.bands):
            faults.add(
                f"{stack.name}: bands {', '.join(stack.bands)}, but {first.name} has"
                f" {', '.join(first.bands)}; choose those that all have: bands.order"
            )
    faults.raise_if_any()
