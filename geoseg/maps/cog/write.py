"""Write a Cloud Optimized GeoTIFF with its overviews in one pass.

A window of the image is read once; its blocks, and those of its overviews as long as they are whole
blocks, are deflated at once and appended to a pack. The overviews above are made of these, and at
the end all are copied, as they are, into the order that the format wants.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geoseg import __version__
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import HECTARE
from geoseg.geo.legend import NODATA
from geoseg.geo.raster import counts
from geoseg.maps.cog import tiff
from geoseg.maps.cog.pack import Pack, Record
from geoseg.maps.cog.pyramid import BLOCK, blocks, halve, shapes, windows
from geoseg.outputs.files import replacing
from geoseg.outputs.threads import in_order

LEVELS = 3
"""Image and overviews that are made of a window at once."""
SIDE = BLOCK * 2 ** (LEVELS - 1)
"""Of these windows in pixels: the smallest of the overviews has one block in it."""
SYNC = 64_000_000
"""Bytes that are sent to the disk at once: nothing interrupts the wait for it, not even Ctrl-C."""
THREADS = 8
"""At most: each holds some windows in memory."""
Note = list[tuple[int, int, float]]
"""Code, pixels and hectares of what a window holds; nothing of an overview's."""
Make = Callable[[int, Window], tuple[list[bytes], Note]]
"""Blocks and note of a window, for so many levels."""
Progress = Callable[[Sequence[Window]], Iterable[Window]]
"""Shows how far a list of windows is, while they are taken from what it returns."""
Read = Callable[[Window], np.ndarray | None]
"""Codes (H, W) uint8 of a window, None = all nodata; called by several threads at once."""


def unfinished(path: str | Path) -> Path:
    """The pack of a file that is being written: a run that was killed leaves it."""
    return Path(path).with_name(f".{Path(path).name}.pack")


@dataclass(frozen=True)
class Running:
    """How a file is written; nothing of it changes its bytes."""

    key: str | None = None
    """What the codes depend on: a run that was killed is gone on with if it had the same. None =
    always begin anew."""
    threads: int | None = None
    """None = one per core."""
    tally: bool = True
    """Whether to count the codes: False for those who have."""
    progress: Progress = iter

    @property
    def workers(self) -> int:
        return self.threads or min(os.cpu_count() or 1, THREADS)


RUNNING = Running()


@dataclass(frozen=True)
class Tally:
    """How much there is of each code."""

    pixels: np.ndarray
    """(256,) int64."""
    hectares: np.ndarray
    """(256,) float64, on the ground."""

    @classmethod
    def empty(cls) -> Tally:
        return cls(np.zeros(256, np.int64), np.zeros(256))


def write(
    path: str | Path,
    grid: Grid,
    read: Read,
    *,
    template: bytes | Callable[[], bytes],
    running: Running = RUNNING,
) -> Tally:
    """Write a file window by window, whole or not at all.

    template: a GeoTIFF with the same CRS, place, colours and tags, or what gives it once all is
    read.
    Returns: what was written of each code, if it is counted.
    Raises: InputError if the folder can't be written or the disk is full; what `read` raises.
    """
    pack_path = unfinished(path)
    if running.key is None:
        pack_path.unlink(missing_ok=True)
    key = f"{__version__} {SIDE} {LEVELS} hectares {grid} {running.key}"
    levels = [Level(shape) for shape in shapes(grid)]
    try:
        with Pack(pack_path, key, owner=path) as pack:
            tally = _fill(
                levels, partial(_make, read, grid if running.tally else None), pack, running
            )
            with replacing(path) as temporary, open(temporary, "wb", buffering=1 << 20) as file:
                header = template if isinstance(template, bytes) else template()
                _assemble(file, header, levels, pack)
    finally:
        if running.key is None:
            pack_path.unlink(missing_ok=True)
    return tally


class Level:
    """Where the blocks of the image or of an overview lie in the pack."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        size = tuple(-(-side // BLOCK) for side in shape)
        self.offsets = np.zeros(size, np.int64)
        self.sizes = np.zeros(size, np.int64)
        """In bytes; 0 = all nodata, not there."""

    def read(self, window: Window, pack: Pack) -> np.ndarray | None:
        """Codes of a window, as far as it lies in the level, or None if all are nodata.

        It begins at a block.
        """
        height, width = (
            min(end, side) - begin
            for begin, end, side in (
                (window.top, window.bottom, self.shape[0]),
                (window.left, window.right, self.shape[1]),
            )
        )
        top, left = window.top // BLOCK, window.left // BLOCK
        rows, columns = -(-height // BLOCK), -(-width // BLOCK)
        there = np.argwhere(self.sizes[top : top + rows, left : left + columns])
        if not there.size:
            return None
        codes = np.zeros((rows * BLOCK, columns * BLOCK), np.uint8)
        for row, column in there.tolist():
            place = top + row, left + column
            content = zlib.decompress(pack.read(int(self.offsets[place]), int(self.sizes[place])))
            block = np.frombuffer(content, np.uint8).reshape(BLOCK, BLOCK)
            codes[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = block
        return codes[:height, :width]


def _fill(levels: list[Level], make: Make, pack: Pack, running: Running) -> Tally:
    """Put the blocks of all levels into the pack. Returns: what the image holds of each code."""
    tally = Tally.empty()
    before = pack.records
    for first in range(0, len(levels), LEVELS):
        group = levels[first : first + LEVELS]
        places = windows(group[0].shape, SIDE)
        kept, before = before[: len(places)], before[len(places) :]
        due = places[len(kept) :]
        work = partial(_again, levels[first - 1], pack) if first else make
        made = in_order(partial(work, len(group)), running.progress(due), threads=running.workers)
        with closing(made):
            records = chain(kept, (pack.add(*parts) for parts in made))
            for window, record in zip(places, records, strict=True):
                _place(group, window, record)
                for code, pixels, hectares in record.note or ():
                    tally.pixels[code] += pixels
                    tally.hectares[code] += hectares
    return tally


def _make(read: Read, grid: Grid | None, levels: int, window: Window) -> tuple[list[bytes], Note]:
    """Deflated blocks of a window and its overviews, and how much it holds of which code.

    Blocks without codes are empty; without any, there is none. grid: None = nothing is counted.
    """
    codes = read(window)
    empty = codes is None or not codes.any()
    if grid is None:
        return [] if codes is None or empty else _deflated(codes, levels), []
    alike = grid.alike(window)
    if codes is None or empty:
        return [], [(NODATA, window.area, sum(p.area * m2 for p, m2 in alike) / HECTARE)]
    pixels, hectares = np.zeros(256, np.int64), np.zeros(256)
    for part, m2 in alike:
        held = counts(codes[part.within(window)])
        pixels += held
        hectares += held * (m2 / HECTARE)
    note = [(int(c), int(pixels[c]), float(hectares[c])) for c in np.flatnonzero(pixels)]
    return _deflated(codes, levels), note


def _again(level: Level, pack: Pack, levels: int, window: Window) -> tuple[list[bytes], Note]:
    """Deflated blocks of a window of an overview, made of the one below, and of those above it."""
    codes = _from_below(level, pack, window)
    return ([] if codes is None or not codes.any() else _deflated(codes, levels)), []


def _deflated(codes: np.ndarray, levels: int) -> list[bytes]:
    """Blocks of codes and of their overviews, up to so many levels."""
    parts = [*map(_deflate, blocks(codes))]
    for _ in range(levels - 1):
        codes = halve(codes)
        parts += map(_deflate, blocks(codes))
    return parts


def _from_below(level: Level, pack: Pack, window: Window) -> np.ndarray | None:
    """Codes of a window of an overview, of the blocks of the one below."""
    codes = np.zeros((window.height, window.width), np.uint8)
    for part in windows(codes.shape, BLOCK):
        below = Window(2 * part.top, 2 * part.left, 2 * part.height, 2 * part.width)
        found = level.read(below.shift(2 * window.top, 2 * window.left), pack)
        if found is not None:
            codes[part.within(Window(0, 0, *codes.shape))] = halve(found)
    return codes


def _deflate(block: np.ndarray) -> bytes:
    """Nothing of a block that is all nodata."""
    return _packed(block) if block.any() else b""


def _packed(block: np.ndarray) -> bytes:
    """A zlib stream."""
    # Runs are what maps are made of: looking for nothing else is the fastest way, and packs a third
    # denser than looking for everything in haste.
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return packer.compress(block.data) + packer.flush()


def _place(levels: list[Level], window: Window, record: Record) -> None:
    """Note where the blocks of a window lie in the pack."""
    if not record.sizes:
        return
    sizes = np.array(record.sizes, np.int64)
    offsets = record.offset + np.cumsum(sizes) - sizes
    done = 0
    for number, level in enumerate(levels):
        side = BLOCK << number
        rows = slice(window.top // side, -(-window.bottom // side))
        columns = slice(window.left // side, -(-window.right // side))
        shape = level.sizes[rows, columns].shape
        part = slice(done, done + shape[0] * shape[1])
        level.sizes[rows, columns] = sizes[part].reshape(shape)
        level.offsets[rows, columns] = offsets[part].reshape(shape)
        done = part.stop


def _assemble(file: BinaryIO, template: bytes, levels: list[Level], pack: Pack) -> None:
    """Write the file, of blocks that are all in the pack."""
    # TIFF knows blocks that are not there, but of all readers only GDAL does too.
    empty = _packed(np.zeros((BLOCK, BLOCK), np.uint8))
    sizes = [np.where(level.sizes, level.sizes, len(empty)) for level in levels]
    file.write(tiff.header(tiff.parse(template), [level.shape for level in levels], sizes))
    synced = 0
    for level in reversed(levels):
        for offsets, stored in zip(level.offsets, level.sizes, strict=True):
            if file.tell() - synced > SYNC:
                synced = _sync(file)
            for offset, size in zip(offsets.tolist(), stored.tolist(), strict=True):
                file.write(tiff.framed(pack.read(offset, size) if size else empty))
    _sync(file)


def _sync(file: BinaryIO) -> int:
    """Have all that is written reach the disk: one that is full or away may say so only then."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell()
