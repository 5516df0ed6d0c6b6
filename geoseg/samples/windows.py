"""Windows as tensors: what the network sees when it predicts, read row by row, each pixel once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from geoseg.datedscene import DatedReader
from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.panels import LONGEST_BLOCK, Broken, Final, Panel, Piece, Step
from geoseg.scene import SceneReader

See = Callable[[Panel, np.ndarray, np.ndarray], np.ndarray]
"""(panel, image (C, h, w), valid (h, w)) → what the network sees of it, float32."""


@dataclass
class Batch:
    """Images for the network, and what happens with them, in order."""

    images: Tensor | None
    """(B, C, size, size) float32, channels last; the n-th belongs to the n-th Piece. B is always
    the same, so that no result depends on how full a batch is. None: no piece in this batch."""
    steps: list[Step] = field(default_factory=list)


def batches(
    panels: Sequence[Panel],
    see: See,
    *,
    batch_size: int,
    pin: bool = False,
    wanted: Callable[[Panel], bool] = lambda panel: True,
) -> Generator[Batch, None, None]:
    """Batches over panels, one panel after the other; a batch may hold windows of several.

    see: makes of each window what the network sees; windows of one batch must be alike.
    pin: lay them in page-locked memory, from where they reach a GPU while it computes.
    wanted: asked before each row whether a panel still matters.
    """
    batch, filled = Batch(None), 0
    for panel in panels:
        for step, image in steps(panel, see, wanted):
            if image is not None:
                if batch.images is None:
                    size = (batch_size, *image.shape)
                    batch.images = torch.empty(
                        size, pin_memory=pin, memory_format=torch.channels_last
                    )
                batch.images[filled] = torch.from_numpy(image)
                filled += 1
            batch.steps.append(step)
            # What follows the last window (rows that are final) needs no wait for the next one.
            if filled == batch_size or (filled == 0 and isinstance(step, Final)):
                yield batch
                batch, filled = Batch(None), 0
    if batch.steps:
        if batch.images is not None:
            batch.images[filled:] = 0
        yield batch


def steps(
    panel: Panel, see: See, wanted: Callable[[Panel], bool]
) -> Iterator[tuple[Step, np.ndarray | None]]:
    """Windows of a panel with their images (C, size, size) float32, row by row, and what follows.

    Windows without a valid pixel are left out.
    """
    try:
        with panel.scene.open() as reader:
            strip = Strip(reader, panel)
            for row, top in enumerate(panel.rows):
                if not wanted(panel):
                    return
                strip.advance(top, top + panel.size)
                for column in panel.touching:
                    image, valid = strip.window(top, panel.columns[column])
                    if valid.any():
                        yield Piece(panel, row, column), see(panel, image, valid)
                yield Final(panel, row, strip.valid_rows(*panel.final(row))), None
    except InputError as error:
        yield Broken(panel, error), None


class Strip:
    """The rows of a panel that its windows need at a time, read in whole blocks, each once."""

    def __init__(self, reader: SceneReader | DatedReader, panel: Panel) -> None:
        touching = panel.touching
        self._reader = reader
        self._panel = panel
        self._left = panel.columns[touching[0]]
        self._width = panel.columns[touching[-1]] + panel.size - self._left
        self._block = reader.block_height if reader.block_height <= LONGEST_BLOCK else 1
        self._top = self._bottom = panel.rows[0]
        self._image: np.ndarray | None = None
        self._valid = np.zeros((0, self._width), bool)

    def advance(self, top: int, bottom: int) -> None:
        """Let go of the rows above `top` and read on until `bottom` is there."""
        kept = slice(top - self._top, None)
        self._top = top
        if self._image is not None:
            self._image, self._valid = self._image[:, kept], self._valid[kept]
        if bottom <= self._bottom:
            return
        height = self._panel.scene.grid.height
        end = -(-bottom // self._block) * self._block
        end = max(bottom, min(end, height))
        window = Window(self._bottom, self._left, end - self._bottom, self._width)
        image, valid = self._reader.read(window)
        if self._image is not None:
            image = np.concatenate((self._image, image), axis=1)
            valid = np.concatenate((self._valid, valid))
        self._image, self._valid, self._bottom = image, valid, end

    def window(self, top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (C, size, size) and valid (size, size) of a window; views."""
        assert self._image is not None
        size = self._panel.size
        rows = slice(top - self._top, top - self._top + size)
        columns = slice(left - self._left, left - self._left + size)
        return self._image[:, rows, columns], self._valid[rows, columns]

    def valid_rows(self, top: int, bottom: int) -> np.ndarray:
        """Copy of the panel's part of some rows of valid."""
        left, right = self._panel.left - self._left, self._panel.right - self._left
        return self._valid[top - self._top : bottom - self._top, left:right].copy()
