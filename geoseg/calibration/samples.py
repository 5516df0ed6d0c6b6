"""Collect probabilities of labelled samples of series."""

from __future__ import annotations

import numpy as np

from geoseg.calibration.fit import Pixels
from geoseg.dataset.samples import Samples, SeriesDataset, load_pixels
from geoseg.errors import InputError
from geoseg.parcels.classify import Classifier
from geoseg.prediction.network import TrainedNetwork
from geoseg.samples.fitted import check_samples
from geoseg.scenes.stack import observed


def collect_samples(network: TrainedNetwork, dataset: SeriesDataset, split: str) -> Pixels:
    """Probabilities and classes of the samples of a split; a block is a group of the data set.

    Of a network that sees each pixel by itself they are of all pixels, as in its maps: the mean of
    a polygon's is surer, and more often right, than they are.
    Raises: InputError if there are none, or they are not what the network knows.
    """
    check_samples(dataset, network.card, "calibrate on samples")
    samples = dataset.samples(split)
    if not len(samples):
        raise InputError(f"split={split}: {dataset.folder} has no samples of it; choose another")
    network.check_of_samples("samples of series")
    if dataset.unit == "pixel":
        samples = samples.each_pixel()
        samples = samples.take(_seen(dataset, samples))
        if not len(samples):
            raise InputError(
                f"split={split}: no pixel of its samples in {dataset.folder} was observed on any"
                " date; choose another"
            )
    found = np.concatenate(list(Classifier(network).probabilities(dataset.folder, samples)))
    block = np.unique(samples.group.astype(str), return_inverse=True)[1]
    tile = np.unique(samples.tile.astype(str), return_inverse=True)[1]
    group = tile if tile.max() else block
    truth = dataset.legend.encode(samples.code.astype(np.uint8)).astype(np.int64)
    return Pixels(found, truth, block.astype(np.int64), group.astype(np.int64))


def _seen(dataset: SeriesDataset, samples: Samples) -> np.ndarray:
    """Which samples of one pixel (N,) were observed on any date."""
    seen = np.zeros(len(samples), bool)
    for tile in np.unique(samples.tile.astype(str)):
        mine = np.flatnonzero(samples.tile == tile)
        pixels, _ = load_pixels(dataset.folder, tile)
        seen[mine] = observed(pixels[samples.first[mine]]).any(axis=(1, 2))
    return seen
