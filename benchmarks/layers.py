"""What layers, thresholds and a calibration add to the cost of a prediction.

    python -m benchmarks.layers [--rows 8]

CPU seconds per megapixel of one thread, which other programs on the machine hardly change: of the
final rows as they are turned into maps, in several ways, and of the network (U-Net resnet18, four
bands, six classes, bfloat16 where the hardware has it) on the windows that this takes. The share
is what a way adds to the network's cost; to reach: a calibration adds 2 % at most. Novelty is
measured with the scores that the network adds to its logits (512 features, as of a resnet18), and
with the planes that are ranked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import made
from geoseg.maps.layers import LAYERS
from geoseg.models.calibration import Calibration
from geoseg.models.device import choose
from geoseg.models.networks import build as models
from geoseg.models.novelty import QUANTILES, FeatureNovelty
from geoseg.models.scored import ScoredImages
from geoseg.outputs.summary import table
from geoseg.prediction.backends.build import prepare
from geoseg.prediction.layers import Ranker, RowMaker

WIDTH = 2048
OVERLAP = (made.TILING.size / (made.TILING.size - made.TILING.overlap)) ** 2
"""Pixels that the network sees per pixel of the map."""


def calibration() -> Calibration:
    """A temperature of 1.6."""
    scale, bias = [1 / 1.6] * made.CLASSES, [0.0] * made.CLASSES
    return Calibration("temperature", scale, bias, "a", ["a"], "none", 0, "val", 20, 1, {})


def cost(call: Callable[[], object], pixels: int, repeats: int = 5) -> float:
    """Least CPU seconds per megapixel."""
    call()
    least = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        call()
        least = min(least, time.process_time() - begin)
    return least / pixels * 1e6


def novelty() -> FeatureNovelty:
    """What a network with 512 deepest features knows."""
    features, looks = 512, 3 * len(made.BANDS) - 1
    quantiles = np.linspace(0, 10, QUANTILES)
    return FeatureNovelty(
        mean=np.zeros(features),
        precision=np.eye(features),
        mixture=np.zeros((0, 0)),
        distance=quantiles,
        energy=quantiles,
        looks_mean=np.zeros(looks),
        looks_precision=np.eye(looks),
        looks=quantiles,
        together=quantiles,
    )


def network_costs() -> tuple[float, float]:
    """Of the network on windows, per megapixel of map: as it is, and with scores of novelty."""
    device = choose("cpu", "auto")
    torch.manual_seed(0)
    mine = made.card()
    module = models.build(mine.model, len(mine.bands), len(mine.legend))
    size, classes = made.TILING.size, len(mine.legend)
    shape = (4, len(mine.bands), size, size)
    images = torch.randn(shape).to(memory_format=torch.channels_last)
    found = []
    for network in (module, ScoredImages(module, novelty()).eval()):
        run = prepare(network, device, backend="torch", shape=shape)

        def look(run: Callable[[torch.Tensor], torch.Tensor] = run) -> torch.Tensor:
            return run(images)[:, :classes].float().softmax(1)

        found.append(OVERLAP * cost(look, 4 * size**2, 3))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=made.TILING.size - made.TILING.overlap)
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    shares = torch.randn(made.CLASSES, rows, WIDTH).mul_(3).softmax(0)
    ways = {
        "class and confidence": RowMaker(made.CLASSES),
        "… with a threshold": RowMaker(made.CLASSES, thresholds=[0.6] * made.CLASSES),
        "… calibrated": RowMaker(made.CLASSES, calibration=calibration()),
    }
    for name in LAYERS:
        # Novelty is made of a network's features, not of the shares that are here.
        if name not in ("confidence", "disagreement", "novelty"):
            ways[f"… and {name}"] = RowMaker(made.CLASSES, ("confidence", name))
    network, scored = network_costs()
    costs = {
        name: cost(lambda make=make: make(shares.clone()), rows * WIDTH)  # type: ignore[misc]
        for name, make in ways.items()
    }
    ranker = Ranker(novelty())
    ranked = RowMaker(made.CLASSES, ("confidence", "novelty"), ranker=ranker)
    planes = torch.cat([shares, torch.rand(ranker.planes, rows, WIDTH) * 10])
    costs["… and novelty"] = cost(lambda: ranked(planes.clone()), rows * WIDTH) + scored - network
    usual = costs["class and confidence"]
    lines = [
        [name, f"{1000 * seconds:.1f} ms", f"{(seconds - usual) / (network + usual):+.1%}"]
        for name, seconds in costs.items()
    ]
    print(f"network: {1000 * network:.0f} ms of CPU per megapixel of map")
    print(table(["rows become", "CPU per Mpx", "added to the prediction"], lines))


if __name__ == "__main__":
    main()
