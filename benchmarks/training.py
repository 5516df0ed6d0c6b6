"""What training loses: reading against rasterio alone, a step against PyTorch alone.

    python -m benchmarks.training [--windows 400] [--steps 8] [--rounds 5]

Reading: random windows of 256 with their targets out of compressed, tiled GeoTIFFs (four bands of
bytes), in one process, without augmentation; rasterio reads the same windows of the same files,
held open, in the same order. Together they are larger than GDAL's cache of blocks.

Steps: U-Net resnet18 on batches of 8. geoseg's are those of `fit_network`: tiles read by the
default number of workers, augment=light, clipping, moving average. PyTorch's go over one batch that
lies in memory, in the same precision and layout, with the same loss and optimizer. TorchGeo's are
those of Lightning's Trainer with SemanticSegmentationTask and RandomGeoSampler, as they teach it.

All of a comparison run in turn; ratios are medians over the rounds. To reach: 0.9 of rasterio, 0.95
of PyTorch on a CPU and 0.9 on a GPU, 3 times TorchGeo on a CPU. TorchGeo is optional: see peers.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window as RioWindow
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import alone, made
from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.models.device import Device, choose
from geoseg.models.networks import build as models
from geoseg.outputs.summary import table
from geoseg.samples import augment
from geoseg.samples.tiles import TrainTiles, gather
from geoseg.scenes.scene import find_scenes
from geoseg.training.loop import Task, fit_network, loading
from geoseg.training.objectives import loss
from geoseg.training.objectives.settings import Loss
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import start
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import Fit
from geoseg.training.validation import SegmentationValidator

SIDE = made.TILING.size
READING, TRAINING, ON_GPU, TIMES = 0.9, 0.95, 0.9, 3.0
"""To reach: of rasterio, of PyTorch on a CPU and on a GPU, and how many times TorchGeo."""
LIGHT = augment.Augment(
    flips=True, quarter_turns=True, brightness=0.2, contrast=0.15, band_brightness=0.1,
    band_contrast=0.1,
)  # fmt: skip
"""conf/augment/light.yaml."""
WARM = 3
"""Steps before the clock runs: workers start, and memory is taken."""
Work = Callable[[], float]
"""Returns: seconds for each window or step."""
Row = tuple[str, str, str, str, str]
HEAD = ("what", "unit", "per second", "geoseg is ×", "to reach")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="side of a scene")
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--windows", type=int, default=400, help="read in each round")
    parser.add_argument("--steps", type=int, default=8, help="trained in each round")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = data_set(Path(folder), options.scenes, options.size)
        device = choose("cpu", options.precision)
        rows, notes = reading(dataset, options)
        rows += training(dataset, device, options)
        print(f"{alone.machine(device)}; medians of {options.rounds}")
        print(table(HEAD, rows))
        if torch.cuda.is_available():
            device = choose("cuda", options.precision)
            print(f"{alone.machine(device)}\n{table(HEAD, training(dataset, device, options))}")
        for note in notes:
            print(f"  {note}")


def data_set(folder: Path, count: int, size: int) -> Dataset:
    """Scenes of four bands of bytes with targets, side by side, all of the same pixels."""
    image = np.clip(made.texture(size, size, seed=1) // 40, 1, 255).astype(np.uint8)
    patches = made.texture(size, size, bands=1, seed=2, steps=(64, 256))
    codes = (patches // 300 % made.CLASSES + 1).astype(np.uint8)
    card, out = made.card(scale=1 / 40), folder / "dataset"
    for number in range(count):
        grid = made.grid(size, size, left=2 * size * number)
        path, target = folder / f"s{number}.tif", out / "targets" / f"s{number}.tif"
        with raster.create(
            path, grid, dtype="uint8", count=len(image), nodata=0, names=made.BANDS
        ) as file:
            file.write(image, grid.window)
        with raster.create(
            target, grid, dtype="uint8", nodata=0, colors=card.legend.colors()
        ) as file:
            file.write(codes, grid.window)
    scenes = tuple(find_scenes(str(folder)))
    tiles = [
        Tile(scene.name, "train", window, scene.grid.window, (1,) * made.CLASSES)
        for scene in scenes
        for window in made.TILING.tiles(scene.grid.window)
    ]
    write_tiles(out, tiles, scenes, card.legend)
    return Dataset(out, scenes, card.statistics, card.legend, made.TILING, made.PIXEL_M, {})


def reading(dataset: Dataset, options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Rows of geoseg, rasterio and TorchGeo, each in this process alone."""
    tiles = TrainTiles(dataset)
    shuffle = Shuffle(len(tiles), least=options.windows, batch=options.batch, seed=0)
    draws = list(shuffle)[: options.windows]
    loader = DataLoader(tiles, options.batch, sampler=draws, collate_fn=gather)
    where = [tiles.tiles[number].scene for number, _ in draws]
    windows = [tiles.window(*draw) for draw in draws]
    files = {
        scene.name: (rasterio.open(scene.paths[0]), rasterio.open(dataset.target(scene.name)))
        for scene in dataset.scenes
    }

    def by_geoseg() -> float:
        return timed(lambda: exhaust(loader)) / len(draws)

    def by_rasterio() -> float:
        return timed(lambda: plain_reads(files, where, windows)) / len(draws)

    works: dict[str, Work] = {"geoseg": by_geoseg, "rasterio": by_rasterio}
    notes = []
    if find_spec("torchgeo"):
        few = max(options.batch, options.windows // 8)
        slow = torchgeo_loader(dataset, few, batch=options.batch, workers=0)
        works["TorchGeo"] = lambda: timed(lambda: exhaust(slow)) / few
    else:
        notes.append("TorchGeo: skipped, not installed (pip install 'torchgeo>=0.8')")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    seconds = in_turn(works, options.rounds)
    torch.set_num_threads(threads)
    for pair in files.values():
        for file in pair:
            file.close()
    return compared("reading", "windows", seconds, {"rasterio": READING}), notes


def exhaust(loader: DataLoader[Any]) -> None:
    for _ in loader:
        pass


def plain_reads(files: dict[str, Any], where: list[str], windows: list[Window]) -> None:
    for scene, window in zip(where, windows, strict=True):
        image, target = files[scene]
        place = RioWindow(window.left, window.top, window.width, window.height)
        image.read(window=place)
        target.read(1, window=place)


def training(dataset: Dataset, device: Device, options: argparse.Namespace) -> list[Row]:
    """Rows of geoseg, PyTorch and, on a CPU, TorchGeo."""
    works: dict[str, Work] = {
        "geoseg": lambda: fitted(dataset, device, options.steps, options.batch),
        "PyTorch": bare(dataset, device, options.steps, options.batch),
    }
    on_gpu = device.torch.type == "cuda"
    targets = {"PyTorch": ON_GPU if on_gpu else TRAINING, "TorchGeo": TIMES}
    if not on_gpu and find_spec("torchgeo"):
        steps = max(1, options.steps // 6)
        works["TorchGeo"] = lambda: torchgeo_fit(dataset, steps, options.batch)
    seconds = in_turn(works, options.rounds)
    return compared(f"training, {device}", "samples", seconds, targets, each=options.batch)


def network(dataset: Dataset) -> nn.Module:
    torch.manual_seed(0)
    return models.build(made.card().model, len(dataset.bands), len(dataset.legend))


def criterion(dataset: Dataset) -> nn.Module:
    return loss.build(Loss(), names=dataset.legend.names)


class Stopwatch(nn.Module):
    """A criterion that notes when it is asked."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.times: list[float] = []

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        alone.wait_for(logits.device)
        self.times.append(time.perf_counter())
        value: Tensor = self.inner(logits, target)
        return value


def fitted(dataset: Dataset, device: Device, steps: int, batch: int) -> float:
    """Seconds for each step of a training by geoseg, from one loss to the next."""
    count = (WARM + steps + 1) * batch
    fit = Fit(
        epochs=1, epoch_tiles=count, batch_size=batch, precision=device.precision, logger="none"
    )
    tiles = TrainTiles(dataset, augment.build(LIGHT))
    shuffle = list(Shuffle(len(tiles), least=count, batch=batch, seed=0))[:count]
    options = loading(fit, device.torch)
    loader = DataLoader(tiles, batch, sampler=Listed(shuffle), collate_fn=gather, **options)
    watch = Stopwatch(criterion(dataset))
    nothing = DataLoader(TensorDataset(torch.empty(0)))
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as null:
        judge = SegmentationValidator(dataset.legend.names)
        task = Task(
            network=network(dataset),
            objective=Supervised(watch),
            train=loader,
            val=nothing,
            validator=judge,
            folder=Path(folder),
            keep=forget,
        )
        fit_network(task, fit, fabric=start(device), seed=0, console=Console(file=null))
    times = watch.times[WARM:]
    return (times[-1] - times[0]) / (len(times) - 1)


class Listed(list[Any]):
    """A sampler of draws that are drawn already."""

    epoch = 0
    shuffle = SimpleNamespace(difficulty=None)


def forget(best: nn.Module, scores: dict[str, Any]) -> None:
    """Keeps no weights: not part of a step."""


def bare(dataset: Dataset, device: Device, steps: int, batch: int) -> Work:
    """The shortest loop: one batch in memory, over and over."""
    model, judge = device.place(network(dataset)).train(), criterion(dataset).to(device.torch)
    fit = Fit()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=fit.peak, weight_decay=fit.weight_decay, fused=True
    )
    random = torch.Generator().manual_seed(0)
    image = torch.randn((batch, len(dataset.bands), SIDE, SIDE), generator=random)
    image = image.to(device.torch).contiguous(memory_format=torch.channels_last)
    shape = (batch, SIDE, SIDE)
    target = torch.randint(len(dataset.legend), shape, generator=random).to(device.torch)

    def step() -> None:
        with device.autocast():
            value = judge(model(image), target)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    def work() -> float:
        for _ in range(WARM):
            step()
        alone.wait_for(device.torch)
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        alone.wait_for(device.torch)
        return (time.perf_counter() - begin) / steps

    return work


def torchgeo_loader(dataset: Dataset, length: int, *, batch: int, workers: int) -> DataLoader[Any]:
    """Random windows of images and masks by TorchGeo, scaled like geoseg's."""
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import RandomGeoSampler

    class Masks(RasterDataset):
        is_image = False

    middle, factor = (torch.from_numpy(v)[:, None, None] for v in dataset.statistics.scaling())

    def scaled(sample: dict[str, Any]) -> dict[str, Any]:
        return sample | {"image": (sample["image"] - middle) * factor}

    def indices(sample: dict[str, Any]) -> dict[str, Any]:
        return sample | {"mask": sample["mask"] - 1}

    def stacked(samples: list[dict[str, Any]]) -> dict[str, Any]:
        whole = stack_samples(samples)
        return {"image": whole["image"], "mask": whole["mask"]}

    images = RasterDataset([scene.paths[0] for scene in dataset.scenes], transforms=scaled)
    targets = [str(dataset.target(scene.name)) for scene in dataset.scenes]
    both = images & Masks(targets, transforms=indices)
    sampler = RandomGeoSampler(both, size=SIDE, length=length)
    return DataLoader(
        both, batch, sampler=sampler, num_workers=workers, collate_fn=stacked,
        persistent_workers=workers > 0,
    )  # fmt: skip


def torchgeo_fit(dataset: Dataset, steps: int, batch: int) -> float:
    """Seconds for each step of Lightning's Trainer with TorchGeo's task and sampler."""
    from lightning.pytorch import Callback, Trainer
    from torchgeo.trainers import SemanticSegmentationTask

    times: list[float] = []

    class Times(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    class Plain(SemanticSegmentationTask):
        """Without a schedule of the learning rate, which asks for a validation."""

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])

    workers = loading(Fit(), torch.device("cpu"))["num_workers"]
    loader = torchgeo_loader(dataset, (steps + 1) * batch, batch=batch, workers=workers)
    task = Plain(
        "unet", "resnet18", in_channels=len(dataset.bands), num_classes=len(dataset.legend)
    )
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[Times()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, about workers and validation
        trainer.fit(task, loader)
    return (times[-1] - times[0]) / (len(times) - 1)


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def in_turn(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of all, one after the other in each round; the first round is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(-1, rounds):
        for name, work in works.items():
            took = work()
            if number >= 0:
                seconds[name].append(took)
    return seconds


def compared(
    what: str,
    unit: str,
    seconds: dict[str, list[float]],
    targets: dict[str, float],
    *,
    each: int = 1,
) -> list[Row]:
    """A row for each; its ratio is geoseg's rate to its own. each: units in what is timed."""
    mine = seconds["geoseg"]
    rows = []
    for name, theirs in seconds.items():
        rate = f"{each / statistics.median(theirs):.1f}"
        ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
        target = targets.get(name)
        verdict = (
            "" if target is None else f"{'reached' if ratio >= target else 'MISSED'}: {target:g}"
        )
        said = "" if name == "geoseg" else f"{ratio:.3f}"
        rows.append((f"{what}: {name}", unit, rate, said, verdict))
    return rows


if __name__ == "__main__":
    main()
