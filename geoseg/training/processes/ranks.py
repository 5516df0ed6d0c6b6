"""Share work and counts among the processes of a training."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from geoseg.errors import InputError
from geoseg.models.device import Device, choose
from geoseg.training.processes import launch
from geoseg.training.settings import TrainingSettings

QUIET = ("lightning_fabric.utilities.rank_zero", "lightning_fabric.utilities.distributed")


@dataclass(frozen=True)
class Ranks:
    """Which process of how many this is; alone, what it has is all there is."""

    number: int = 0
    count: int = 1
    device: str = "cpu"
    """Of the tensors that they exchange."""

    @classmethod
    def of(cls, fabric: Fabric) -> Ranks:
        return cls(fabric.global_rank, fabric.world_size, str(fabric.device))

    def __str__(self) -> str:
        """How many there are, to be said behind a device's name."""
        return f" × {self.count}" if self.count > 1 else ""

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.number == 0

    def share(self, batch: int) -> int:
        """A process's part of a batch. Raises: InputError if parts would differ in size."""
        if batch % self.count:
            below = batch // self.count * self.count
            near = f"{below} or {below + self.count}" if below else str(self.count)
            raise InputError(
                f"fit.batch_size={batch}: does not divide among {self.count} processes; take {near}"
            )
        return batch // self.count

    def total(self, part: Tensor) -> Tensor:
        """Sum over the processes, the same on each.

        The gradient is that of the own part, as if the other parts were constants: the gradients
        of all processes add up to that of the whole.
        """
        return part if self.count == 1 else Total.apply(part)

    def everywhere(self, part: Tensor) -> Tensor:
        """The parts (count, *shape) of all processes, of one shape, without gradient."""
        if self.count == 1:
            return part.detach().unsqueeze(0)
        parts = [torch.empty_like(part) for _ in range(self.count)]
        dist.all_gather(parts, part.detach().contiguous())
        return torch.stack(parts)

    def of_first(self, value: float) -> float:
        """The value that the first process has."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def leave(self) -> None:
        """End the exchange: what the first process does from here on, it does alone."""
        if self.count > 1:
            dist.destroy_process_group()


ALONE = Ranks()


class Total(torch.autograd.Function):
    """Sum over the processes; see `Ranks.total`."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def start(device: Device) -> Fabric:
    """Fabric of this process, connected with the other processes of the training, if any.

    Raises: InputError if there are fewer devices on this machine than processes.
    """
    # Fabric says on stderr what the opening lines of a training say better.
    for logger in QUIET:
        logging.getLogger(logger).setLevel(logging.WARNING)
    here = launch.place()
    precision, kind = device.fabric_precision, device.accelerator
    if here.count == 1:
        return Fabric(accelerator=kind, devices=1, precision=precision)
    if kind == "mps":
        raise InputError("fit.devices: on Apple's GPU there is but one; take fit.device=cpu")
    if kind == "cuda" and here.here > torch.cuda.device_count():
        raise InputError(
            f"fit.devices={here.here}: torch sees {torch.cuda.device_count()} cuda devices here"
        )
    # Some networks have layers that they don't use (PSPNet the last of its encoder), and in a part
    # of a batch nothing may be valid.
    strategy = DDPStrategy(
        cluster_environment=TorchElasticEnvironment(), find_unused_parameters=True
    )
    fabric = Fabric(
        accelerator=kind,
        devices=here.here,
        num_nodes=here.count // here.here,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric


@dataclass(frozen=True)
class Session:
    """What a training is told, and where it runs."""

    study: TrainingSettings
    """With its batch size."""
    device: Device
    fabric: Fabric

    @property
    def ranks(self) -> Ranks:
        return Ranks.of(self.fabric)

    def __str__(self) -> str:
        """The device, and how many processes train on one like it."""
        return f"{self.device}{self.ranks}"


def ready(study: TrainingSettings, batch_size: int, *, on_gpu: int | None = None) -> Session:
    """Where a training runs, and its settings with this batch size if they say none.

    on_gpu: batch size of a GPU, if it is another. Raises: InputError; as `start`.
    """
    device = choose(study.fit.device, study.fit.precision)
    fabric = start(device)
    usual = batch_size if on_gpu is None or device.accelerator == "cpu" else on_gpu
    fit = replace(study.fit, batch_size=study.fit.batch_size or usual)
    return Session(replace(study, fit=fit), device, fabric)
