"""Plain scripts: what one would write in an hour, for images and for series, on arrays in memory.

They choose nothing by a validation, average no weights, and know no trick beyond what tutorials
teach; what geoseg does by default should be no worse. Both may train for some time, or for some
steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.arena.arrays import Images, Series
from geoseg.models.device import choose

IMAGE_BATCH, SERIES_BATCH = 8, 64
IGNORED = 255


@dataclass
class Budget:
    """How long a training may last; `progress` starts the clock."""

    minutes: float | None = None
    steps: int | None = None
    done: int = 0
    """Steps."""
    samples: int = 0
    """Of all steps."""
    seconds: float = 0.0
    """Of training, once that is over."""

    def progress(self) -> Iterator[float]:
        """Shares of the training, 0 to 1, one for each step until it is over."""
        began = time.monotonic()
        while True:
            self.seconds = time.monotonic() - began
            if self.steps is not None:
                share = self.done / self.steps
            else:
                assert self.minutes is not None
                share = self.seconds / (60 * self.minutes)
            if share >= 1:
                return
            yield share
            self.done += 1


def cosine(optimizer: torch.optim.Optimizer, peak: float, share: float) -> None:
    """Set the learning rate: half a cosine from its peak to nothing."""
    for group in optimizer.param_groups:
        group["lr"] = peak * (1 + math.cos(math.pi * share)) / 2


def train_unet(
    data: Images,
    budget: Budget,
    seed: int,
    *,
    network: nn.Module | None = None,
    batch: int = IMAGE_BATCH,
) -> nn.Module:
    """A U-Net of segmentation-models-pytorch on random crops; by default on resnet18."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = network or smp.Unet(
        "resnet18", encoder_weights=None, in_channels=len(data.train[0][0]), classes=data.classes
    )
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORED)
    pieces = [filled(image, target, data.side) for image, target in data.train]
    network.train()
    device = choose("cpu", "auto")  # bfloat16 where the processor has it: it is slow where not
    for share in budget.progress():
        cosine(optimizer, 1e-3, share)
        image, target = crops(pieces, data.side, random, batch=batch)
        budget.samples += len(image)
        with device.autocast():
            logits = network(image.to(memory_format=torch.channels_last))
        logits = logits.float()
        loss = F.cross_entropy(logits, target, ignore_index=IGNORED) + dice(logits, target)
        optimizer.zero_grad()
        # A batch of crops without a single label teaches nothing: its mean is no number.
        if bool(loss.isfinite()):
            loss.backward()
            optimizer.step()
    return network.eval()


def filled(image: np.ndarray, target: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A piece that is no smaller than a crop, what is added being 0 and ignored."""
    down, right = (max(0, side - length) for length in target.shape)
    return (
        np.pad(image, ((0, 0), (0, down), (0, right))),
        np.pad(target, ((0, down), (0, right)), constant_values=IGNORED),
    )


def crops(
    pieces: list[tuple[np.ndarray, np.ndarray]],
    side: int,
    random: np.random.Generator,
    *,
    vary: bool = True,
    batch: int = IMAGE_BATCH,
) -> tuple[Tensor, Tensor]:
    """A batch of random squares; vary: mirrored and turned, their bands lighter and darker."""
    area = np.array([target.size for _, target in pieces], np.float64)
    images, targets = [], []
    for number in random.choice(len(pieces), batch, p=area / area.sum()):
        image, target = pieces[number]
        top, left = (int(random.integers(length - side + 1)) for length in target.shape)
        image = image[:, top : top + side, left : left + side]
        target = target[top : top + side, left : left + side]
        if vary:
            image, target = varied(image, target, random)
        images.append(image.astype(np.float32))
        targets.append(target.astype(np.int64))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))


def varied(
    image: np.ndarray, target: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A square as it might also have been."""
    turns = int(random.integers(4))
    image, target = np.rot90(image, turns, (1, 2)), np.rot90(target, turns)
    if random.random() < 0.5:
        image, target = image[..., ::-1], target[..., ::-1]
    gain, light = 0.2 * random.standard_normal((2, len(image), 1, 1))
    return image * (1 + gain) + light, target


@torch.inference_mode()
def map_scene(network: nn.Module, image: np.ndarray, side: int, classes: int) -> np.ndarray:
    """Indices (H, W) uint8 of a scene, by windows that share half and are averaged."""
    height, width = image.shape[1:]
    image, _ = filled(image, np.zeros((height, width), np.uint8), side)
    sums, device = torch.zeros(classes, *image.shape[1:]), choose("cpu", "auto")
    for top in starts(image.shape[1], side):
        for left in starts(image.shape[2], side):
            window = torch.from_numpy(image[None, :, top : top + side, left : left + side])
            with device.autocast():
                logits = network(window.to(memory_format=torch.channels_last))
            probabilities = logits.float().softmax(dim=1)[0]
            sums[:, top : top + side, left : left + side] += probabilities
    return sums.argmax(dim=0)[:height, :width].numpy().astype(np.uint8)


def starts(length: int, side: int) -> list[int]:
    """Where windows start so that they cover a length, half of each shared with the next."""
    return sorted({*range(0, length - side + 1, max(1, side // 2)), length - side})


class Recurrent(nn.Module):
    """Two bidirectional LSTM layers over the dates; attention makes one vector of them."""

    def __init__(self, bands: int, classes: int, width: int = 128) -> None:
        super().__init__()
        self.enter = nn.Linear(bands + 5, 64)
        self.lstm = nn.LSTM(64, width, 2, batch_first=True, bidirectional=True, dropout=0.3)
        self.attend = nn.Linear(2 * width, 1)
        self.leave = nn.Sequential(
            nn.Dropout(0.4), nn.LayerNorm(2 * width), nn.Linear(2 * width, classes)
        )

    def forward(self, values: Tensor, days: Tensor, seen: Tensor) -> Tensor:
        """values (B, T, C), days (B, T), seen (B, T) 0 or 1 → logits (B, K)."""
        angle = 2 * math.pi / 365.25 * days
        year = [wave(times * angle) for times in (1, 2) for wave in (torch.sin, torch.cos)]
        told = torch.stack([seen, *year], dim=2)
        states, _ = self.lstm(self.enter(torch.cat([values * seen[:, :, None], told], 2)).relu())
        weight = (self.attend(states)[:, :, 0] - 1e4 * (1 - seen)).softmax(dim=1)
        logits: Tensor = self.leave((weight[:, :, None] * states).sum(dim=1))
        return logits


def train_lstm(data: Series, budget: Budget, seed: int) -> np.ndarray:
    """Learn from all samples that are not of the test split; class indices of those that are."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    train = data.places("train", "val")
    mean, std = (
        how(data.values[train], axis=(0, 1)) for how in (np.nanmean, np.nanstd)
    )  # fmt: skip
    seen = torch.from_numpy((~np.isnan(data.values)).all(axis=2).astype(np.float32))
    values = torch.from_numpy(np.nan_to_num((data.values - mean) / np.maximum(std, 1e-6)))
    days, index = torch.from_numpy(data.days), torch.from_numpy(data.index)
    frequency = np.bincount(data.index[train], minlength=data.classes)
    weight = np.maximum(frequency, 1) ** -0.25
    weights = torch.from_numpy((weight / weight.mean()).astype(np.float32))
    network = Recurrent(data.values.shape[2], data.classes)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.02)
    network.train()
    order = _batches(train, random)
    for share in budget.progress():
        cosine(optimizer, 2e-3, share)
        batch = torch.from_numpy(next(order))
        budget.samples += len(batch)
        kept = seen[batch] * (torch.rand(len(batch), seen.shape[1]) > 0.1)
        noisy = values[batch] + 0.05 * torch.randn(len(batch), *values.shape[1:])
        logits = network(noisy, days[batch], kept)
        loss = F.cross_entropy(logits, index[batch], weight=weights, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        tested = torch.from_numpy(data.places("test")).split(512)
        parts = [network(values[b], days[b], seen[b]).argmax(dim=1) for b in tested]
    return torch.cat(parts).numpy()


def _batches(places: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of one shuffled pass after the other, without end."""
    while True:
        order = random.permutation(places)
        for start in range(0, len(order), SERIES_BATCH):
            yield order[start : start + SERIES_BATCH]
