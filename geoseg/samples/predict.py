"""Predict the probabilities of samples in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geoseg.dataset.samples import Samples
from geoseg.models.device import Device
from geoseg.models.view import View
from geoseg.samples.series import InOrder, SeriesBatches

PREDICTED = 512
"""Samples that are predicted at a time."""


def predict_samples(
    network: nn.Module,
    folder: Path,
    samples: Samples,
    view: View,
    *,
    device: Device,
    scores: int = 0,
) -> np.ndarray:
    """Probabilities (N, K) float32 of samples whose pixels lie in a data set's folder.

    Of a network that classifies pixels: the mean over a sample's pixels that were ever observed.
    scores: numbers that the network adds to its logits; they come after the probabilities.
    """
    feed = SeriesBatches(folder, samples, np.zeros(len(samples)), view)
    parts, alive = [], []
    network.eval()
    with torch.inference_mode(), device.autocast():
        for given in _batches(feed, device):
            made = network(*given).float()
            logits, rest = made[:, : made.shape[1] - scores], made[:, made.shape[1] - scores :]
            parts.append(torch.cat([logits.softmax(dim=1), rest], dim=1).cpu().numpy())
            alive.append(given[1].flatten(1).any(dim=1).cpu().numpy())
    each, seen = np.concatenate(parts), np.concatenate(alive)
    # What a network says of nothing must not outvote the pixels that show something.
    shown = np.bincount(feed.owner, seen, minlength=len(samples)) > 0
    each[shown[feed.owner] & ~seen] = 0
    whole = np.zeros((len(samples), each.shape[1]), np.float32)
    np.add.at(whole, feed.owner, each)
    total = whole[:, : whole.shape[1] - scores].sum(axis=1, keepdims=True)
    return whole / np.maximum(total, 1e-12)


def sample_features(
    network: Callable[..., tuple[Tensor, Tensor]],
    folder: Path,
    samples: Samples,
    view: View,
    *,
    device: Device,
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) float32 of samples, or of each of their pixels, and the sample (n,) of each.

    network: gives logits and features.
    """
    feed = SeriesBatches(folder, samples, np.zeros(len(samples)), view)
    with torch.inference_mode(), device.autocast():
        parts = [network(*given)[1].float().cpu().numpy() for given in _batches(feed, device)]
    return np.concatenate(parts), feed.owner


def _batches(feed: SeriesBatches, device: Device) -> Iterator[list[Tensor]]:
    """Values, valid, days and shape of one batch after the other, on a device."""
    for given, _ in DataLoader(feed, batch_size=None, sampler=InOrder(len(feed), PREDICTED)):
        yield [part.to(device.torch) for part in given]
