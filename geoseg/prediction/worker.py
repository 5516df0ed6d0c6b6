"""Make the maps of scenes in one process."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn

from geoseg.maps.layers import DISAGREEMENT
from geoseg.models.device import choose, enough_memory
from geoseg.models.settings import OWN
from geoseg.outputs.threads import BackgroundWriter, prefetch, timed
from geoseg.prediction.backends.build import fits, prepare
from geoseg.prediction.backends.choice import Choice, choose_backend
from geoseg.prediction.backends.remembered import Remembered
from geoseg.prediction.backends.runner import TORCH
from geoseg.prediction.blend import Emit, Maker, run
from geoseg.prediction.forward import TURNS, Forward, Member, Scaling
from geoseg.prediction.layers import Ranker, RowMaker
from geoseg.prediction.network import TrainedNetwork
from geoseg.prediction.panels import Panel, SceneJob
from geoseg.prediction.reader import Transform, batches
from geoseg.prediction.writer.collector import Collector, Listener, join
from geoseg.scenes.dated import DatedScene

BATCH_PIXELS = {"cpu": 4 * 256**2, "cuda": 64 * 256**2, "mps": 8 * 256**2}
"""Pixels of a batch by default: enough to keep the device busy, little enough for its memory."""
WORTH_A_LOOK = 256
"""Windows from which on it may pay off to look for a faster backend than torch as it is."""
MOST_LOOKS = 64
"""Rows of windows at most that are read to find some data to measure backends on."""
READERS = {"cpu": 1, "cuda": 8, "mps": 4}
"""Threads that read by default: a GPU is faster than one core that decompresses."""


class Worker:
    """A network on its device, ready for jobs."""

    def __init__(self, network: TrainedNetwork) -> None:
        """Raises: InputError if there is no such device, or the weights are damaged."""
        running = network.running
        self.network = network
        self.device = choose(running.device, running.precision)
        self.modules = [
            self.device.place(member.for_windows(scored=member is network.knowing))
            for member in network.members
        ]
        self.transform = transform_of(network)
        self._forward: dict[tuple[str, int], Forward] = {}

    def decide(self, jobs: Sequence[SceneJob]) -> Choice:
        """The backend for these jobs: as the settings say, or the fastest safe one.

        Measured on the first windows if there are enough for that to pay off.
        """
        panels = [panel for job in jobs for panel in job.panels]
        # What all do is told by the first of those that others than torch can run.
        choosing = [number for number, module in enumerate(self.modules) if fits(module)]
        first_of = choosing[0] if choosing else 0
        module, member = self.modules[first_of], self.network.members[first_of]
        # Whether other code does the same for all windows, one window doesn't tell.
        known = bool(choosing) and all(m.card.model.name != OWN for m in self.network.members)
        wanted = self.network.running.wanted_backend or (None if known else TORCH)
        turns = len(TURNS[self.network.tta]) * len(choosing)
        windows = turns * sum(len(panel.rows) * len(panel.touching) for panel in panels)
        if wanted is not None or windows < WORTH_A_LOOK or self.network.wants_novelty:
            return Choice(wanted or TORCH)
        reading = batches(
            panels,
            batch_size=self.batch_size(panels[0].size),
            transform=self.transform,
            readers=self.readers,
        )
        with closing(reading):
            # Where there is nothing but nodata, nobody shall read it twice to find that out.
            looks = islice(reading, MOST_LOOKS)
            first = next((batch for batch in looks if batch.images is not None), None)
        if first is None or first.images is None:
            return Choice(TORCH)
        images, seen = first.on(self.device.torch)
        images = Scaling(member.card.statistics, self.device.torch)(images, seen)
        shape = (len(images), images.shape[1], images.shape[2], images.shape[3])
        before = Remembered.of(self.network.hash, self.device, shape)
        return choose_backend(module, self.device, images=images, windows=windows, known=before)

    def forward(self, backend: str, size: int) -> Forward:
        """What gives windows of that height and width their probabilities."""
        key = backend, size
        if key not in self._forward:
            shape = (self.batch_size(size), len(self.network.card.bands), size, size)
            members = []
            for member, module in zip(self.network.members, self.modules, strict=True):
                series = member.card.series is not None
                scaling = None if series else Scaling(member.card.statistics, self.device.torch)
                own = backend if fits(module) or not any(map(fits, self.modules)) else TORCH
                runner = prepare(module, self.device, backend=own, shape=shape)
                scores = member.score_planes if member is self.network.knowing else 0
                members.append(Member(runner, scaling, scores))
            running = self.network.running
            self._forward[key] = Forward(
                members,
                self.device,
                self.network.tta,
                self.network.smooth,
                spread=DISAGREEMENT in running.chosen_layers,
            )
        return self._forward[key]

    def batch_size(self, size: int) -> int:
        """Windows of that height and width per forward pass."""
        if self.transform is not None:
            return 1  # windows of several places have dates of their own
        kind = self.device.torch.type
        return self.network.running.batch_size or max(1, BATCH_PIXELS[kind] // size**2)

    @property
    def readers(self) -> int:
        return self.network.running.readers or READERS[self.device.torch.type]

    def do(
        self, jobs: Sequence[SceneJob], out: Path, listener: Listener, *, backend: str
    ) -> dict[str, float]:
        """Make maps. Returns: seconds spent, by what on.

        Raises: InputError if the device's memory is too small; what the network raises. Faults of
        scenes are told.
        """
        card = self.network.card
        for job in jobs:
            if job.joins and not job.panels:  # an earlier call, or other workers, did the rest
                join(out, job, listener, legend=card.legend, model=self.network.hash)
        panels = [panel for job in jobs for panel in job.panels]
        seconds: defaultdict[str, float] = defaultdict(float)
        if not panels:
            return seconds
        collector = Collector(out, jobs, listener, legend=card.legend, model=self.network.hash)
        with BackgroundWriter(collector.close) as behind:
            self.blend(
                panels,
                backend=backend,
                make=self.maker(),
                emit=lambda item: behind.do(lambda: collector.take(item)),
                wanted=collector.wants,
                seconds=seconds,
            )
        return dict(seconds) | {"write": collector.seconds}

    def maker(self) -> RowMaker:
        """What makes maps of blended probabilities, as the settings say."""
        network, thresholds, running = self.network, self.network.thresholds, self.network.running
        novelty = None if network.knowing is None else network.knowing.novelty
        made = RowMaker(
            len(network.card.legend),
            running.chosen_layers,
            thresholds=None if thresholds is None else thresholds.values,
            calibration=network.calibration,
            parts=len(TURNS[network.tta]) * len(network.members),
            ranker=None if novelty is None else Ranker(novelty, refuse=running.refuse_novel),
        )
        return made.to(self.device.torch)

    def blend(
        self,
        panels: Sequence[Panel],
        *,
        backend: str,
        make: Maker,
        emit: Emit,
        seconds: defaultdict[str, float],
        wanted: Callable[[Panel], bool] = lambda panel: True,
    ) -> None:
        """Let the network see panels; `emit` gets what `make` makes of their rows.

        wanted: whether a panel is still to be read. seconds: gets the time spent, by what on.
        Raises: InputError if the device's memory is too small; what the network raises.
        """
        size, begin = self.batch_size(panels[0].size), time.perf_counter()
        forward = self.forward(backend, panels[0].size)
        seconds["build"] = time.perf_counter() - begin
        reading = batches(
            panels,
            batch_size=size,
            transform=self.transform,
            pin=self.device.torch.type == "cuda",
            readers=self.readers,
            wanted=wanted,
        )
        with (
            enough_memory("predict.batch_size", size),
            closing(prefetch(timed(reading, seconds, "read"), depth=4)) as waiting,
        ):
            run(
                waiting,
                forward,
                make=make,
                emit=emit,
                margin=min(map(_margin, self.network.members, self.modules)),
                seconds=seconds,
            )


def _margin(member: TrainedNetwork, module: nn.Module) -> int:
    """Pixels along a window's edge that its neighbours know better; what other code calls so is
    something else."""
    return 0 if member.card.model.name == OWN else int(getattr(module, "margin", 0))


def transform_of(network: TrainedNetwork) -> Transform | None:
    """What a network for series gets of a window; those for images get pixels as they are."""
    if network.card.series is None:
        return None
    statistics = network.card.statistics

    def transform(panel: Panel, image: np.ndarray) -> np.ndarray:
        assert isinstance(panel.scene, DatedScene)
        return panel.scene.see(image, statistics)

    return transform
