"""Prediction against what one would write today: the same weights, scene and overlap, on a CPU.

    python -m benchmarks.peers [--steps 8] [--runs 3]

The peers, each as its documentation teaches, in float32 and PyTorch's usual layout:

- a loop over windows by rasterio around the network of segmentation-models-pytorch;
- TorchGeo: RasterDataset, GridGeoSampler, DataLoader, windows averaged;
- Raster Vision: SemanticSegmentationSlidingWindowGeoDataset, Learner.predict_dataset,
  SemanticSegmentationSmoothLabels.

All read one compressed GeoTIFF and write one of classes, with a network that is loaded; all forward
the same windows, since the scene's side is a window and a whole number of steps. U-Net resnet18,
four bands, windows of 256 that share 64; batches of 4. To reach, by pixels forwarded: 5 times the
loop and TorchGeo, 8 times Raster Vision, 2.5 times the loop in float32.

TorchGeo and Raster Vision are needed for this only; what is not installed is left out and said.
`pip install -e ".[peers]"` brings both, best into an environment of their own and without
constraints.txt: Raster Vision's parts ask for pandas below 3.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import Tensor, nn

from benchmarks import alone, made
from geoseg.models import checkpoint
from geoseg.models.device import choose
from geoseg.outputs.summary import table
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork

SIZE, OVERLAP = made.TILING.size, made.TILING.overlap
STEP = SIZE - OVERLAP
CLASSES = made.CLASSES
Work = Callable[[Path, Path], float | None]
"""Predicts a scene and writes a map. Returns: seconds that are done once, whatever there is to
predict, and so are not counted."""
FAST, EXACT = "geoseg", "geoseg, float32"


@dataclass(frozen=True)
class Way:
    """One way to make the map."""

    name: str
    work: Callable[..., None]
    """(network, mean, std, scene, map): see `loop`."""
    package: str | None = None
    """What must be installed."""
    pip: str = ""
    """How."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8, help="windows along a side, less one")
    parser.add_argument("--runs", type=int, default=3, help="of each, in turn")
    parser.add_argument("--warm-ups", type=int, default=1, help="runs before them, not timed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), options))


def measure(folder: Path, options: argparse.Namespace) -> str:
    """Table of all that is installed; what is left out, and why."""
    side = SIZE + STEP * options.steps
    scene = made.scene(folder / "scene.tif", made.grid(side, side))
    weights = made.unet(folder / "run" / "best.safetensors")
    # What predict.backend=auto takes on Intel's CPUs, if there is enough to do.
    best = "openvino" if find_spec("openvino") else "torch"
    works: dict[str, Work] = {
        name: partial(geoseg, opened(weights, precision, backend))
        for name, precision, backend in (
            (FAST, "auto", best),
            (EXACT, "32", best),
            ("geoseg, torch", "auto", "torch"),
            ("geoseg, torch, float32", "32", "torch"),
        )
    }
    left_out = []
    network, card = checkpoint.load(weights)
    mean, std = (np.array(v, np.float32) for v in (card.statistics.mean, card.statistics.std))
    for way in WAYS:
        if way.package is not None and find_spec(way.package) is None:
            left_out.append(f"{way.name}: skipped, not installed ({way.pip})")
        else:
            works[way.name] = partial(way.work, network, mean, std)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    maps: dict[str, np.ndarray] = {}
    for run in range(-options.warm_ups, options.runs):
        for number, (name, work) in enumerate(list(works.items())):
            target = folder / f"{run}_{number}.tif"
            start = time.perf_counter()
            try:
                once = work(scene, target) or 0.0
            except Exception as error:  # another version of a peer must not hide the others
                if name.startswith("geoseg"):
                    raise
                left_out.append(f"{name}: can't run here ({type(error).__name__}: {error})")
                del works[name], seconds[name]
                continue
            if run >= 0:
                seconds[name].append(time.perf_counter() - start - once)
            with rasterio.open(target) as file:
                # geoseg's codes count from 1, indices from 0.
                maps[name] = file.read(1) - name.startswith("geoseg")
    forwarded = ((options.steps + 1) * SIZE) ** 2 / 1e6
    return "\n".join([describe(seconds, maps, forwarded), *(f"  {text}" for text in left_out)])


def describe(seconds: dict[str, list[float]], maps: dict[str, np.ndarray], mpx: float) -> str:
    """Table of medians; ratios within a round, so that what slows one down slows the others."""
    auto, exact = seconds[FAST], seconds[EXACT]
    reference = maps[EXACT]
    lines = []
    for name, mine in seconds.items():
        ratios = (
            statistics.median(theirs / ours for theirs, ours in zip(mine, base, strict=True))
            for base in (auto, exact)
        )
        rate = mpx / statistics.median(mine)
        same = (maps[name] == reference).mean()
        lines.append((name, f"{rate:.2f}", *(f"{ratio:.2f}" for ratio in ratios), f"{same:.2%}"))
    head = ("way", "Mpx/s", "geoseg is × faster", "in float32 ×", "same classes")
    device = choose("cpu")
    return (
        f"{mpx:.1f} Mpx forwarded, median of {len(auto)}; {alone.machine(device)}\n"
        f"{table(head, lines)}\n"
        "  Same classes as geoseg in float32: the peers average overlaps, geoseg fades them."
    )


def opened(weights: Path, precision: str, backend: str) -> TrainedNetwork:
    network = TrainedNetwork.open(weights, InferenceSettings("cpu", precision, backend))
    network.load()
    return network


def geoseg(network: TrainedNetwork, scene: Path, target: Path) -> float:
    """As the command does; also writes the confidence, the style and the record."""
    out = target.with_suffix("")
    report = predict(network, scene, out, tiling=made.TILING)
    report.raise_if_incomplete()
    (out / "landcover" / f"{scene.stem}.tif").rename(target)
    return report.seconds["build"]


@torch.inference_mode()
def loop(network: nn.Module, mean: np.ndarray, std: np.ndarray, scene: Path, target: Path) -> None:
    """Window after window by rasterio, four to a batch; overlaps averaged."""
    with rasterio.open(scene) as file:
        places = [(y, x) for y in starts(file.height) for x in starts(file.width)]
        sums = np.zeros((CLASSES, file.height, file.width), np.float32)
        for first in range(0, len(places), 4):
            part = places[first : first + 4]
            images = np.stack([file.read(window=Window(x, y, SIZE, SIZE)) for y, x in part])
            scaled = (images.astype(np.float32) - mean[:, None, None]) / std[:, None, None]
            found = network(torch.from_numpy(scaled)).softmax(dim=1).numpy()
            for (y, x), window in zip(part, found, strict=True):
                sums[:, y : y + SIZE, x : x + SIZE] += window
    write(scene, target, sums.argmax(axis=0))


def starts(length: int) -> range:
    return range(0, length - SIZE + 1, STEP)


def write(scene: Path, target: Path, indices: np.ndarray) -> None:
    """Write classes as bytes, compressed, on the scene's grid."""
    with rasterio.open(scene) as file:
        profile = file.profile | {"count": 1, "dtype": "uint8", "nodata": None}
    with rasterio.open(target, "w", **profile) as file:
        file.write(indices.astype(np.uint8), 1)


@torch.inference_mode()
def torchgeo(
    network: nn.Module,
    mean: np.ndarray,
    std: np.ndarray,
    scene: Path,
    target: Path,
    *,
    workers: int,
) -> None:
    """GridGeoSampler over a RasterDataset; windows are stitched by their bounds, averaged."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    middle, spread = (torch.from_numpy(v)[:, None, None] for v in (mean, std))

    def normalize(sample: dict[str, Any]) -> dict[str, Any]:
        return sample | {"image": (sample["image"] - middle) / spread}

    dataset = RasterDataset(paths=[str(scene)], transforms=normalize)
    sampler = GridGeoSampler(dataset, size=SIZE, stride=STEP)
    loader = DataLoader(
        dataset, batch_size=4, sampler=sampler, num_workers=workers, collate_fn=stack_samples
    )
    with rasterio.open(scene) as file:
        transform, height, width = file.transform, file.height, file.width
    sums = np.zeros((CLASSES, height, width), np.float32)
    for batch in loader:
        found = network(batch["image"]).softmax(dim=1).numpy()
        for (x, y, _), window in zip(batch["bounds"], found, strict=True):
            left, top = (round(v) for v in ~transform @ (x.start, y.stop))
            sums[:, top : top + SIZE, left : left + SIZE] += window
    write(scene, target, sums.argmax(axis=0))


class Scaled(nn.Module):
    """A network that scales by itself: Raster Vision's own scaling knows but shares of a type."""

    def __init__(self, network: nn.Module, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        self.network = network
        self.mean = torch.from_numpy(mean)[:, None, None]
        self.std = torch.from_numpy(std)[:, None, None]

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network((image - self.mean) / self.std)
        return logits


def raster_vision(
    network: nn.Module, mean: np.ndarray, std: np.ndarray, scene: Path, target: Path
) -> None:
    """Sliding windows, Learner.predict_dataset, smooth labels, saved as classes."""
    from rastervision.core.data import ClassConfig, SemanticSegmentationLabels
    from rastervision.pytorch_learner import (
        SemanticSegmentationGeoDataConfig,
        SemanticSegmentationLearner,
        SemanticSegmentationLearnerConfig,
        SemanticSegmentationSlidingWindowGeoDataset,
        SolverConfig,
    )

    names = [f"class {k}" for k in range(1, CLASSES + 1)]
    classes = ClassConfig(names=names, null_class=names[0])  # saving asks for one
    data = SemanticSegmentationGeoDataConfig(class_config=classes, num_workers=0)
    learner = SemanticSegmentationLearner(
        cfg=SemanticSegmentationLearnerConfig(data=data, solver=SolverConfig(batch_sz=4)),
        model=Scaled(network, mean, std),
        training=False,
    )
    dataset = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
        image_uri=str(scene), size=SIZE, stride=STEP, normalize=False
    )
    predictions = learner.predict_dataset(dataset, raw_out=True, numpy_out=True, progress_bar=False)
    labels = SemanticSegmentationLabels.from_predictions(
        dataset.windows,
        predictions,
        smooth=True,
        extent=dataset.scene.extent,
        num_classes=CLASSES,
    )
    out = target.with_suffix("")
    labels.save(
        uri=str(out),
        crs_transformer=dataset.scene.raster_source.crs_transformer,
        class_config=classes,
        smooth_output=False,
    )
    (out / "labels.tif").rename(target)


WAYS = (
    Way("rasterio loop", loop),
    *(
        Way(
            f"TorchGeo, {workers} workers",
            partial(torchgeo, workers=workers),
            "torchgeo",
            "pip install 'torchgeo>=0.8'",
        )
        for workers in (0, 2)
    ),
    Way(
        "Raster Vision, smooth labels",
        raster_vision,
        "rastervision",
        "pip install 'rastervision_pytorch_learner>=0.31'",
    ),
)


if __name__ == "__main__":
    main()
