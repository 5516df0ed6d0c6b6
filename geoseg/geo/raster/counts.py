"""Count the values of rasters of few classes faster than numpy's histogram does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

CHUNK = 1 << 17
"""Pixels that are worked on at once: they stay in the processor's cache, and memory small."""
SHORT = 8
"""Pixels of a mean run below which pixels are counted one by one."""
SLAB = 1 << 12
"""Columns that are counted at once by parts."""
CODES = 256
"""Values of a byte."""


def counts(values: np.ndarray, size: int = CODES) -> np.ndarray:
    """How often each of the values 0..size-1 occurs (size,) int64, in an array of any shape."""
    flat = np.ascontiguousarray(values).ravel()
    total = np.zeros(size, np.int64)
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        ends = np.flatnonzero(part[1:] != part[:-1])
        if len(ends) * SHORT > part.size:
            total += np.bincount(part, minlength=size)
        else:
            lengths, held = _runs(part, ends)
            total += np.bincount(held, weights=lengths, minlength=size).astype(np.int64)
    return total


def counts_by_columns(values: np.ndarray, width: int) -> np.ndarray:
    """As `counts`, for parts of an array (h, W) uint8 that are `width` columns wide, the last maybe
    less.

    Returns: (parts, 256) int64.
    """
    # Of a few columns at a time the table of counts is small, however wide the array is.
    step = max(1, SLAB // width) * width
    slabs = [values[:, left : left + step] for left in range(0, values.shape[1], step)]
    return np.concatenate([_by_columns(slab, width) for slab in slabs])


def _by_columns(values: np.ndarray, width: int) -> np.ndarray:
    across = values.shape[1]
    total = np.zeros(-(-across // width) * CODES, np.int64)
    rows = max(1, CHUNK // across)
    first, last = _places(rows, across, width)
    for top in range(0, len(values), rows):
        part = np.ascontiguousarray(values[top : top + rows]).ravel()
        differs = part[1:] != part[:-1]
        differs[last[: np.searchsorted(last, differs.size)]] = True
        ends = np.flatnonzero(differs)
        if len(ends) * SHORT > part.size:
            total += np.bincount(first[: part.size] + part, minlength=total.size)
            continue
        lengths, held = _runs(part, ends)
        keys = first[np.append(ends, part.size - 1)] + held
        total += np.bincount(keys, weights=lengths, minlength=total.size).astype(np.int64)
    return total.reshape(-1, CODES)


def _runs(part: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and values (N,) of what is alike beside each other, by its ends but the last."""
    places = np.append(ends, part.size - 1)
    lengths = places + 1
    lengths[1:] -= lengths[:-1].copy()
    return lengths, part[places]


@lru_cache(maxsize=4)
def _places(rows: int, across: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Of pixels in rows: the first number of the part that each lies in, and the last pixels of a
    row of a part."""
    columns = np.arange(across)
    first = np.tile(columns // width * CODES, rows)
    is_last = np.tile((columns % width == width - 1) | (columns == across - 1), rows)
    return first, np.flatnonzero(is_last)
