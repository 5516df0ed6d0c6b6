"""Prediction end to end (read, network, blend, write) against the network alone.

`python -m benchmarks.predict`: makes a scene in a temporary folder, predicts it several times in
turn with the network alone on the same tensors, and prints the ratio and where time went.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from affine import Affine

from geoseg import checkpoint, models, raster, suitability
from geoseg.bands import BandStatistics
from geoseg.card import ModelCard
from geoseg.device import choose
from geoseg.grid import Grid, Window
from geoseg.legend import Legend
from geoseg.mapping import BATCH_PIXELS, Network, Running
from geoseg.panels import cut
from geoseg.predict import predict
from geoseg.samples.windows import batches
from geoseg.scene import find_scenes
from geoseg.settings import Model
from geoseg.summary import table
from geoseg.tiling import Tiling

BANDS = ("red", "green", "blue", "nir")
CLASSES = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4000, help="side of the scene in pixels")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=None, help="windows per forward pass")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), options))


def measure(folder: Path, options: argparse.Namespace) -> str:
    """Table of medians over the runs."""
    scene = make_scene(folder / "scene.tif", options.size)
    weights = make_model(folder / "run" / "best.safetensors")
    running = Running(options.device, options.precision, options.batch)
    rows = []
    for run in range(options.runs):
        network = Network.open(weights, running)
        network.load()
        start = time.perf_counter()
        report = predict(network, str(scene), folder / f"maps{run}")
        total = time.perf_counter() - start
        report.raise_if_incomplete()
        alone, windows = network_alone(network, scene)
        rows.append(report.seconds | {"total": total, "alone": alone, "windows": windows})
    return describe(rows, choose(options.device, options.precision))


def make_scene(path: Path, size: int) -> Path:
    """Four bands of uint16 with texture at several scales, tiled and deflated."""
    random = np.random.default_rng(0)
    image = np.zeros((len(BANDS), size, size), np.float32)
    for step in (1, 4, 16, 64, 256):
        coarse = random.normal(size=(len(BANDS), size // step + 1, size // step + 1))
        fine = np.kron(coarse.astype(np.float32), np.ones((1, step, step), np.float32))
        image += fine[:, :size, :size] * np.sqrt(step) * 30
    grid = Grid("EPSG:32632", Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), size, size)
    whole = np.clip(image + 2000, 1, 10_000).astype(np.uint16)
    with raster.create(path, grid, dtype="uint16", count=4, nodata=0, names=BANDS) as file:
        for top in range(0, size, 256):
            height = min(256, size - top)
            file.write(whole[:, top : top + height], Window(top, 0, height, size))
    return path


def make_model(path: Path) -> Path:
    """U-Net resnet18 with random weights."""
    torch.manual_seed(0)
    model = Model("unet", "resnet18")
    channels = len(BANDS)
    values = {"mean": 2000, "std": 700, "p2": 500, "p98": 3500, "low": 1, "high": 9000}
    classes = [{"code": k, "name": f"class {k}", "color": "#000000"} for k in range(1, CLASSES + 1)]
    card = ModelCard(
        model=model,
        bands=BANDS,
        statistics=BandStatistics.from_dict({k: [v] * channels for k, v in values.items()}),
        dtype="uint16",
        nodata=None,
        extra={},
        pixel_size_m=0.5,
        legend=Legend.parse(classes, "benchmark"),
        tiling=Tiling(256, 64),
        scores={},
    )
    checkpoint.save(path, models.build(model, channels, CLASSES), card)
    return path


@torch.inference_mode()
def network_alone(network: Network, path: Path) -> tuple[float, int]:
    """Seconds of the forward passes that the scene takes, one batch over and over; windows."""
    card, running = network.card, network.running
    device = choose(running.device, running.precision)
    module = device.place(network.load())
    scene = suitability.check(find_scenes(str(path))[0], card)
    panels = cut(scene, card.tiling, classes=CLASSES, memory=running.memory)
    windows = sum(len(panel.rows) * len(panel.touching) for panel in panels)
    kind = device.torch.type
    size = running.batch_size or BATCH_PIXELS[kind] // card.tiling.size**2
    images = next(batches(panels, network.see, batch_size=size)).images
    assert images is not None
    images = images.to(device.torch)
    with device.autocast():
        module(images)
        synchronize(kind)
        start = time.perf_counter()
        for _ in range(-(-windows // size)):
            module(images)
        synchronize(kind)
    return time.perf_counter() - start, windows


def synchronize(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()


def describe(rows: list[dict[str, float]], device: object) -> str:
    def median(name: str) -> float:
        return statistics.median(row.get(name, 0.0) for row in rows)

    ratio = statistics.median(row["alone"] / row["total"] for row in rows)
    forwarded = median("windows") * 256**2 / 1e6
    lines = [
        (name, f"{median(key):.2f}", f"{median(key) / median('total'):.1%}")
        for name, key in (
            ("end to end", "total"),
            ("network alone, same tensors", "alone"),
            ("in the loop: network", "network"),
            ("in the loop: waiting for the reader", "wait"),
            ("in the loop: blending, handing over", "blend"),
            ("beside it: reading and scaling", "read"),
            ("beside it: writing", "write"),
        )
    ]
    return (
        f"{table(('part', 'seconds', 'of the total'), lines)}\n"
        f"  {device}, {torch.get_num_threads()} threads, {forwarded:.1f} Mpx forwarded:"
        f" {forwarded / median('total'):.2f} Mpx/s, {ratio:.3f} of the network alone"
        f" (median of {len(rows)})"
    )


if __name__ == "__main__":
    main()
