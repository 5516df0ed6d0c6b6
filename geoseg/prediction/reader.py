"""Read windows as tensors row by row, each pixel once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.prediction.panels import LONGEST_BLOCK, Broken, Final, Panel, Piece, Step
from geoseg.scenes.neighbours import HaloReader, OpenScenes

WAITING = 16
"""Final rows at most that wait for their batch to get full: on sparse data that may take long."""
Transform = Callable[[Panel, np.ndarray], np.ndarray]
"""(panel, image (C, h, w) of its scene) → what the network gets of it."""


@dataclass
class Batch:
    """Windows for the network, and what happens with them, in order."""

    images: Tensor | None
    """(B, C, size, size) in the scenes' data type; the n-th belongs to the n-th Piece. B is always
    the same, so that no result depends on how full a batch is. None: no piece in this batch."""
    seen: Tensor | None = None
    """(B, size, size) bool: where there is an image; None = everywhere."""
    steps: list[Step] = field(default_factory=list)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Images and seen on a device; on a GPU they may still be on their way."""
        assert self.images is not None
        seen = None if self.seen is None else self.seen.to(device, non_blocking=True)
        return self.images.to(device, non_blocking=True), seen


class _Filling:
    """A batch that windows are laid into; windows of one batch are alike in shape and type."""

    def __init__(self, size: int, pin: bool) -> None:
        self._size, self._pin = size, pin
        self._images: Tensor | None = None
        self._seen: Tensor | None = None
        self._all = True
        self.count = 0
        self.steps: list[Step] = []

    @property
    def is_full(self) -> bool:
        return self.count == self._size

    def takes(self, image: np.ndarray) -> bool:
        """Whether a window is like those that are there."""
        images = self._images
        return images is None or (
            images.shape[1:] == image.shape and images.dtype == torch.from_numpy(image).dtype
        )

    def add(self, image: np.ndarray, seen: np.ndarray) -> None:
        source = torch.from_numpy(image)
        if self._images is None:
            self._images = torch.empty(
                (self._size, *image.shape), dtype=source.dtype, pin_memory=self._pin
            )
            self._seen = torch.empty(
                (self._size, *seen.shape), dtype=torch.bool, pin_memory=self._pin
            )
        assert self._seen is not None
        # torch's copies, unlike numpy's, let other threads of Python go on.
        self._images[self.count].copy_(source)
        self._seen[self.count].copy_(torch.from_numpy(seen))
        self._all &= bool(seen.all())
        self.count += 1

    def batch(self) -> Batch:
        if self._images is None:
            return Batch(None, steps=self.steps)
        assert self._seen is not None
        if not self.is_full:
            self._images[self.count :] = 0
            self._seen[self.count :] = True
        return Batch(self._images, None if self._all else self._seen, self.steps)


def batches(
    panels: Sequence[Panel],
    *,
    batch_size: int,
    transform: Transform | None = None,
    pin: bool = False,
    readers: int = 1,
    wanted: Callable[[Panel], bool] = lambda panel: True,
) -> Generator[Batch, None, None]:
    """Batches over panels, one panel after the other; a batch may hold windows of several.

    transform: makes of each window what the network gets; by default the pixels as they are.
    pin: lay them in page-locked memory, from where they reach a GPU while it computes.
    readers: threads that read. wanted: asked before each row whether a panel still matters.
    """
    filling = _Filling(batch_size, pin)
    with raster.environment(), Readers(readers) as opened:
        for panel in panels:
            for step, image, seen in steps(panel, opened, wanted):
                if image is not None and seen is not None:
                    image = image if transform is None else transform(panel, image)
                    if not filling.takes(image):
                        yield filling.batch()
                        filling = _Filling(batch_size, pin)
                    filling.add(image, seen)
                filling.steps.append(step)
                # What follows the last window (rows that are final) needs no wait for the next.
                waits = filling.count > 0 and len(filling.steps) < filling.count + WAITING
                if filling.is_full or (isinstance(step, Final) and not waits):
                    yield filling.batch()
                    filling = _Filling(batch_size, pin)
    if filling.steps:
        yield filling.batch()


def steps(
    panel: Panel, readers: Readers, wanted: Callable[[Panel], bool]
) -> Iterator[tuple[Step, np.ndarray | None, np.ndarray | None]]:
    """Windows of a panel with their images (C, size, size) and where there is one (size, size).

    Row by row, with what follows. Windows in which the scene has no valid pixel are left out.
    """
    try:
        strip = Strip(readers.of(panel), panel)
        for row, top in enumerate(panel.rows):
            if not wanted(panel):
                return
            strip.advance(top, top + panel.size)
            for column in panel.touching:
                image, seen, valid = strip.window(top, panel.columns[column])
                if valid.any():
                    yield Piece(panel, row, column), image, seen
            yield Final(panel, row, strip.valid_rows(*panel.final(row))), None, None
    except InputError as error:
        yield Broken(panel, error), None, None


class Readers:
    """Threads that read ahead, each through files that it opened itself.

    They also close them: GDAL's state is a thread's own. One reader needs no thread.
    """

    def __init__(self, count: int = 1) -> None:
        self._scenes = [OpenScenes() for _ in range(count)]
        alone = count == 1
        self._threads = (
            [] if alone else [ThreadPoolExecutor(1, "geoseg-read") for _ in range(count)]
        )

    def of(self, panel: Panel) -> PanelReader:
        """A reader of a panel's scene. Raises: InputError if it can't be opened."""
        readers = [HaloReader(panel.scene, panel.neighbours, s) for s in self._scenes]
        return PanelReader(readers, self._threads)

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        for thread, scenes in zip(self._threads, self._scenes, strict=False):
            thread.submit(scenes.close)
            thread.shutdown(wait=error is None)
        if not self._threads:
            self._scenes[0].close()


Pixels = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image (C, h, w), where it shows anything (h, w), and where the scene itself does."""


class PanelReader:
    """Reads windows of a panel's scene one after the other, in several threads ahead."""

    def __init__(self, readers: list[HaloReader], threads: list[ThreadPoolExecutor]) -> None:
        self._readers = readers
        self._threads = threads

    def block_height(self) -> int:
        """Rows that are read at once best. Raises: InputError if the scene can't be opened."""
        if self._threads:
            return self._threads[0].submit(self._readers[0].block_height).result()
        return self._readers[0].block_height()

    def read(self, windows: Iterable[Window]) -> Iterator[Pixels]:
        """The pixels of windows, in order. Raises: InputError if the scene is damaged there."""
        if not self._threads:
            yield from map(self._readers[0].read, windows)
            return
        hands = cycle(zip(self._threads, self._readers, strict=True))
        coming: deque[Future[Pixels]] = deque()
        for window in windows:
            thread, reader = next(hands)
            coming.append(thread.submit(reader.read, window))
            if len(coming) > len(self._threads):
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


class Strip:
    """The rows of a panel that its windows need at a time, read in whole blocks, each once."""

    def __init__(self, reader: PanelReader, panel: Panel) -> None:
        touching = panel.touching
        self._panel = panel
        self._left = panel.columns[touching[0]]
        self._width = panel.columns[touching[-1]] + panel.size - self._left
        self._top = self._bottom = panel.rows[0]
        self._held: Pixels | None = None
        self._coming = reader.read(list(self._reads(reader.block_height())))

    def _reads(self, block: int) -> Iterator[Window]:
        """What is read, one after the other: what the next row of windows lacks."""
        block = block if block <= LONGEST_BLOCK else 1
        height, begin = self._panel.scene.grid.height, self._bottom
        for top in self._panel.rows:
            bottom = top + self._panel.size
            if bottom > begin:
                end = max(bottom, min(-(-bottom // block) * block, height))
                yield Window(begin, self._left, end - begin, self._width)
                begin = end

    def advance(self, top: int, bottom: int) -> None:
        """Let go of the rows above `top` and read on until `bottom` is there."""
        kept = slice(top - self._top, None)
        self._top = top
        if self._held is not None:
            image, seen, valid = self._held
            self._held = image[:, kept], seen[kept], valid[kept]
        if bottom <= self._bottom:
            return
        new = next(self._coming)
        self._bottom += new[1].shape[0]
        if self._held is not None:
            held = zip(self._held, new, (1, 0, 0), strict=True)
            image, seen, valid = (np.concatenate((old, more), axis) for old, more, axis in held)
            new = image, seen, valid
        self._held = new

    def window(self, top: int, left: int) -> Pixels:
        """Image (C, size, size), seen and valid (size, size) of a window; views."""
        assert self._held is not None
        image, seen, valid = self._held
        size = self._panel.size
        rows = slice(top - self._top, top - self._top + size)
        columns = slice(left - self._left, left - self._left + size)
        return image[:, rows, columns], seen[rows, columns], valid[rows, columns]

    def valid_rows(self, top: int, bottom: int) -> np.ndarray:
        """Copy of the panel's part of some rows of valid."""
        assert self._held is not None
        left, right = self._panel.left - self._left, self._panel.right - self._left
        rows: np.ndarray = self._held[2][top - self._top : bottom - self._top, left:right]
        # Rows without data, of which a batch may gather many, take no memory.
        return rows.copy() if rows.any() else np.broadcast_to(np.False_, rows.shape)
