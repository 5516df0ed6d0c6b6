"""The training loop, in plain sight, on Lightning Fabric."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassConfusionMatrix

from geoseg.accuracy import Scores
from geoseg.curves import draw_curves
from geoseg.errors import InputError
from geoseg.legend import IGNORED
from geoseg.models.synced import synchronise
from geoseg.output import replacing, unwritable
from geoseg.processes import place
from geoseg.ranks import ALONE, Ranks
from geoseg.settings import Fit

LAST = "last.ckpt"
"""What a stopped training goes on from; plain tensors and numbers, never unpickled."""
METRICS = "metrics.csv"

Keep = Callable[[nn.Module, dict[str, Any]], None]
"""Saves a network as the best so far, with its scores."""


@dataclass
class History:
    """How far a training has come."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Batches done."""
    minutes: float = 0.0
    """Time spent, stops not counted."""
    best: float = -math.inf
    best_epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    """One per epoch: what metrics.csv holds."""

    def add(self, row: dict[str, float], scores: Scores | None, minutes: float) -> bool:
        """Count an epoch as done; whether it is the best so far."""
        self.epoch += 1
        self.minutes = minutes
        self.rows.append(row | {"minutes": minutes} | _columns(scores))
        # Without validation the last weights are the best there are.
        value = scores.miou if scores else float(self.epoch)
        if value <= self.best:  # NaN in the first epoch isn't
            return False
        self.best, self.best_epoch = value, self.epoch
        return True

    def finished(self, fit: Fit) -> str | None:
        """Why the training is over, or None."""
        if self.epoch >= fit.epochs:
            return f"all {fit.epochs} epochs are done"
        if fit.max_minutes is not None and self.minutes >= fit.max_minutes:
            return f"fit.max_minutes={fit.max_minutes:g} are over"
        if fit.patience and self.epoch - self.best_epoch >= fit.patience:
            return f"no better validation for fit.patience={fit.patience} epochs"
        return None


class Clock:
    """Minutes of this training, those before a stop included; those of the first process count.

    If each process went by its own clock, one would end while others wait for it.
    """

    def __init__(self, before: float, ranks: Ranks = ALONE) -> None:
        self._start = time.monotonic() - 60 * before
        self._ranks = ranks

    def minutes(self) -> float:
        return self._ranks.of_first((time.monotonic() - self._start) / 60)


def learning_rate(fit: Fit, progress: float) -> float:
    """Linear rise over the warm-up, then a cosine down to 1 % (Loshchilov & Hutter 2017).

    progress: share of the training that is done, 0..1.
    """
    if progress < fit.warmup:
        return fit.learning_rate * max(progress / fit.warmup, 0.01)
    falling = (min(progress, 1.0) - fit.warmup) / (1 - fit.warmup)
    return fit.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * falling)) / 2)


@dataclass
class Task:
    """What is to be learnt, from what, and where it goes."""

    network: nn.Module
    """(inputs …) → logits (B, K, H, W) of images or (B, K) of series."""
    criterion: nn.Module
    """(logits, target) → scalar; of several processes, that of the whole batch."""
    train: DataLoader[Any]
    """Batches (inputs, target), inputs a tensor or a tuple of them; its sampler has an `epoch`.
    Of several processes each has its part of every batch."""
    val: DataLoader[Any]
    """Of several processes each has some of the samples; its data set has all."""
    names: list[str]
    """Of the K classes."""
    folder: Path
    """Of the run."""
    keep: Keep
    """Called whenever the validation mIoU is the best so far."""


def fit_network(
    task: Task, fit: Fit, *, fabric: Fabric, seed: int, console: Console | None = None
) -> History:
    """Train until the epochs, the minutes or the patience are over; go on from LAST if it is there.

    The order of samples, augmentation and dropout depend on seed and epoch alone, so that a
    training that was killed ends, on CPU, with the weights of one that was not. Every process of
    several goes through the same steps and comes to the same decisions; the first one writes.
    Raises: InputError if the loss is no longer a number.
    """
    ranks = Ranks.of(fabric)
    state = _set_up(task.network, fit, fabric=fabric)
    criterion = task.criterion.to(fabric.device)
    history = _resume(task.folder / LAST, state, fabric)
    sampler: Any = task.train.sampler
    batches, val_batches = fabric.setup_dataloaders(
        task.train, task.val, use_distributed_sampler=False
    )
    books = Books(task, fit, console or Console()) if ranks.first else None
    clock = Clock(history.minutes, ranks)
    while history.finished(fit) is None:
        # What dropout draws differs between processes, as between the samples of one.
        torch.manual_seed(seed * 1_000_003 + history.epoch + (ranks.number << 40))
        sampler.epoch = history.epoch
        loss = _train_epoch(state, criterion, batches, fit, history, fabric=fabric, clock=clock)
        row = {"epoch": history.epoch + 1, "step": history.step, "loss": loss}
        row["learning_rate"] = state["optimizer"].param_groups[0]["lr"]
        scores = _validate(state["average"].module, val_batches, task.names, fabric=fabric)
        better = history.add(row, scores, clock.minutes())
        if books:
            books.write(state, history, scores if better else None, better=better)
    ranks.leave()
    if books:
        books.close(history)
    return history


def _set_up(network: nn.Module, fit: Fit, *, fabric: Fabric) -> dict[str, Any]:
    """What a step changes: the network on its device, optimizer and moving average."""
    if fabric.world_size > 1:
        synchronise(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, fused=True
    )
    model, optimizer = fabric.setup(network.to(memory_format=torch.channels_last), optimizer)
    average = AveragedModel(network, use_buffers=True)
    return {"model": model, "optimizer": optimizer, "average": average}


class Books:
    """What a training leaves in its folder and says, epoch by epoch."""

    def __init__(self, task: Task, fit: Fit, console: Console) -> None:
        self._task, self._fit, self._console = task, fit, console
        self._logger = TensorBoardLogger(task.folder, name="tensorboard", version="")

    def write(
        self, state: dict[str, Any], history: History, scores: Scores | None, *, better: bool
    ) -> None:
        """Write down an epoch. scores: of its validation, if that is the best so far."""
        if better:
            self._task.keep(state["average"].module, scores.to_dict() if scores else {})
        _write_metrics(self._task.folder / METRICS, history.rows)
        _save(self._task.folder / LAST, state, history)
        numbers = {k: v for k, v in history.rows[-1].items() if v == v}
        self._logger.log_metrics(numbers, history.step)
        self._console.print(_line(history, self._fit), highlight=False)

    def close(self, history: History) -> None:
        draw_curves(history.rows, self._task.names, self._task.folder / "curves.png")
        self._logger.finalize("success")


@torch.no_grad()
def _mix(share: float, average: AveragedModel, network: nn.Module) -> None:
    """Moving average of the weights; at first a mean, so that it soon forgets where they began.

    (Polyak & Juditsky 1992; Tarvainen & Valpola 2017, section 3.)
    In place, and all weights in one call: `update_parameters` makes a tensor for each, and waits
    for a GPU once per tensor.
    """
    steps = int(average.n_averaged)  # lies on the CPU
    kept = min(share, (1 + steps) / (10 + steps)) if share and steps else 0.0
    pairs = [
        pair
        for part in ("parameters", "buffers")
        for pair in zip(getattr(average.module, part)(), getattr(network, part)(), strict=True)
    ]
    # Whole numbers: how many batches a norm has seen.
    real = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([mean for mean, _ in real], [now for _, now in real], 1 - kept)
    for mean, now in pairs:
        if not mean.is_floating_point():
            mean.copy_(now)
    average.n_averaged += 1


def _train_epoch(
    state: dict[str, Any],
    criterion: nn.Module,
    batches: Any,
    fit: Fit,
    history: History,
    *,
    fabric: Fabric,
    clock: Clock,
) -> float:
    """One pass over the train tiles, or what fit.max_minutes leaves of it; the mean loss."""
    model, optimizer = state["model"], state["optimizer"]
    model.train()
    total, done = torch.zeros((), device=fabric.device), 0
    with _bar(shown=fabric.is_global_zero) as bar:
        task = bar.add_task(f"epoch {history.epoch + 1}", total=len(batches), loss="")
        for number, (given, target) in enumerate(batches):
            progress = (history.epoch + number / len(batches)) / fit.epochs
            if fit.max_minutes is not None:
                progress = max(progress, clock.minutes() / fit.max_minutes)
            if progress >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(fit, progress)
            last = number + 1 == len(batches)
            stepping = (number + 1) % fit.accumulate == 0 or last
            waiting = nullcontext() if stepping else fabric.no_backward_sync(model)
            with waiting:
                logits = model(*inputs(given))
                loss = criterion(logits, target.long())
                # Each process has its part of the gradient of the whole batch's loss, and the mean
                # over processes is taken where it should be the sum.
                fabric.backward(loss * fabric.world_size / fit.accumulate)
            if stepping:
                total += _step(state, fit, fabric=fabric)
            total += loss.detach()
            done += 1
            if bar.live.is_started:
                bar.update(task, advance=1, loss=f"loss {float(total) / done:.4f}")
    history.step += done
    mean = float(total) / max(1, done)
    if not math.isfinite(mean):
        raise InputError(
            f"the loss is {mean} in epoch {history.epoch + 1}; lower fit.learning_rate"
            f" ({fit.learning_rate:g}) or set fit.precision=32, and start anew with overwrite=true"
        )
    return mean


def _step(state: dict[str, Any], fit: Fit, *, fabric: Fabric) -> Tensor:
    """Move the weights by their gradients; 0, or NaN if a gradient is no number."""
    model, optimizer = state["model"], state["optimizer"]
    check = torch.zeros((), device=fabric.device)
    if fit.clip:
        norm = fabric.clip_gradients(model, optimizer, max_norm=fit.clip, error_if_nonfinite=False)
        # 0 × inf is NaN, which the mean loss tells; float16 skips such a step.
        if norm is not None and fit.precision != "16":
            check += 0 * norm.detach()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    _mix(fit.average, state["average"], model.module)
    return check


@torch.inference_mode()
def _validate(
    network: nn.Module, batches: Any, names: list[str], *, fabric: Fabric
) -> Scores | None:
    """Scores over all val pixels, those of all processes; None if there are no val tiles."""
    if not len(batches.dataset):
        return None
    network.eval()
    counts = MulticlassConfusionMatrix(len(names), ignore_index=IGNORED, validate_args=False)
    counts = counts.to(fabric.device)
    with fabric.autocast():
        for given, target in batches:
            logits = network(*inputs(given))
            counts.update(logits.argmax(dim=1), target.long())
    return Scores.of(Ranks.of(fabric).total(counts.confmat).cpu().numpy(), names)


def inputs(given: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a network is called with: images in the layout that is fastest, series as they come."""
    if isinstance(given, Tensor):
        return (given.contiguous(memory_format=torch.channels_last),)
    return tuple(given)


def loading(fit: Fit, device: torch.device) -> dict[str, Any]:
    """Options of the DataLoaders of a training on a device."""
    workers = fit.workers
    if workers is None:
        workers = max(1, min(8, ((os.cpu_count() or 1) - 1) // place().here))
    return {
        "num_workers": workers,
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


def _columns(scores: Scores | None) -> dict[str, float]:
    if scores is None:
        return {}
    columns = {"val_miou": scores.miou, "val_overall_accuracy": scores.overall_accuracy}
    for name, iou, f1 in zip(scores.names, scores.iou, scores.f1, strict=True):
        columns |= {f"val_iou_{name}": iou, f"val_f1_{name}": f1}
    return columns


def _write_metrics(path: Path, rows: list[dict[str, float]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v if isinstance(v, int) else f"{v:.6g}" for k, v in row.items()})


def _line(history: History, fit: Fit) -> str:
    row = history.rows[-1]
    # Where minutes end the training, nobody knows how many epochs there will be.
    of = "" if fit.max_minutes else f"/{fit.epochs}"
    text = f"epoch {history.epoch:>4}{of}  loss {row['loss']:.4f}"
    if "val_miou" in row:
        star = " *" if history.best_epoch == history.epoch else ""
        text += f"  val mIoU {row['val_miou']:.4f} (best {history.best:.4f}){star}"
    return f"{text}  {history.minutes:.1f} min"


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
