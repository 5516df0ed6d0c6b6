"""Tell for which pixels around it a correction speaks, and how much."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geoseg.geo.legend import IGNORED
from geoseg.refinement.windows import distance


def fading(corrected: np.ndarray, fade: int) -> Tensor:
    """Share (H, W) of what learning changes that counts, by the distance to the corrections.

    What tells a corrected object from its surroundings is told of all that looks alike, and what
    looks alike often touches: without this a click can take the neighbours with it.
    """
    if not fade:
        return torch.ones(corrected.shape)
    away = distance(corrected != IGNORED).astype(np.float32)
    return torch.from_numpy(np.exp(-((away / fade) ** 2) / 2))


def spread(corrected: np.ndarray, index: np.ndarray, radius: int) -> np.ndarray:
    """Corrections (H, W) with the pixels around them for which the network said the same.

    A click in a wrong object tells of that object, not of what lies beside it. index: (H, W) what
    the network said. Pixels that corrections of two classes claim stay open.
    """
    from scipy.ndimage import binary_dilation  # half as slow as all of geoseg

    made = corrected.copy()
    if not radius:
        return made
    side = np.arange(-radius, radius + 1)
    disk = side[:, None] ** 2 + side**2 <= radius**2
    claims = np.zeros(corrected.shape, np.uint8)
    for code in np.unique(corrected[corrected != IGNORED]).tolist():
        grown = np.zeros(corrected.shape, bool)
        for said in np.unique(index[corrected == code]).tolist():
            seeds = (corrected == code) & (index == said)
            grown |= binary_dilation(seeds, disk) & (index == said)
        grown &= corrected == IGNORED
        claims += grown
        made[grown] = code
    made[(claims > 1) & (corrected == IGNORED)] = IGNORED
    return made


def touched(before: np.ndarray, after: np.ndarray, corrected: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool of another class than before that are one object with a correction.

    before, after: (H, W) indices of classes. An object: pixels that got the class of the correction
    and touch each other, at corners too.
    """
    from scipy.ndimage import label  # half as slow as all of geoseg

    kept = np.zeros(before.shape, bool)
    for code in np.unique(corrected[corrected != IGNORED]).tolist():
        parts, _ = label((before != after) & (after == code), np.ones((3, 3)))
        meant = np.unique(parts[corrected == code])
        kept |= np.isin(parts, meant[meant > 0])
    return kept


def weights(target: np.ndarray) -> np.ndarray:
    """Weights (H, W) float32 that add up to 1: each connected correction counts the same."""
    from scipy.ndimage import label  # half as slow as all of geoseg

    weights = np.zeros(target.shape, np.float32)
    count = 0
    for code in np.unique(target[target != IGNORED]).tolist():
        parts, found = label(target == code)
        sizes = np.bincount(parts.ravel())
        count += found
        inside = parts > 0
        weights[inside] = 1 / sizes[parts[inside]]
    return weights / max(1, count)
