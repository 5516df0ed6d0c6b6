"""Read the numbers of a map's areas in rows of squares, whatever the height of its strips."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoseg.vectors.components import Components, Strips, runs


def label_rows(
    strips: Strips, found: Components, height: int, of: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Numbers (height, W) of the areas, 0 for nodata, each with its first row; the last is lower.

    of: (N + 1,) what is to stand for each number.
    """
    top, waiting, count = 0, [], 0
    for window, part in zip(strips.windows(), found.parts, strict=True):
        values = part if of is None else of[part]
        waiting.append(runs(strips.codes(window)).paint(values))
        count += window.height
        if count < height:
            continue
        rows = np.concatenate(waiting)
        whole = count - count % height
        for begin in range(0, whole, height):
            yield top, rows[begin : begin + height]
            top += height
        waiting, count = [rows[whole:].copy()], count - whole
    if count:
        yield top, np.concatenate(waiting)
