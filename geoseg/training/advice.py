"""Compare test-time augmentation and smoothing on val tiles, and recommend one."""

from __future__ import annotations

from collections.abc import Iterable
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
Option = tuple[str, int]
"""Test-time augmentation, and side of the smoothing; USUAL is how predict does it unasked."""
USUAL: Option = ("none", 0)


def on_val(dataset: Dataset, folder: Path, named: Any, device: Device) -> str:
    """What would gain in prediction, by the best weights of a run on val; "" if nothing does.

    named: as of `checkpoint.build`.
    """
    val = ValTiles(dataset)
    if not len(val):
        return ""
    best, _ = checkpoint.load(refit.judged_weights(folder), named)
    miou = compare(device.place(best), val, dataset.legend.names, device)
    return advise(miou, str(folder))


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


def advise(miou: dict[Option, float], learnt: str) -> str:
    """What gains on val, with its price, as a line for people; "" if nothing does.

    learnt: the weights, to be named in the command.
    """
    best = {tta: max((o for o in miou if o[0] == tta), key=lambda o: miou[o]) for tta in TTA}
    worth, floor = [], miou[USUAL]
    for tta in TTA:  # the dearer one must beat the cheaper one
        gain = miou[best[tta]] - floor
        if best[tta] != USUAL and gain >= GAIN:
            keys = _keys(best[tta])
            price = f"{len(TURNS[tta])} × the time" if tta != "none" else "at no cost"
            worth.append(f"{keys} gains {miou[best[tta]] - miou[USUAL]:+.3f} mIoU, {price}")
            floor = miou[best[tta]]
    if not worth:
        return ""
    return f"on val, {'; '.join(worth)} (python -m geoseg.predict checkpoint={learnt} …)"


def _keys(option: Option) -> str:
    tta, side = option
    keys = [f"tta={tta}"] if tta != "none" else []
    return " ".join(keys + ([f"predict.smooth={side}"] if side else []))
