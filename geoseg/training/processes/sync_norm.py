"""Compute batch norm over the batch of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoseg.errors import InputError
from geoseg.models.networks.masked import BatchNorm
from geoseg.models.networks.smp import LoneBatchNorm2d
from geoseg.training.processes.ranks import Total


class SyncedBatchNorm(_BatchNorm):
    """torch's own, which is for GPUs, and the same on CPUs in plain operations.

    Not of torch's class: DistributedDataParallel refuses that one on CPUs, used or not.
    """

    process_group = None  # all processes
    _check_input_dim = nn.SyncBatchNorm._check_input_dim
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        if input.device.type != "cpu":
            return nn.SyncBatchNorm.forward(self, input)  # type: ignore[arg-type]
        x = input.float()
        rest = [d for d in range(x.ndim) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
        values = x.new_tensor([x.numel() // x.shape[1]])
        *_, count = sums = _Sum.apply(torch.cat([x.sum(rest), values]))
        mean = sums[:-1] / count
        apart = x - mean.view(shape)
        variance = _Sum.apply(apart.square().sum(rest)) / count
        self._remember(mean.detach(), variance.detach(), count.item())
        scaled = apart * (variance + self.eps).rsqrt().view(shape)
        return (scaled * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Move the running statistics, the variance being that of a sample (n - 1)."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


class SyncedBatchNormAct(SyncedBatchNorm):
    """The same with what timm's networks put behind it."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        x: Tensor = self.act(self.drop(super().forward(input)))
        return x


SYNCED = {
    nn.BatchNorm1d: SyncedBatchNorm,
    nn.BatchNorm2d: SyncedBatchNorm,
    LoneBatchNorm2d: SyncedBatchNorm,
    BatchNorm: SyncedBatchNorm,
    BatchNormAct2d: SyncedBatchNormAct,
}


def synchronise(network: nn.Module) -> None:
    """Turn the batch norms of a network, in place, into those that know of all processes.

    Raises: InputError for a kind of norm that isn't known.
    """
    for module in network.modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, SyncedBatchNorm):
            continue
        plain = module.affine and module.track_running_stats and module.momentum is not None
        if type(module) not in SYNCED or not plain:
            raise InputError(
                f"fit.devices: the network's {type(module).__name__} can't be synchronised over"
                " several processes; train on one device, or take another encoder, such as"
                " resnet18, or in an own network plain nn.BatchNorm1d or nn.BatchNorm2d"
            )
        module.__class__ = SYNCED[type(module)]


class _Sum(Total):
    """Sum over the processes, and of its gradients over all that it is used in."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total
