"""The training loop, in plain sight, on Lightning Fabric."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
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
from geoseg.output import replacing, unwritable
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
    """Minutes of this training, those before a stop included."""

    def __init__(self, before: float) -> None:
        self._start = time.monotonic() - 60 * before

    def minutes(self) -> float:
        return (time.monotonic() - self._start) / 60


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
    """(logits, target) → scalar."""
    train: DataLoader[Any]
    """Batches (inputs, target), inputs a tensor or a tuple of them; its sampler has an `epoch`."""
    val: DataLoader[Any]
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
    training that was killed ends, on CPU, with the weights of one that was not.
    Raises: InputError if the loss is no longer a number.
    """
    network, folder = task.network, task.folder
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, fused=True
    )
    model, optimizer = fabric.setup(network.to(memory_format=torch.channels_last), optimizer)
    criterion = task.criterion.to(fabric.device)
    average = AveragedModel(network, avg_fn=partial(_mix, fit.average), use_buffers=True)
    state = {"model": model, "optimizer": optimizer, "average": average}
    history = _resume(folder / LAST, state, fabric)
    shuffle: Any = task.train.sampler
    batches, val_batches = fabric.setup_dataloaders(task.train, task.val)
    logger = TensorBoardLogger(folder, name="tensorboard", version="")
    clock, console = Clock(history.minutes), console or Console()
    while history.finished(fit) is None:
        torch.manual_seed(seed * 1_000_003 + history.epoch)
        shuffle.epoch = history.epoch
        loss = _train_epoch(state, criterion, batches, fit, history, fabric=fabric, clock=clock)
        row = {"epoch": history.epoch + 1, "step": history.step, "loss": loss}
        row["learning_rate"] = optimizer.param_groups[0]["lr"]
        scores = _validate(average.module, val_batches, task.names, fabric=fabric)
        history.epoch += 1
        history.minutes = clock.minutes()
        history.rows.append(row | {"minutes": history.minutes} | _columns(scores))
        # Without validation the last weights are the best there are.
        value = scores.miou if scores else float(history.epoch)
        if not value <= history.best:  # also if it is NaN in the first epoch
            history.best, history.best_epoch = value, history.epoch
            task.keep(average.module, scores.to_dict() if scores else {})
        _write_metrics(folder / METRICS, history.rows)
        _save(folder / LAST, state, history)
        logger.log_metrics({k: v for k, v in history.rows[-1].items() if v == v}, history.step)
        console.print(_line(history, fit), highlight=False)
    draw_curves(history.rows, task.names, folder / "curves.png")
    logger.finalize("success")
    return history


def _mix(share: float, average: Tensor, weights: Tensor, steps: Tensor) -> Tensor:
    """Moving average of the weights; at first a mean, so that it soon forgets where they began.

    (Polyak & Juditsky 1992; Tarvainen & Valpola 2017, section 3.)
    """
    kept = min(share, (1 + int(steps)) / (10 + int(steps))) if share else 0.0
    if not average.is_floating_point():  # how many batches a norm has seen
        return weights
    return torch.lerp(average, weights, 1 - kept)


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
    model, optimizer, average = state["model"], state["optimizer"], state["average"]
    model.train()
    total, done = torch.zeros((), device=fabric.device), 0
    with _bar() as bar:
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
                fabric.backward(loss / fit.accumulate)
            if stepping:
                if fit.clip:
                    norm = fabric.clip_gradients(
                        model, optimizer, max_norm=fit.clip, error_if_nonfinite=False
                    )
                    # 0 × inf is NaN, which the mean below tells; float16 skips such a step.
                    if norm is not None and fit.precision != "16":
                        total += 0 * norm.detach()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                average.update_parameters(model.module)
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


@torch.inference_mode()
def _validate(
    network: nn.Module, batches: Any, names: list[str], *, fabric: Fabric
) -> Scores | None:
    """Scores over all val pixels; None if there are no val tiles."""
    if not len(batches):
        return None
    network.eval()
    counts = MulticlassConfusionMatrix(len(names), ignore_index=IGNORED, validate_args=False)
    counts = counts.to(fabric.device)
    with fabric.autocast():
        for given, target in batches:
            logits = network(*inputs(given))
            counts.update(logits.argmax(dim=1), target.long())
    return Scores.of(counts.compute().cpu().numpy(), names)


def inputs(given: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a network is called with: images in the layout that is fastest, series as they come."""
    if isinstance(given, Tensor):
        return (given.contiguous(memory_format=torch.channels_last),)
    return tuple(given)


def loading(fit: Fit, device: torch.device) -> dict[str, Any]:
    """Options of the DataLoaders of a training on a device."""
    workers = fit.workers
    if workers is None:
        workers = max(1, min(8, (os.cpu_count() or 1) - 1))
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
    if not path.exists():
        return History()
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


def _bar() -> Progress:
    """A bar on a terminal; nothing in a log file."""
    console = Console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  {task.fields[loss]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
