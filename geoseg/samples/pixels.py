"""Turn the pixels of tiles into rows of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from geoseg.dataset.tiles import Dataset, Tile
from geoseg.geo.grid import Window
from geoseg.models.networks.forest import ImageForest
from geoseg.samples.tiles import OpenScenes
from geoseg.scenes.bands import scale

MOST_TILES = 1000
"""Tiles that are read; of more there are all that hold a rare class, and some of the others."""


def pixel_rows(
    dataset: Dataset, tiles: Sequence[Tile], forest: ImageForest, *, most: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, F) float32 and class indices (N,) of about `most` labelled pixels, and counts.

    forest: that makes the features. Rare classes are there more often than they are in the tiles;
    the counts (K,) are those of all labelled pixels of the tiles. Of other splits nothing is seen,
    neither pixels nor labels.
    """
    random = np.random.default_rng(seed)
    counts = np.array([tile.counts for tile in tiles], np.int64)
    read = some_tiles(counts, random)
    rows, targets = [], []
    scenes = OpenScenes(dataset)
    for tile, wanted in zip(
        (tiles[number] for number in read), shared_out(counts[read], most), strict=True
    ):
        if not wanted.any():
            continue
        features, target = _look(dataset, scenes, tile, forest)
        for index in np.flatnonzero(wanted):
            places = np.flatnonzero(target == index)
            drawn = random.choice(places, min(wanted[index], len(places)), replace=False)
            rows.append(features[:, drawn].T)
            targets.append(target[drawn])
    return np.concatenate(rows), np.concatenate(targets).astype(np.int64), counts.sum(axis=0)


def some_tiles(
    counts: np.ndarray, random: np.random.Generator, most: int = MOST_TILES
) -> list[int]:
    """Numbers of the tiles to read, in their order: all, or for each class its share of `most`.

    counts: labelled pixels (tiles, K).
    """
    if len(counts) <= most:
        return list(range(len(counts)))
    order = random.permutation(len(counts))
    taken: dict[int, None] = {}
    for index in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        holders = [int(n) for n in order if counts[n, index]]
        taken |= dict.fromkeys(holders[: most // counts.shape[1]])
    rest = (int(n) for n in order if int(n) not in taken)
    taken |= dict.fromkeys(list(rest)[: most - len(taken)])
    return sorted(taken)


def quotas(totals: np.ndarray, most: int) -> np.ndarray:
    """How many of each class (K,) to take: in proportion to the root of how many there are.

    What a class does not have goes to the others.
    """
    taken = np.zeros(len(totals))
    for _ in range(len(totals) + 1):
        free = taken < totals
        left = most - taken.sum()
        if left < 1 or not free.any():
            break
        chances = np.sqrt(totals) * free
        taken = np.minimum(taken + left * chances / chances.sum(), totals)
    return taken


def shared_out(counts: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """For each tile how many pixels of each class (K,) to take, of labelled pixels (tiles, K)."""
    totals = counts.sum(axis=0)
    share = quotas(totals, most) / np.maximum(totals, 1)
    # Of the running sums, so that what is rounded off in one tile is made good in the next.
    edges = np.rint(np.cumsum(counts, axis=0) * share).astype(np.int64)
    yield from np.diff(edges, axis=0, prepend=0)


def _look(
    dataset: Dataset, scenes: OpenScenes, tile: Tile, forest: ImageForest
) -> tuple[np.ndarray, np.ndarray]:
    """Features (F, n) and target indices (n,) of a tile's valid pixels."""
    inner, reach = tile.window, forest.margin
    wide = Window(
        inner.top - reach, inner.left - reach, inner.height + 2 * reach, inner.width + 2 * reach
    )
    outer = wide.intersect(tile.home)
    assert outer is not None
    image, valid, target = scenes.read(tile.scene, outer)
    scaled = torch.from_numpy(scale(image, valid, dataset.statistics))
    part = inner.within(outer)
    features = forest.features(scaled[None])[0].numpy()[(slice(None), *part)]
    known = valid[part]
    return features[:, known], target[part][known]
