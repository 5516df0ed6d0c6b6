"""Prediction end to end (read, network, blend, write) against the network alone.

`python -m benchmarks.predict`: makes a folder of compressed scenes, predicts it several times in
turn with the network alone on the same tensors, and prints the ratio and where time went. Pixels
are counted as forwarded: overlaps count each time. To reach: 0.92 on a CPU, 0.85 on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import alone, made
from geoseg.geo.grid import Grid
from geoseg.outputs.summary import table
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork

SHAPES = ((1.0, 1.0), (0.75, 0.5), (0.5, 1.0), (0.4, 0.4), (0.25, 0.6))
"""Height and width of the folder's scenes, in shares of --size."""
Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=3000, help="side of the largest scene")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--batch", type=int, default=None, help="windows per forward pass")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), options))


def measure(folder: Path, options: argparse.Namespace) -> str:
    """Table of medians over the runs."""
    scenes, grids = folder / "scenes", shapes(options.size)
    for number, grid in enumerate(grids):
        made.scene(scenes / f"scene{number}.tif", grid, seed=number)
    weights = made.unet(folder / "run" / "best.safetensors")
    running = InferenceSettings(
        options.device, options.precision, options.backend, batch_size=options.batch
    )
    network = TrainedNetwork.open(weights, running)
    batch = alone.first_batch(network, scenes, folder / "warm", made.TILING)
    device, runner = alone.device_of(network), alone.runner_of(network, batch)
    windows = alone.windows_of(grids, made.TILING)
    rows: list[Row] = []
    for run in range(options.runs):
        network = TrainedNetwork.open(weights, running)
        network.load()
        start = time.perf_counter()
        report = predict(network, scenes, folder / f"maps{run}", tiling=made.TILING)
        total = time.perf_counter() - start
        report.raise_if_incomplete()
        own = alone.seconds_alone(runner, batch, windows)
        rows.append(account(report.seconds, total, own))
    size = sum(path.stat().st_size for path in scenes.iterdir()) / 1e6
    return (
        f"{alone.machine(device)}, {runner.name}, batches of {len(batch)};"
        f" {len(grids)} scenes, {sum(g.window.area for g in grids) / 1e6:.1f} Mpx, {size:.0f} MB\n"
        f"{describe(rows, windows * made.TILING.size**2 / 1e6)}"
    )


def shapes(size: int) -> list[Grid]:
    """Grids of the scenes, apart from each other."""
    sides = [(int(size * high), int(size * wide)) for high, wide in SHAPES]
    return [made.grid(*side, left=2 * size * i) for i, side in enumerate(sides)]


def account(seconds: dict[str, float], total: float, own: float) -> Row:
    """Where the seconds of a prediction went; what is `lost` adds up to total - alone.

    What is done once per call, however much there is to predict, is not part of the total: to build
    the network's program.
    """
    once = seconds.get("build", 0.0)
    loop, total = seconds.get("total", 0.0) - once, total - once
    wait, network, blend = (seconds.get(name, 0.0) for name in ("wait", "network", "blend"))
    beside = {name: seconds.get(name, 0.0) for name in ("read", "write")}
    lost = {
        "before": total - loop,
        "wait": wait,
        "blend": blend,
        "slower": network - own,
        "rest": loop - wait - network - blend,
    }
    return {"total": total, "alone": own, "once": once} | lost | beside


def describe(rows: list[Row], forwarded: float) -> str:
    """The table of medians, and the ratio."""
    ratio = statistics.median(row["alone"] / row["total"] for row in rows)
    total = statistics.median(row["total"] for row in rows)
    lines = []
    for name, key in (
        ("end to end", "total"),
        ("network alone, same tensors", "alone"),
        ("lost before the loop: finding and checking scenes", "before"),
        ("lost waiting for the reader", "wait"),
        ("lost blending and handing over", "blend"),
        ("lost in the network: cores lent to reading and writing, softmax", "slower"),
        ("lost at start and end of the loop", "rest"),
        ("(once, not counted: building the network's program)", "once"),
        ("(beside the loop: reading and scaling)", "read"),
        ("(beside the loop: writing)", "write"),
    ):
        seconds = statistics.median(row[key] for row in rows)
        share = statistics.median(row[key] / row["total"] for row in rows)
        lines.append((name, f"{seconds:.2f}", f"{share:.1%}"))
    return (
        f"{table(('part', 'seconds', 'of the total'), lines)}\n"
        f"  {forwarded:.1f} Mpx forwarded: {forwarded / total:.2f} Mpx/s,"
        f" {ratio:.3f} of the network alone (median of {len(rows)})"
    )


if __name__ == "__main__":
    main()
