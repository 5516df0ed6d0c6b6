"""Collect probabilities of labelled samples of series."""

from __future__ import annotations

import numpy as np

from geoseg.calibration.fit import Pixels
from geoseg.dataset.samples import SeriesDataset
from geoseg.errors import InputError
from geoseg.parcels.classify import Classifier
from geoseg.prediction.network import TrainedNetwork
from geoseg.samples.fitted import check_samples


def collect_samples(network: TrainedNetwork, dataset: SeriesDataset, split: str) -> Pixels:
    """Probabilities and classes of the samples of a split; a block is a group of the data set.

    Raises: InputError if there are none, or they are not what the network knows.
    """
    check_samples(dataset, network.card, "calibrate on samples")
    samples = dataset.samples(split)
    if not len(samples):
        raise InputError(f"split={split}: {dataset.folder} has no samples of it; choose another")
    network.check_of_samples("samples of series")
    found = np.concatenate(list(Classifier(network).probabilities(dataset.folder, samples)))
    block = np.unique(samples.group.astype(str), return_inverse=True)[1]
    tile = np.unique(samples.tile.astype(str), return_inverse=True)[1]
    group = tile if tile.max() else block
    truth = dataset.legend.encode(samples.code.astype(np.uint8)).astype(np.int64)
    return Pixels(found, truth, block.astype(np.int64), group.astype(np.int64))
