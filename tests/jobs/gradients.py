"""What each of two processes does in test_ddp: exchanges that need no training."""

import torch
from torch import nn

from geoseg.geo.legend import IGNORED
from geoseg.models.device import choose
from geoseg.training.loop import Clock
from geoseg.training.objectives.loss import build
from geoseg.training.objectives.settings import Loss
from geoseg.training.processes.ranks import ALONE, Ranks, start
from geoseg.training.processes.sync_norm import synchronise

LOSSES = {
    "cross_entropy": Loss(terms={"cross_entropy": 1.0}, label_smoothing=0.1),
    "focal": Loss(terms={"focal": 1.0}),
    "dice": Loss(terms={"dice": 1.0}),
    "tversky": Loss(terms={"tversky": 1.0}),
    "lovasz": Loss(terms={"lovasz": 1.0}),
    "bootstrapped_hard": Loss(terms={"bootstrapped": 1.0}),
    "bootstrapped_soft": Loss(terms={"bootstrapped": 1.0}, bootstrap_target="soft"),
    "symmetric": Loss(terms={"symmetric": 1.0}),
}
NAMES = ["a", "b", "c"]


def connected():
    return Ranks.of(start(choose("cpu", "32")))


def batch():
    """Four images; those of the second process have few labels, and none of the last class."""
    torch.manual_seed(0)
    image, target = torch.randn(4, 2, 6, 6), torch.randint(0, 3, (4, 6, 6))
    target[2:][target[2:] == 2] = IGNORED
    target[3, 1:] = IGNORED
    return image, target


def networks():
    """A plain network, and one with batch norm of images, vectors and a lone value."""
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 3, padding=2))
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(5), nn.Flatten())
    vectors = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Unflatten(1, (5, 1, 1)))
    norm = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(),
        Beside(nn.Sequential(pooled, vectors)), nn.Conv2d(5, 3, 1),
    )  # fmt: skip
    return {"plain": plain, "norm": norm}


class Beside(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def learnt(network, loss, image, target, ranks):
    """Loss, gradients and buffers after one pass, as DistributedDataParallel would have them."""
    criterion = build(loss, [5.0, 2.0, 1.0], names=NAMES, ranks=ranks)
    network.zero_grad()
    value = criterion(network(image), target)
    (value * ranks.count).backward()
    grads = {n: ranks.total(p.grad) / ranks.count for n, p in network.named_parameters()}
    buffers = {n: b.clone().double() for n, b in network.named_buffers()}
    return {"loss": value.detach()} | grads | buffers


def gradients() -> str:
    """The names of what differs from one process with the whole batch."""
    ranks = connected()
    image, target = batch()
    own = slice(2 * ranks.number, 2 * ranks.number + 2)
    wrong = []
    for case, loss in LOSSES.items():
        for kind in networks():
            whole = learnt(networks()[kind], loss, image, target, ALONE)
            network = networks()[kind]
            synchronise(network)
            parted = learnt(network, loss, image[own], target[own], ranks)
            wrong += [
                f"{case} {kind} {name}: {parted[name]} {whole[name]}"
                for name in whole
                if not torch.allclose(parted[name], whole[name], rtol=1e-4, atol=1e-6)
            ]
    wrong += same_everywhere(ranks)
    return "\n".join(wrong)


def same_everywhere(ranks):
    """What is not as it should be of the values that decisions rest on."""
    wrong = []
    image, target = batch()
    if ranks.number == 1:
        image[0] = float("nan")
    for case, loss in LOSSES.items():
        value = build(loss, [1.0, 1.0, 1.0], names=NAMES, ranks=ranks)(
            networks()["plain"](image[:2]), target[:2]
        )
        both = ranks.everywhere(value)
        if case != "lovasz" and not both.isnan().all():
            wrong.append(f"{case}: NaN of the second process is {both}")
    empty = torch.full((2, 6, 6), IGNORED)
    for loss in LOSSES.values():
        logits = torch.randn(2, 3, 6, 6, requires_grad=True)
        build(loss, [1.0, 1.0, 1.0], names=NAMES, ranks=ranks)(logits, empty).backward()
        if logits.grad.abs().sum():
            wrong.append(f"{loss}: learns from nothing")
    minutes = torch.tensor(Clock(5.0 * ranks.number, ranks).minutes(), dtype=torch.float64)
    if len(set(ranks.everywhere(minutes).tolist())) > 1 or minutes > 1:
        wrong.append("clocks differ")
    return wrong
