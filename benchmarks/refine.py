"""What corrections are worth: IoU after simulated clicks, what changes far away, seconds per click.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.refine [--run <folder>] [--scenes <tif> …]
        [--by learn channels both] [--teach <minutes>]

The U-Net of the buildings maps a scene that it has never seen. A made-up person clicks into the
deepest point of the largest connected error, looks at the new map, and clicks again. Far away is
what lies farther from every click than half a window. CPU seconds are those of the process, so
that other work on the machine does not count; they include writing, not the start of Python.
Each way (refine.by) has its own session; with --teach a run first learns to see clicks, from its
own data set, while its maps stay as they are.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import yaml
from scipy.ndimage import distance_transform_edt, label

from benchmarks.buildings import add_options, chosen
from benchmarks.little import geoseg
from benchmarks.real import real_data
from geoseg.geo.raster import Raster
from geoseg.geo.vector import Table, write_layers
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.refinement.old_maps import OldMap
from geoseg.refinement.refine import Inputs, refine
from geoseg.refinement.settings import WAYS, Refining

SCENES = ("catanduanes_1",)
SHOWN = (0, 1, 2, 5, 10, 20)


def truth_of(old: OldMap) -> np.ndarray:
    """Codes (H, W) of the scene's labels."""
    place = old.scene.name.split("_")[0]
    path = real_data() / "buildings" / f"{place}_buildings.geojson"
    labels = Labels(path=str(path), name="building", background="other")
    with open_labels(labels, old.map.legend, scenes={old.scene.name: old.scene.grid}) as source:
        return source.burn(old.scene.grid)


def read(path: Path) -> np.ndarray:
    with Raster(path) as file:
        return file.read(file.grid.window)[0][0]


def click(codes: np.ndarray, truth: np.ndarray, done: list[tuple[int, int]]) -> tuple[int, int]:
    """Row and column of the deepest point of the largest connected error."""
    wrong = codes != truth
    best = (0, (0, 0))
    for code in np.unique(truth[wrong]).tolist():
        parts, _ = label(wrong & (truth == code))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        inside = parts == int(sizes.argmax())
        depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        for row, column in done:
            depth[row, column] = 0
        place = np.unravel_index(int(depth.argmax()), depth.shape)
        best = max(best, (int(sizes.max()), (int(place[0]), int(place[1]))))
    return best[1]


def iou(codes: np.ndarray, truth: np.ndarray, code: int) -> float:
    both, either = (codes == code) & (truth == code), (codes == code) | (truth == code)
    return float(both.sum() / max(1, either.sum()))


def session(
    old: OldMap, inputs: Inputs, out: Path, *, clicks: int, settings: Refining
) -> Iterator[dict[str, Any]]:
    """Figures after each click, and before the first."""
    truth, grid, legend = truth_of(old), old.scene.grid, old.map.legend
    building = legend.code_of("building")
    predicted = codes = read(old.paths[0])
    done: list[tuple[int, int]] = []
    yield {"clicks": 0, "iou": iou(codes, truth, building)}
    reach = settings.reach or inputs.tiling.size // 2
    path = out / "clicks.gpkg"
    for number in range(1, clicks + 1):
        done.append(click(codes, truth, done))
        places = np.array([grid.transform @ (c + 0.5, r + 0.5) for r, c in done])
        classes = [int(truth[place]) for place in done]
        table = Table({"class": classes}, shapely.points(places), grid.crs)
        write_layers(path, {"clicks": table})
        begin, wall = time.process_time(), time.perf_counter()
        refine(inputs, path, out / "maps", settings=settings)
        seconds, wall = time.process_time() - begin, time.perf_counter() - wall
        codes = read(out / "maps" / "landcover" / f"{old.scene.name}.tif")
        marked = np.ones(codes.shape, bool)
        marked[tuple(np.array(done).T)] = False
        far = distance_transform_edt(marked) > reach
        moved = codes != predicted
        yield {
            "clicks": number,
            "iou": iou(codes, truth, building),
            "clicked_right": float(np.mean([codes[p] == truth[p] for p in done])),
            "far": int(far.sum()),
            "far_changed": float(moved[far].mean()) if far.any() else 0.0,
            "changed": float(moved.mean()),
            "cpu_seconds": seconds,
            "seconds": wall,
        }


def tell(row: dict[str, Any], first: dict[str, Any]) -> None:
    """Print the figures after a click."""
    print(
        f"{row['clicks']:>6} {row['iou']:>16.3f} {row['iou'] - first['iou']:>+7.3f}"
        f" {row.get('clicked_right', 1):>14.0%} {row.get('far_changed', 0):>12.2%}"
        f" {row.get('changed', 0):>12.2%} {row.get('cpu_seconds', 0):>6.2f}",
        flush=True,
    )


def taught(run: Path, folder: Path, *, minutes: float) -> Path:
    """The run of a network that sees clicks and maps as that of `run`, trained on its data set."""
    with (run / ".hydra" / "config.yaml").open(encoding="utf-8") as file:
        dataset = yaml.safe_load(file)["dataset"]
    geoseg("train", f"dataset={dataset}", f"run={folder}", f"model.weights={run}",
           "model.keep=network", "fit.clicks=true", "fit.clicks_only=true",
           f"fit.max_minutes={minutes:g}", "fit.batch_size=2", "fit.workers=0",
           "fit.pictures=0")  # fmt: skip
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, SCENES)
    parser.add_argument("--out", type=Path, default=Path("real/refine"))
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--by", nargs="+", default=["learn"], choices=WAYS)
    parser.add_argument("--teach", type=float, help="minutes in which the run learns to see clicks")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as steps=12")
    options = parser.parse_args()
    run, scenes = chosen(parser, options, SCENES)
    values = {key: json.loads(text) for key, text in (part.split("=") for part in options.set)}
    shutil.rmtree(options.out, ignore_errors=True)
    if options.teach is not None:
        run = taught(run, options.out / "taught", minutes=options.teach)
    network = TrainedNetwork.open(run, InferenceSettings())
    maps = options.out / "predicted"
    predict(network, [str(path) for path in scenes], maps).raise_if_incomplete()
    inputs = Inputs.open(network, [str(path) for path in scenes], maps)
    found: dict[str, list[dict[str, Any]]] = {}
    for old, way in itertools.product(inputs.old, options.by):
        settings = Refining(by=way, **values)
        out = options.out / old.scene.name / way
        out.mkdir(parents=True)
        rows = found[f"{old.scene.name} {way}"] = []
        grid = old.scene.grid
        print(f"{old.scene.name}, {grid.height} × {grid.width} pixels, refine.by={way}")
        print("clicks  IoU of building   gain   clicked right  far changed  all changed  CPU s")
        for row in session(old, inputs, out, clicks=options.clicks, settings=settings):
            rows.append(row)
            if row["clicks"] in SHOWN:
                tell(row, rows[0])
        cpu = [row["cpu_seconds"] for row in rows[1:]]
        wall = [row["seconds"] for row in rows[1:]]
        print(f"CPU seconds per click: mean {np.mean(cpu):.2f}, most {np.max(cpu):.2f}")
        print(f"by the clock: median {np.median(wall):.2f}, most {np.max(wall):.2f}\n")
    (options.out / "refine.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
