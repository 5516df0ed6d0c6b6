"""Train a network epoch by epoch on Lightning Fabric."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.data import DataLoader

from geoseg.errors import InputError
from geoseg.evaluation.accuracy import Scores
from geoseg.models.card import LAST
from geoseg.models.device import enough_memory, laid_out
from geoseg.outputs.counted import few
from geoseg.outputs.files import replacing, unwritable
from geoseg.outputs.threads import prefetch
from geoseg.samples.draw import Draw
from geoseg.training.objectives.supervised import Objective
from geoseg.training.optimizer import Average, learning_rate, optimizer_of, set_frozen, set_rate
from geoseg.training.processes.launch import place
from geoseg.training.processes.ranks import ALONE, Ranks
from geoseg.training.processes.sync_norm import synchronise
from geoseg.training.run.history import History
from geoseg.training.run.recorder import Keep, Pictures, RunRecorder
from geoseg.training.settings import Fit
from geoseg.training.validation import Validator

HARD_EPOCHS = 5
"""Epochs after which the losses of the train samples are measured again (fit.hard)."""
WATCHED = 50
"""Steps after which a GPU is asked whether its losses are numbers: each time it must be waited
for."""
NAMED = 8
"""Samples of a batch at most that an error names."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learnt, from what, and where it goes."""

    network: nn.Module
    """(inputs …) → logits (B, K, H, W) of images or (B, K) of series."""
    objective: Objective
    train: DataLoader[Any]
    """Batches for the objective; its sampler has an `epoch`, a `shuffle` and a `batch(number)`.
    Of several processes each has its part of every batch."""
    val: DataLoader[Any]
    """Batches (inputs, target). Of several processes each has some; its data set has all."""
    validator: Validator
    folder: Path
    """Of the run."""
    keep: Keep
    """Called whenever the validation is the best so far."""
    title: Callable[[Draw], str] = str
    """Name of a train sample for people."""
    difficulty: Callable[[nn.Module], list[float]] | None = None
    """Losses of all train samples, for fit.hard."""
    pictures: Pictures | None = None
    spent: float = 0.0
    """Minutes of learning that have gone before the first step."""


class Clock:
    """Minutes of this training, those before a stop included; those of the first process count.

    If each process went by its own clock, one would end while others wait for it.
    """

    def __init__(self, before: float, ranks: Ranks = ALONE) -> None:
        self._start = time.monotonic() - 60 * before
        self._ranks = ranks

    def minutes(self) -> float:
        return self._ranks.of_first((time.monotonic() - self._start) / 60)


def fit_network(
    task: Task, fit: Fit, *, fabric: Fabric, seed: int, console: Console | None = None
) -> History:
    """Train until the epochs, the minutes or the patience are over; go on from LAST if it is there.

    The order of samples, augmentation and dropout depend on seed and epoch alone, so that a
    training that was killed ends, on CPU, with the weights of one that was not. Every process of
    several goes through the same steps and comes to the same decisions; the first one writes.
    Raises: InputError if the loss is no longer a number, or a GPU has too little memory.
    """
    ranks = Ranks.of(fabric)
    training = Training(task, fit, fabric)
    history = _resume(task.folder / LAST, training.state, fabric)
    sampler: Any = task.train.sampler
    (val_batches,) = _loaders(fabric, task.val)
    recorder = None
    if ranks.first:
        recorder = RunRecorder(
            task.folder, fit, task.keep, task.pictures, console or Console(markup=False)
        )
    if not history.minutes:
        history.before = task.spent
    clock = Clock(history.minutes or task.spent, ranks)

    def save() -> None:
        _save(task.folder / LAST, training.state, history)

    with enough_memory("fit.batch_size", fit.batch_size), read_well(), recorder or nullcontext():
        while history.finished(fit) is None:
            seed_epoch(seed, history.epoch, ranks)
            sampler.epoch = history.epoch
            sampler.shuffle.difficulty = history.difficulty
            row = training.epoch(history, clock)
            if row is None:
                history.minutes = clock.minutes()
                if recorder:
                    recorder.save(save, history)
                break
            network = training.average.network
            validation = task.validator(network, val_batches, fabric)
            if task.difficulty and history.epoch % HARD_EPOCHS == 0:
                history.difficulty = task.difficulty(network)
            better = history.add(row, validation, clock.minutes())
            if recorder:
                recorder.write(network, history, validation, better=better)
                recorder.save(save, history)
    ranks.leave()
    if recorder:
        recorder.close(history)
    return history


def seed_epoch(seed: int, epoch: int, ranks: Ranks) -> None:
    """Decide what dropout draws; it differs between processes, as between the samples of one."""
    torch.manual_seed(seed * 1_000_003 + epoch + (ranks.number << 40))


def _loaders(fabric: Fabric, *loaders: DataLoader[Any]) -> list[Any]:
    """Loaders whose batches come on the device."""
    return [fabric.setup_dataloaders(one, use_distributed_sampler=False) for one in loaders]


class Training:
    """What the steps of a training change, and what they go by."""

    def __init__(self, task: Task, fit: Fit, fabric: Fabric) -> None:
        network = task.network
        if fabric.world_size > 1:
            synchronise(network)
        self._task, self._fit, self._fabric = task, fit, fabric
        self._network = laid_out(network)
        self._model, self._optimizer = fabric.setup(network, optimizer_of(network, fit))
        self.average = Average(network, fit.average)
        self._objective: Any = task.objective
        if isinstance(self._objective, nn.Module):
            self._objective = self._objective.to(fabric.device)
        (self.batches,) = _loaders(fabric, task.train)

    @property
    def state(self) -> dict[str, Any]:
        """What LAST holds: parts with a state_dict each."""
        return {"model": self._model, "optimizer": self._optimizer, "average": self.average}

    def epoch(self, history: History, clock: Clock) -> dict[str, float] | None:
        """One pass over the train samples, or what fit.max_minutes leaves of it; its row.

        None if it leaves nothing, but for the first epoch, which has a batch at least.
        """
        fit, count = self._fit, len(self.batches)
        set_frozen(self._network, frozen=history.epoch < fit.frozen)
        losses = Losses(1 if self._fabric.device.type == "cpu" else WATCHED)
        with (
            _bar(shown=self._fabric.is_global_zero) as bar,
            closing(self._made()) as batches,
        ):
            shown = bar.add_task(f"epoch {history.epoch + 1}", total=count, loss="")
            for number, batch in enumerate(batches):
                progress = (history.epoch + number / count) / fit.most
                if fit.max_minutes is not None:
                    progress = max(progress, clock.minutes() / fit.max_minutes)
                if progress >= 1 and (number or history.epoch):
                    break
                even = fit.swa > 0 and progress >= 1 - fit.swa
                if even and not self.average.evenly:
                    self.average.begin_evenly()
                elif self.average.evenly and not even:  # the training lasts longer than it did
                    self.average.begin_moving()
                set_rate(self._optimizer, learning_rate(fit, progress))
                last = number + 1 == count
                stepping = (number + 1) % fit.accumulate == 0 or last
                losses.add(self.step(batch, progress, stepping=stepping))
                if losses.broken is not None:
                    break
                if bar.live.is_started:
                    bar.update(shown, completed=losses.count)
                    if losses.known:
                        bar.update(shown, loss=f"loss {losses.mean():.4f}")
        if not losses.count:
            return None
        history.step += losses.count
        mean = losses.mean()
        if not math.isfinite(mean):
            self._explain(mean, losses.first_broken(), history)
        rate = float(self._optimizer.param_groups[0]["lr"])
        epoch = {"epoch": history.epoch + 1, "step": history.step}
        return epoch | {"loss": mean, "learning_rate": rate} | self._learnt()

    def _learnt(self) -> dict[str, float]:
        """How well the epoch's own samples were told apart, as they were learnt from."""
        counts = getattr(self._objective, "counts", None)
        if counts is None:
            return {}
        self._objective.counts = None
        total = Ranks.of(self._fabric).total(counts).cpu().numpy()
        return {"train_miou": Scores.of(total, list(map(str, range(len(total))))).miou}

    def _made(self) -> Generator[Any, None, None]:
        """The batches of an epoch; without processes that read, a thread makes them ahead."""
        batches = (batch for batch in self.batches)
        return batches if self._task.train.num_workers else prefetch(batches)

    def step(self, batch: Any, progress: float, *, stepping: bool = True) -> Tensor:
        """Learn from a batch, and move the weights if `stepping`; the loss, detached."""
        fit, fabric = self._fit, self._fabric
        waiting = nullcontext() if stepping else fabric.no_backward_sync(self._model)
        with waiting:
            loss = self._objective(self._model, self.average.network, batch, progress)
            # Each process has its part of the gradient of the whole batch's loss, and the mean
            # over processes is taken where it should be the sum.
            fabric.backward(loss * (fabric.world_size / fit.accumulate))
        said = loss.detach()
        return said + self._move() if stepping else said

    def _move(self) -> Tensor:
        """Move the weights by their gradients; 0, or NaN if a gradient is no number."""
        fit, check = self._fit, torch.zeros((), device=self._fabric.device)
        if fit.clip:
            norm = self._clip()
            # 0 × inf is NaN, which the loss tells; float16 skips such a step.
            if norm is not None and fit.precision != "16":
                check = 0 * norm.detach()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.average.update(self._network)
        return check

    def _clip(self) -> Tensor | None:
        """Shorten the gradient to fit.clip; its length before."""
        longest = self._fit.clip
        if self._fabric.device.type != "cpu":
            return self._fabric.clip_gradients(
                self._model, self._optimizer, max_norm=longest, error_if_nonfinite=False
            )
        # The same, but a gradient that is short enough is not gone through again: no device has to
        # be waited for to know.
        weights = [weights for weights in self._network.parameters() if weights.grad is not None]
        norm = get_total_norm([w.grad for w in weights if w.grad is not None], foreach=True)
        if norm > longest:
            clip_grads_with_norm_(weights, longest, norm, foreach=True)
        return norm

    def _explain(self, loss: float, number: int, history: History) -> None:
        """Raises: InputError with the samples of the batch that broke the training."""
        sampler: Any = self._task.train.sampler
        draws = dict.fromkeys(sampler.batch(number))
        names = list(dict.fromkeys(self._task.title(draw) for draw in draws))
        raise InputError(
            f"the loss is {loss} in epoch {history.epoch + 1}, batch {number + 1}, of"
            f" {few(names, NAMED)}; look whether these hold strange values, lower"
            f" fit.learning_rate ({self._fit.peak:g}) or set fit.precision=32, and start"
            " anew with overwrite=true"
        )


class Losses:
    """The losses of an epoch, looked at now and then."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._losses: list[Tensor] = []
        self.broken: int | None = None
        """Number of the first batch whose loss is not a number, as far as was looked."""

    @property
    def count(self) -> int:
        return len(self._losses)

    @property
    def known(self) -> bool:
        """Whether they have just been looked at, and need not be waited for."""
        return self.count % self._every == 0

    def add(self, loss: Tensor) -> None:
        self._losses.append(loss)
        if self.known:
            recent = torch.stack(self._losses[-self._every :])
            if not bool(recent.isfinite().all()):
                self.broken = self.first_broken()

    def first_broken(self) -> int:
        """Number of the first batch whose loss is not a number; of the last if all are."""
        wrong = (~torch.stack(self._losses).isfinite()).nonzero()
        return int(wrong[0]) if len(wrong) else self.count - 1

    def mean(self) -> float:
        return float(torch.stack(self._losses).mean())


@contextmanager
def read_well() -> Iterator[None]:
    """Context in which a reading process that the system ended is a fault of a setting.

    Raises: InputError instead of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "shared memory" in text:
            cause = "the readers' shared memory is full"
        elif "DataLoader worker" in text and ("killed by signal" in text or "exited" in text):
            cause = "a process that reads samples was ended from outside, for lack of memory?"
        else:
            raise
        raise InputError(
            f"fit.workers: {cause}; set fewer, as in fit.workers=1 or 0 (none): the same command"
            " goes on from here"
        ) from error


def loading(fit: Fit, device: torch.device) -> dict[str, Any]:
    """Options of the DataLoaders of a training on a device."""
    workers = fit.workers
    if workers is None:
        workers = max(1, min(8, ((os.cpu_count() or 1) - 1) // place().here))
    return {
        "num_workers": workers,
        # Else a loader draws a number from torch's generator whenever it starts anew: dropout
        # would differ after a stop.
        "generator": torch.Generator(),
        "persistent_workers": workers > 0,
        "pin_memory": device.type == "cuda",
    }


def _save(path: Path, state: dict[str, Any], history: History) -> None:
    content = {name: part.state_dict() for name, part in state.items()}
    with replacing(path) as temporary:
        try:
            torch.save(content | {"history": vars(history)}, temporary)
        except RuntimeError as error:  # so torch says that the disk is full
            raise unwritable(path, str(error).splitlines()[0]) from None


def _resume(path: Path, state: dict[str, Any], fabric: Fabric) -> History:
    """How far the training of a folder came, its state laid into `state`."""
    history = _load(path, state, fabric) if path.exists() else History()
    ranks = Ranks.of(fabric)
    if ranks.total(torch.tensor(history.step, device=fabric.device)) != ranks.count * history.step:
        raise InputError(f"{path}: not the same on all machines; give a run folder that all share")
    return history


def _load(path: Path, state: dict[str, Any], fabric: Fabric) -> History:
    try:
        content = torch.load(path, map_location=fabric.device, weights_only=True)
        for name, part in state.items():
            part.load_state_dict(content[name])
        return History(**content["history"])
    except (RuntimeError, KeyError, TypeError, EOFError, ValueError, OSError, UnpicklingError) as e:
        raise InputError(
            f"{path}: can't go on from this file ({e}); overwrite=true starts anew"
        ) from None


def _bar(*, shown: bool) -> Progress:
    """A bar on a terminal; nothing in a log file."""
    console = Console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  {task.fields[loss]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
