"""The network alone: what prediction is measured against, on the very tensors that it forwards."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geoseg.geo.grid import Grid
from geoseg.geo.tiling import Tiling
from geoseg.models.device import Device, choose
from geoseg.prediction.backends import remembered
from geoseg.prediction.backends.build import prepare
from geoseg.prediction.backends.runner import TORCH, Runner
from geoseg.prediction.images import predict
from geoseg.prediction.network import TrainedNetwork


class Spy(nn.Module):
    """Keeps the first batch that a network gets."""

    def __init__(self, network: nn.Module, seen: list[Tensor]) -> None:
        super().__init__()
        self.network = network
        self.seen = seen

    def __deepcopy__(self, memo: dict[int, Any]) -> Spy:
        """Of a network whose weights are converted, a copy runs: it reports to the same place."""
        return Spy(copy.deepcopy(self.network, memo), self.seen)

    def forward(self, image: Tensor) -> Tensor:
        if not self.seen:
            self.seen.append(image.clone())
        logits: Tensor = self.network(image)
        return logits


def first_batch(network: TrainedNetwork, scenes: Any, out: Path, tiling: Tiling) -> Tensor:
    """The first batch of a prediction, as the network gets it; the maps are a warm-up."""
    spy = Spy(network.load(), [])
    running = replace(network.running, backend="torch", compile=False)
    spied = replace(network, source=spy, running=running)
    predict(spied, scenes, out, tiling=tiling).raise_if_incomplete()
    return spy.seen[0]


def device_of(network: TrainedNetwork) -> Device:
    return choose(network.running.device, network.running.precision)


def runner_of(network: TrainedNetwork, batch: Tensor) -> Runner:
    """The network as the backend of its settings runs it; torch where that is left open."""
    device = device_of(network)
    backend = network.running.wanted_backend or TORCH
    count, channels, height, width = batch.shape
    shape = count, channels, height, width
    return prepare(network.load(), device, backend=backend, shape=shape)


@torch.inference_mode()
def seconds_alone(run: Runner, batch: Tensor, windows: int) -> float:
    """Seconds that the forward passes of so many windows take: one batch, over and over."""
    passes = ceil(windows / len(batch))
    run(batch)
    wait_for(batch.device)
    start = time.perf_counter()
    for _ in range(passes):
        run(batch)
    wait_for(batch.device)
    return (time.perf_counter() - start) * windows / (passes * len(batch))


def wait_for(device: torch.device) -> None:
    """A GPU returns before it has computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def windows_of(grids: Iterable[Grid], tiling: Tiling) -> int:
    """Windows that scenes full of data take, if they lie apart."""
    return sum(len(tiling.starts(g.height)) * len(tiling.starts(g.width)) for g in grids)


def machine(device: Device) -> str:
    """The device by its name in the shop, and how it computes."""
    return f"{remembered.machine(device)} ({device})"
