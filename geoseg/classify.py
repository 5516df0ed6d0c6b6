"""Classifying: probabilities of samples whose pixels lie on disk, some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.errors import InputError
from geoseg.maps import no_number
from geoseg.seriescard import SeriesCard
from geoseg.seriesset import Samples

if TYPE_CHECKING:
    from geoseg.network import Network

AT_ONCE = 4096
"""Samples whose probabilities, of each of their pixels, are held in memory."""


class Classifier:
    """A network that gives classes to samples, ready on its device."""

    def __init__(self, network: Network) -> None:
        # From here on torch is needed; whatever could be wrong without it has been said.
        from geoseg.device import choose
        from geoseg.learnseries import view_of

        running = network.running
        self._device = choose(running.device, running.precision)
        self._module = self._device.place(network.load())
        self._view = view_of(network.card)

    def probabilities(self, folder: Path, samples: Samples) -> Iterator[np.ndarray]:
        """Probabilities (n, K) float32 of the next samples, until all had their turn.

        folder: that holds their pixel arrays.
        """
        from geoseg.learnseries import predict_samples

        card = self._view.card
        for first in range(0, len(samples), AT_ONCE):
            found = predict_samples(
                self._module,
                folder,
                samples.take(np.arange(first, min(first + AT_ONCE, len(samples)))),
                self._view,
                device=self._device,
                each_pixel=card.unit == "pixel",
            )
            strange = ~np.isfinite(found).all(axis=1)
            if strange.any():
                raise InputError(no_number(f"sample {samples.id[first + int(strange.argmax())]}"))
            yield found


def check_unit(card: SeriesCard, remedy: str) -> None:
    """Raises: InputError if the network sees whole maps only."""
    if card.unit == "map":
        raise InputError(
            f"this network classifies maps (unit=map), not samples: {remedy}, or train one on a"
            " data set of unit=parcel or unit=pixel"
        )
