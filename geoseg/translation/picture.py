"""Show windows of scenes before and after their translation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from geoseg.geo import raster
from geoseg.outputs.files import replacing
from geoseg.scenes.bands import shown_bands
from geoseg.translation.model_file import TranslationCard
from geoseg.translation.networks import Generator

MOST = 6
"""Windows of each row."""
GAP = 4
"""Pixels of white between two."""


@torch.no_grad()
def write(
    path: Path, here: np.ndarray, there: np.ndarray, network: Generator, card: TranslationCard
) -> None:
    """Write a PNG: windows of here, the same translated, and others of there for comparison.

    here, there: (N, C, H, W), scaled.
    """
    device = next(network.parameters()).device
    chosen = here[:MOST]
    made = network(torch.from_numpy(chosen).to(device)).cpu().numpy()
    places = [card.bands.index(name) for name in shown_bands(card.bands)]
    rows = [_row(part[:, places]) for part in (chosen, made, there[: len(chosen)])]
    width = max(row.shape[1] for row in rows)
    whole = [np.pad(r, ((0, GAP), (0, width - r.shape[1]), (0, 0)), constant_values=255)
             for r in rows]  # fmt: skip
    picture = np.concatenate(whole)
    with replacing(path) as temporary:
        temporary.write_bytes(raster.png(np.ascontiguousarray(picture.transpose(2, 0, 1))))


def _row(windows: np.ndarray) -> np.ndarray:
    """Windows side by side (H, W, 3), each band from two deviations below its mean to two above."""
    bytes_ = (np.clip(windows / 4 + 0.5, 0, 1) * 255).astype(np.uint8)
    if bytes_.shape[1] == 1:
        bytes_ = np.repeat(bytes_, 3, axis=1)
    spaced = np.pad(bytes_, ((0, 0), (0, 0), (0, 0), (0, GAP)), constant_values=255)
    return np.concatenate(list(spaced.transpose(0, 2, 3, 1)), axis=1)
