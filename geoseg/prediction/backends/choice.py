"""Choose the fastest backend that agrees with torch on the first windows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models.device import Device
from geoseg.prediction.backends.build import fits, prepare
from geoseg.prediction.backends.quiet import failure
from geoseg.prediction.backends.remembered import Remembered
from geoseg.prediction.backends.runner import COMPILE, ONNX, OPENVINO, TORCH, Runner, Shape

AGREEMENT = 0.999
"""Share of pixels whose class must be that of the network in float32, one operation at a time."""
ROUNDS = 6
"""Batches, at least, that two backends are timed on in turn: the median of their ratios tells,
since what else the machine does slows down neighbours alike."""
SECONDS = 3.0
"""Time for which rounds go on, where batches are short against the bursts of other programs."""
FASTER = 0.95
"""Share of the best's time that a candidate must stay below: nobody changes for nothing."""
PAYS_OFF = 2.0
"""How many times its own cost a candidate must promise to save before it is built."""


@dataclass(frozen=True)
class Candidate:
    """A backend that might be faster than torch as it is."""

    backend: str
    seconds: float
    """That building it takes, roughly."""
    saves: float
    """Share of the time that it saves where it suits, roughly: weighed with its building."""
    build: Callable[[], Runner]
    """Raises InputError if it can't be had here."""


@dataclass
class Choice:
    """A backend, ready to run, and how it was chosen."""

    backend: str
    """The name to prepare it by the next time: a call that goes on must not choose anew."""
    runner: Runner | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Per batch, of each backend that was measured."""
    agreement: dict[str, float] = field(default_factory=dict)
    """With float32 in torch, of each backend that was measured: share of the pixels, 0..1."""
    notes: list[str] = field(default_factory=list)
    """One line for each candidate that was tried and can't be had, or is not safe."""


def candidates(network: nn.Module, device: Device, shape: Shape) -> list[Candidate]:
    """Those that may suit a network on a device, in the order in which to try them."""
    if not fits(network):
        return []
    known = [(COMPILE, 30.0, 0.15)]
    if device.torch.type == "cpu":
        known.insert(0, (OPENVINO, 5.0, 0.4))
        if device.precision == "32":
            known.insert(1, (ONNX, 5.0, 0.1))
    return [
        Candidate(
            name, seconds, saves, partial(prepare, network, device, backend=name, shape=shape)
        )
        for name, seconds, saves in known
    ]


def choose_backend(
    network: nn.Module,
    device: Device,
    *,
    images: Tensor,
    windows: int,
    others: Sequence[Candidate] | None = None,
    known: Remembered | None = None,
) -> Choice:
    """The fastest safe backend for a job; torch as it is for those too short to ask.

    images: the first batch (B, C, H, W) of the job, float32, with something to see on it: safe is
    what agrees there with the network in float32. windows: that are to come in all. others: to try
    instead of `candidates`. known: what an earlier job measured: what lost then is not built, and
    what won not timed again; whether it is safe is seen on each job's own images.
    """
    eager = prepare(network, device, backend=TORCH, shape=_shape(images))
    choice = Choice(TORCH, eager)
    if others is None:
        others = candidates(network, device, _shape(images))
    batches = windows / len(images)
    if not others:
        return choice
    images = images.to(device.torch)
    best = _timed(eager, images, 2)[-1]  # the first pass also warms up
    reference: Tensor | None = None
    for other in others:
        ratio = known.ratio(other.backend, choice.backend, limit=FASTER) if known else None
        cost, saves = other.seconds, other.saves
        if ratio is None:
            cost += max(SECONDS, 2 * ROUNDS * best)
        else:
            saves = 1 - ratio
        if (ratio or 0) >= FASTER or best * batches * saves < PAYS_OFF * cost:
            continue
        if reference is None:
            reference = _reference(network, device, images)
            _judge(TORCH, eager, images, reference, choice)
        try:
            runner = other.build()
            safe = _judge(other.backend, runner, images, reference, choice)
        except Exception as error:  # A candidate is free to fail in any way: torch is there.
            choice.notes.append(_one_line(other.backend, error))
            continue
        if not safe:
            continue
        assert choice.runner is not None
        if ratio is None:
            times = _in_turn([choice.runner, runner], images)
            best, own = (statistics.median(column) for column in zip(*times, strict=True))
            choice.seconds |= {choice.backend: best, other.backend: own}
            ratio = statistics.median(after / before for before, after in times)
            if known:
                known.keep(other.backend, choice.backend, ratio)
        else:
            own = best * ratio
        if ratio < FASTER:
            choice.backend, choice.runner, best = other.backend, runner, own
    return choice


@torch.inference_mode()
def _reference(network: nn.Module, device: Device, images: Tensor) -> Tensor:
    """Codes (B, H, W) of the network in float32."""
    with torch.autocast(device.torch.type, enabled=False):
        logits: Tensor = network(images)
    return logits.argmax(dim=1)


def _judge(backend: str, runner: Runner, images: Tensor, reference: Tensor, choice: Choice) -> bool:
    """Whether a backend agrees with the reference; if not, a note says so."""
    codes = runner(images).argmax(dim=1)
    share = (codes == reference).double().mean().item()
    choice.agreement[backend] = share
    if share < AGREEMENT:
        choice.notes.append(
            f"predict.backend={backend}: agrees with float32 on {share:.2%} of the first windows'"
            f" pixels, {AGREEMENT:.1%} are wanted;"
            + (" predict.precision=32 is exact" if backend == TORCH else " not taken")
        )
    return share >= AGREEMENT


def _in_turn(runners: Sequence[Runner], images: Tensor) -> list[list[float]]:
    """Seconds per batch of each, round after round."""
    end = time.perf_counter() + SECONDS
    rounds: list[list[float]] = []
    while len(rounds) < ROUNDS or time.perf_counter() < end:
        rounds.append([_timed(runner, images, 1)[0] for runner in runners])
    return rounds


def _timed(runner: Runner, images: Tensor, passes: int) -> list[float]:
    seconds = []
    for _ in range(passes):
        start = time.perf_counter()
        runner(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        seconds.append(time.perf_counter() - start)
    return seconds


def _shape(images: Tensor) -> Shape:
    batch, channels, height, width = images.shape
    return batch, channels, height, width


def _one_line(backend: str, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error).splitlines()[0]
    return failure(backend, error)
