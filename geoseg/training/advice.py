"""Compare test-time augmentation and smoothing on val tiles: take one, recommend the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geoseg.dataset.tiles import Dataset
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo.legend import IGNORED
from geoseg.models import checkpoint
from geoseg.models.device import Device
from geoseg.prediction.forward import TURNS, Forward, Member, smoothed
from geoseg.samples.tiles import ValTiles
from geoseg.training import refit

TTA = ("none", "flips")
SMOOTH = (0, 3, 5, 9)
"""Sides in pixels of the squares over which probabilities are averaged."""
MOST = 16
"""Val tiles that are looked at, evenly spread: the comparison passes each of them five times."""
GAIN = 0.003
"""mIoU from which an option is worth its line."""
TILES = 3
"""Val tiles from which on they decide how predictions are smoothed; fewer say little of others."""
Option = tuple[str, int]
"""Test-time augmentation, and side of the smoothing; USUAL is how predict does it unasked."""
USUAL: Option = ("none", 0)


def on_val(dataset: Dataset, folder: Path, named: Any, device: Device) -> str:
    """What gains in prediction, by the best weights of a run on val; "" if nothing does.

    What costs nothing goes into the model card of these weights, and predictions heed it.
    named: as of `checkpoint.build`.
    """
    val = ValTiles(dataset)
    if not len(val):
        return ""
    weights = refit.judged_weights(folder)
    best, card = checkpoint.load(weights, named)
    miou = compare(device.place(best), val, dataset.legend.names, device)
    side = smoothing(miou) if len(val) >= TILES else 0
    if side != card.smooth:
        checkpoint.copy(weights, weights, replace(card, smooth=side))
    return advise(miou, str(folder), smooth=side)


@torch.inference_mode()
def compare(
    network: nn.Module, tiles: ValTiles, names: list[str], device: Device
) -> dict[Option, float]:
    """The mIoU of a network on val tiles, by each way of predicting. network: on the device."""
    spread = np.linspace(0, len(tiles) - 1, min(len(tiles), MOST)).round().astype(int)
    batches: Iterable[tuple[Tensor, Tensor]] = DataLoader(tiles, 1, sampler=spread.tolist())
    size = (len(names), len(names))
    counts = {(tta, side): np.zeros(size, np.int64) for tta in TTA for side in SMOOTH}
    forward = {tta: Forward([Member(network, None)], device, tta) for tta in TTA}
    network.eval()
    with device.autocast():
        for image, target in batches:
            given = image.to(device.torch).contiguous(memory_format=torch.channels_last)
            truth = target.numpy()
            known = truth != IGNORED
            for tta in TTA:
                mean = forward[tta].mean(given, None)
                for side in SMOOTH:
                    found = smoothed(mean, None, side).argmax(dim=1).cpu().numpy()
                    counts[tta, side] += confusion(truth[known], found[known], len(names))
    return {option: Scores.of(matrix, names).miou for option, matrix in counts.items()}


def smoothing(miou: dict[Option, float]) -> int:
    """The smallest side by which predictions gain on val, without any turns, nearly as much as by
    the best one; 0 if none is worth it."""
    most = max(miou["none", side] for side in SMOOTH)
    if not most - miou[USUAL] >= GAIN:  # nor where val has no label, of which the mIoU is NaN
        return 0
    return next(side for side in SMOOTH[1:] if miou["none", side] > most - GAIN)


def advise(miou: dict[Option, float], learnt: str, *, smooth: int) -> str:
    """What gains on val, with its price, as lines for people; "" if nothing does.

    learnt: the weights, to be named in the command. smooth: the side that predictions take.
    """
    lines, side = [], smoothing(miou)
    gain = f"{miou['none', side] - miou[USUAL]:+.3f} mIoU"
    if smooth:
        lines.append(
            f"predictions average probabilities over {side} × {side} pixels, as on val that gains"
            f" {gain} (predict.smooth=0: not)"
        )
    elif side:
        lines.append(
            f"on val, predict.smooth={side} gains {gain}, at no cost, but {TILES} val tiles are the"
            f" fewest to decide by (python -m geoseg.predict checkpoint={learnt} …)"
        )
    best = max(SMOOTH, key=lambda side: miou["flips", side])
    if miou["flips", best] - miou["none", side] >= GAIN:
        keys = "tta=flips" + ("" if best == side else f" predict.smooth={best}")
        lines.append(
            f"on val, {keys} gains {miou['flips', best] - miou['none', side]:+.3f} mIoU more,"
            f" {len(TURNS['flips'])} × the time (python -m geoseg.predict checkpoint={learnt} …)"
        )
    return "\n".join(lines)
