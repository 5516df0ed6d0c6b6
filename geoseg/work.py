"""Work: one process makes maps; it reads ahead and writes behind, in threads of their own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from torch import nn

from geoseg.blend import run
from geoseg.collect import Collector, Told, join
from geoseg.datedscene import DatedScene
from geoseg.device import Device, choose
from geoseg.forward import Forward, Member, Scaling
from geoseg.network import Network
from geoseg.panels import Job, Panel
from geoseg.samples.windows import See, batches
from geoseg.threads import Behind, ahead, timed

BATCH_PIXELS = {"cpu": 4 * 256**2, "cuda": 64 * 256**2, "mps": 8 * 256**2}
"""Pixels of a batch by default: enough to keep the device busy, little enough for its memory."""
READERS = {"cpu": 1, "cuda": 8, "mps": 4}
"""Threads that read by default: a GPU is faster than one core that decompresses."""


class Worker:
    """A network on its device, ready for jobs."""

    def __init__(self, network: Network) -> None:
        """Raises: InputError if there is no such device, or the weights are damaged."""
        running = network.running
        self.network = network
        self.device = choose(running.device, running.precision)
        self.modules = [self.device.place(member.for_windows()) for member in network.members]
        self.see = see_of(network)

    def batch_size(self, size: int) -> int:
        """Windows of that height and width per forward pass."""
        if self.see is not None:
            return 1  # windows of several places have dates of their own
        kind = self.device.torch.type
        return self.network.running.batch_size or max(1, BATCH_PIXELS[kind] // size**2)

    @property
    def readers(self) -> int:
        return self.network.running.readers or READERS[self.device.torch.type]

    def do(self, jobs: Sequence[Job], out: Path, told: Told) -> dict[str, float]:
        """Make maps. Returns: seconds spent, by what on.

        Raises: what the network raises; faults of scenes are told.
        """
        card = self.network.card
        for job in jobs:
            if job.joins and not job.panels:  # an earlier call was stopped just before
                begin = time.perf_counter()
                join(out, job, legend=card.legend, model=self.network.hash)
                told.done(job.scene, time.perf_counter() - begin)
        panels = [panel for job in jobs for panel in job.panels]
        seconds: defaultdict[str, float] = defaultdict(float)
        if not panels:
            return seconds
        collector = Collector(out, jobs, told, legend=card.legend, model=self.network.hash)
        reading = batches(
            panels,
            batch_size=self.batch_size(panels[0].size),
            see=self.see,
            pin=self.device.torch.type == "cuda",
            readers=self.readers,
            wanted=collector.wants,
        )
        with (
            Behind(collector.close) as behind,
            closing(ahead(timed(reading, seconds, "read"))) as waiting,
        ):
            run(
                waiting,
                forward_of(self.network, self.modules, self.device),
                classes=len(card.legend),
                device=self.device,
                emit=lambda item: behind.do(lambda: collector.take(item)),
                seconds=seconds,
            )
        return dict(seconds) | {"write": collector.seconds}


def forward_of(network: Network, modules: Sequence[nn.Module], device: Device) -> Forward:
    """What gives windows their probabilities."""
    members = []
    for member, module in zip(network.members, modules, strict=True):
        series = member.card.series is not None
        scaling = None if series else Scaling(member.card.statistics, device.torch)
        members.append(Member(module, scaling))
    return Forward(members, device, network.tta)


def see_of(network: Network) -> See | None:
    """What a network for series gets of a window; those for images get pixels as they are."""
    if network.card.series is None:
        return None
    statistics = network.card.statistics

    def see(panel: Panel, image: np.ndarray) -> np.ndarray:
        assert isinstance(panel.scene, DatedScene)
        return panel.scene.see(image, statistics)

    return see
