"""The backends of prediction against one another: speed, and agreement with float32.

`python -m benchmarks.backends`: runs one batch through every backend in every precision that this
machine has, in turn, and prints medians. The network is trained for some steps, so that there are
margins between its classes: with random weights, rounding alone decides on many pixels.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.alone import wait_for
from geoseg.errors import InputError
from geoseg.models.device import Device, choose
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.outputs.summary import table
from geoseg.prediction.backends.build import prepare
from geoseg.prediction.backends.runner import NAMES, ONNX

CHANNELS, CLASSES = 4, 6
ENCODERS = {"segnet": "vgg11_bn"}
"""Of networks that don't go with resnet18."""


@dataclass
class Row:
    """One way to run the network."""

    name: str
    precision: str
    build: float
    """Seconds."""
    run: Callable[[Tensor], Tensor]
    agreement: float = 0.0
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="unet", help="any network for images")
    parser.add_argument("--size", type=int, default=256, help="side of the windows in pixels")
    parser.add_argument("--batch", type=int, default=4, help="windows per forward pass")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backends", nargs="+", default=NAMES, choices=NAMES)
    print(measure(parser.parse_args()))


def measure(options: argparse.Namespace) -> str:
    """Table of medians over the runs."""
    torch.manual_seed(0)
    shape = options.batch, CHANNELS, options.size, options.size
    exact, fast = choose(options.device, "32"), choose(options.device)
    images = make_images(options.batch, options.size).to(exact.torch)
    encoder = ENCODERS.get(options.model, "resnet18")
    network = exact.place(models.build(Model(options.model, encoder), CHANNELS, CLASSES))
    train(network, images)
    rows = [default_layout(network)]
    notes = []
    for device in dict.fromkeys((exact, fast)):
        for backend in options.backends:
            if backend == ONNX and device.precision != "32":
                continue  # it knows float32 only
            start = time.perf_counter()
            try:
                run = prepare(network, device, backend=backend, shape=shape)
            except InputError as error:
                notes.append(f"  {error}")
                continue
            build = time.perf_counter() - start
            rows.append(Row(run.name, str(device).partition(", ")[2], build, run))
    compare(rows, images, options.runs)
    title = f"  {options.model} {encoder}, {CHANNELS} bands, {options.size}², batch {options.batch}"
    return "\n".join([describe(rows, images), f"{title}, {machine(exact)}", *notes])


def make_images(batch: int, size: int) -> Tensor:
    """Fields with a little texture, (B, C, H, W) in channels_last."""
    fields = torch.randn(batch, CHANNELS, -(-size // 16), -(-size // 16)).sign()
    images = fields.repeat_interleave(16, 2).repeat_interleave(16, 3)[:, :, :size, :size]
    images = images + 0.1 * torch.randn(images.shape)
    return images.contiguous(memory_format=torch.channels_last)


def train(network: nn.Module, images: Tensor, steps: int = 40) -> None:
    """Teach it the signs of two bands, on a part of the images."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # statistics that follow in a few steps
    images = images[:, :, :64, :64]
    target = (images[:, 0] > 0).long() + 2 * (images[:, 1] > 0).long()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    network.train()
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), target).backward()
        optimiser.step()
    network.eval()


def default_layout(network: nn.Module) -> Row:
    """What most programs do: float32 in torch's default layout."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        logits: Tensor = plain(images.contiguous(memory_format=torch.contiguous_format))
        return logits

    return Row("torch, default layout", "float32", 0.0, run)


def compare(rows: list[Row], images: Tensor, runs: int) -> None:
    """Time all in turn, so that what else the machine does slows down all of them."""
    reference = rows[0].run(images).argmax(dim=1)
    for row in rows:
        row.agreement = (row.run(images).argmax(dim=1) == reference).double().mean().item()
    for _ in range(runs):
        for row in rows:
            start = time.perf_counter()
            row.run(images)
            wait_for(images.device)
            row.seconds.append(time.perf_counter() - start)


def describe(rows: list[Row], images: Tensor) -> str:
    batch, _, height, width = images.shape
    megapixels = batch * height * width / 1e6
    lines = []
    for row in rows:
        seconds = statistics.median(row.seconds)
        pairs = zip(rows[0].seconds, row.seconds, strict=True)
        ratio = statistics.median(first / own for first, own in pairs)
        speeds = [f"{megapixels / s:.2f}" for s in (seconds, min(row.seconds))]
        rest = (f"{ratio:.2f}", f"{row.agreement:.3%}", f"{row.build:.1f}")
        lines.append((row.name, row.precision, *speeds, *rest))
    head = ("backend", "precision", "Mpx/s", "best", "ratio", "agreement", "build s")
    return table(head, lines)


def machine(device: Device) -> str:
    return f"{device.name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    main()
