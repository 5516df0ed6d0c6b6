"""Draw a part of the samples by seed."""

from __future__ import annotations

import numpy as np

Draw = tuple[int, int]
"""Number of a sample, and the seed of all that is random about this one draw of it."""


def part_of(count: int, share: float, seed: int) -> np.ndarray:
    """Numbers of a random share of so many samples, sorted; larger shares hold the smaller ones."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: max(1, round(share * count))])
