"""What starting from published weights is worth on real data, and what helps in another place.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.transfer [--steps 240 | --minutes N] [--sets …]

Each network learns with and without weights, for equally many steps or minutes, with geoseg's
defaults otherwise, and is judged on a part that nothing has seen. Buildings: a U-Net on lite0 with
5, 25 and 100 % of the labels, judged on catanduanes_1; beside it the plain script of the arena with
the same encoder and as many tiles. Massachusetts: the same network with 25 and 100 % of one aerial
photograph, judged on another one. Denmark and Slovenia: a U-Net on csmask. Place: trained on
kampala alone, judged on catanduanes_1, with the looks (augment.style) or the normalisation
(geoseg.adapt) of catanduanes_0, whose labels nobody sees. Light: trained on two scenes of the demo
that were taken in one flight, judged on one of other ground in the evening's light and haze, with
looks or normalisation of that one. Every result is a line of results.jsonl at once; started again,
it goes on. What is chosen is chosen by val_miou: test parts are for the report.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import rasterio
import torch
import yaml
from torch.utils.data import DataLoader

from benchmarks.arena.arrays import Images
from benchmarks.arena.plain import Budget, train_unet
from benchmarks.arena.sets import MASSACHUSETTS
from benchmarks.little import SHARES, SIDE, geoseg
from benchmarks.real import BUILDINGS, ROWS, real_data
from geoseg.dataset.tiles import Dataset
from geoseg.evaluation.accuracy import Scores
from geoseg.geo.legend import IGNORED
from geoseg.models import checkpoint
from geoseg.models import weights as weights_room
from geoseg.models.device import choose
from geoseg.models.published import fetch
from geoseg.models.published.sources import SOURCES
from geoseg.samples.tiles import OpenScenes, ValTiles, train_tiles
from geoseg.scenes.bands import scale
from geoseg.training.run.history import METRICS
from geoseg.training.validation import count

EPOCHS = 6
"""Validations of a training that goes by steps."""
YEAR = "2016"
MONTHS = {"winter": "01 02 03", "spring": "04 05 06", "summer": "07 08 09", "autumn": "10 11 12"}
LITE0 = ("model.encoder=tu-tf_efficientnet_lite0",)
CSMASK = ("model.encoder=efficientnet-b4",)
AERIAL = (0.25, 1.0)
"""Shares of the labels of the aerial photograph."""
THERE = {
    "place": "{data}/buildings/catanduanes_0.tif",
    "light": "{base}/data/demo/scenes/east.tif",
}
"""Scenes of the other place or light, of which no labels are seen."""
DEMO = 700
"""Height and width of the demo's scenes in pixels."""
LIGHT = (
    "scenes=[{demo}/scenes/north_west.tif,{demo}/scenes/north_east.tif,{demo}/scenes/east.tif]",
    "labels.path={demo}/labels.gpkg", "labels.field=class", "labels.width_field=width_m",
    "legend=demo", f"tiling.size={SIDE}",
    "split.train=[north_west]", "split.val=[north_east]", "split.test=[east]",
)  # fmt: skip
PLACES = (
    "scenes=[{data}/buildings/kampala_1.tif,{data}/buildings/kampala_0.tif,"
    "{data}/buildings/catanduanes_1.tif]",
    *(key for key in BUILDINGS if not key.startswith(("scenes=", "split.train="))),
    "split.train=[kampala_1]",
)


@dataclass(frozen=True)
class Job:
    """A training, and what is asked of it."""

    set: str
    variant: str
    share: float
    seed: int
    extra: tuple[str, ...]
    """Keys of the training; {data} stands for the folder of real data."""
    adapted: str | None = None
    """Scenes on which the normalisation is measured anew before it is judged."""
    plain: bool = False
    """Whether the arena's plain script trains it, not geoseg."""

    @property
    def name(self) -> str:
        return f"{self.set}_{self.variant.replace(' ', '_')}_{self.share:g}_{self.seed}"

    @property
    def run(self) -> str:
        """Name of the training: what is adapted was trained as what is not."""
        return self.name.replace("_adapted", "_plain").replace("_both", "_style")


def jobs(seeds: tuple[int, ...]) -> Iterator[Job]:
    """What is compared, so that whatever is done first can be compared already."""
    for seed in seeds:
        for share in SHARES:
            yield Job("buildings", "scratch", share, seed, LITE0)
            yield Job("buildings", "lite0", share, seed, (*LITE0, "model.weights=lite0"))
            yield Job("buildings", "script", share, seed, (), plain=True)
            yield Job("buildings", "script lite0", share, seed, ("lite0",), plain=True)
        for share in AERIAL:
            yield Job("massachusetts", "scratch", share, seed, LITE0)
            yield Job("massachusetts", "lite0", share, seed, (*LITE0, "model.weights=lite0"))
        for name, there in THERE.items():
            scratch, style = "model.weights=null", f"augment.style={there}"
            yield Job(name, "plain", 1.0, seed, (scratch,))
            yield Job(name, "adapted", 1.0, seed, (scratch,), adapted=there)
            yield Job(name, "style", 1.0, seed, (scratch, style))
            yield Job(name, "both", 1.0, seed, (scratch, style), adapted=there)
        yield Job("denmark", "scratch", 1.0, seed, CSMASK)
        yield Job("denmark", "csmask", 1.0, seed, (*CSMASK, "model.weights=csmask"))
        # No band of csmask's is an NDVI: its filters are taken in their order.
        named = f"model.weights_bands=[{','.join(MONTHS)}]"
        yield Job("slovenia", "scratch", 1.0, seed, CSMASK)
        yield Job("slovenia", "csmask", 1.0, seed, (*CSMASK, "model.weights=csmask", named))


def prepared(name: str, data: Path, out: Path) -> Path:
    """The data set of a name; made once."""
    folder = out / "data" / name
    if name == "slovenia":
        keys: tuple[str, ...] = _slovenia(data / "series" / "slovenia", out / "data")
    elif name == "denmark":
        row = next(row for row in ROWS if row.name == "denmark")
        keys = (*row.prepare, "bands.names=[red,green,blue]")
    elif name == "light":
        demo = out / "data" / "demo"
        geoseg("demo", f"out={demo}", f"size={DEMO}", "series=false")
        keys = tuple(key.format(demo=demo) for key in LIGHT)
    else:
        base = {"buildings": BUILDINGS, "massachusetts": MASSACHUSETTS, "place": PLACES}[name]
        keys = (*base, f"tiling.size={SIDE}")
    geoseg("prepare", *(key.format(data=data) for key in keys), f"dataset={folder}")
    return folder


def _slovenia(source: Path, out: Path) -> tuple[str, ...]:
    """Keys of a data set of the mean NDVI of each quarter, clouds left out."""
    out.mkdir(parents=True, exist_ok=True)
    scene, legend = out / "slovenia_ndvi.tif", out / "slovenia_legend.yaml"
    if not scene.exists():
        bands = [_cloudless(source, months.split()) for months in MONTHS.values()]
        with rasterio.open(next((source / "ndvi").glob("*.tif"))) as first:
            profile = first.profile | {"count": len(bands), "nodata": float("nan")}
        part = scene.with_suffix(".part.tif")
        with rasterio.open(part, "w", **profile) as written:
            written.write(np.stack(bands).astype(np.float32))
            written.descriptions = tuple(MONTHS)
        part.replace(scene)
    names = ("artificial surface", "cultivated land", "forest", "grassland", "schrubland")
    colors = ("#d7301f", "#f2e394", "#2e7d32", "#a6d96a", "#8c6d31")
    classes = [
        {"code": code, "name": name, "color": color}
        for code, (name, color) in enumerate(zip(names, colors, strict=True), 1)
    ]
    legend.write_text(yaml.safe_dump({"classes": classes}), encoding="utf-8")
    return (
        f"scenes={scene}", f"labels.path={source / 'parcels.gpkg'}", "labels.field=LULC_NAME",
        "labels.unknown=unlabelled", f"legend.path={legend}", "tiling.size=32",
        "split.by=west_east", "split.val=0.15", "split.test=0.4",
    )  # fmt: skip


def _cloudless(source: Path, months: list[str]) -> np.ndarray:
    """Mean over the cloudless dates of some months; NaN where there is none."""
    layers = []
    for path in sorted((source / "ndvi").glob(f"NDVI_{YEAR}*.tif")):
        if path.stem[9:11] not in months:
            continue
        mask = source / "cloud" / path.name.replace("NDVI_", "CLM_")
        with rasterio.open(path) as ndvi, rasterio.open(mask) as cloud:
            layers.append(np.where(cloud.read(1) == 1, np.nan, ndvi.read(1)))
    stack = np.stack(layers)
    seen = np.isfinite(stack).sum(0)
    total = np.nansum(stack, axis=0)
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)


def limits(options: argparse.Namespace) -> tuple[str, ...]:
    """Keys that end a training."""
    batch = f"fit.batch_size={options.batch}"
    if options.minutes is not None:
        return batch, f"fit.max_minutes={options.minutes}"
    tiles = options.steps // EPOCHS * options.batch
    return batch, f"fit.epochs={EPOCHS}", f"fit.epoch_tiles={tiles}"


def learn(job: Job, dataset: Path, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train, adapt and judge; what came out."""
    began = time.monotonic()
    if job.plain:
        return script(job, Dataset.load(dataset), options)
    run = options.out / "runs" / job.run
    folders = {"data": data, "base": options.out.parent}
    geoseg("train", f"dataset={dataset}", f"run={run}", f"seed={job.seed}",
           f"fit.train_share={job.share}", f"fit.workers={options.workers}", "fit.pictures=0",
           "fit.logger=none", *limits(options),
           *(key.format(**folders) for key in job.extra))  # fmt: skip
    weights = run / "best.safetensors"
    with (run / METRICS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told: dict[str, Any] = {"steps": int(rows[-1]["step"])}
    told["training_minutes"] = float(rows[-1]["minutes"])
    told["val_miou"] = max(float(row["val_miou"]) for row in rows)
    if job.adapted is not None:
        weights = run / "adapted.safetensors"
        geoseg("adapt", f"checkpoint={run}", f"scenes={job.adapted.format(**folders)}",
               f"out={weights}")  # fmt: skip
        del told["val_miou"]  # which is that of before
    network, card = checkpoint.load(weights)
    # What adaptation measured anew is part of the network: not the data set's scaling counts.
    made = replace(Dataset.load(dataset), statistics=card.statistics)
    return told | judged(network, made) | {"seconds": round(time.monotonic() - began, 1)}


def script(job: Job, dataset: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """What the arena's plain script makes of as many tiles, in as many steps or minutes."""
    import segmentation_models_pytorch as smp

    began, opened = time.monotonic(), OpenScenes(dataset)
    pieces = []
    for tile in train_tiles(dataset, job.share, job.seed):
        image, valid, target = opened.read(tile.scene, tile.window)
        pieces.append((scale(image, valid, dataset.statistics), np.where(valid, target, IGNORED)))
    data = Images(pieces, {}, len(dataset.legend), dataset.tiling.size)
    torch.manual_seed(job.seed)
    network: Any = smp.Unet(
        LITE0[0].partition("=")[2], encoder_weights=None, in_channels=len(dataset.bands),
        classes=data.classes,
    )  # fmt: skip
    for name in job.extra:
        state = weights_room.read(fetch.find(SOURCES[name]))
        weights_room.load_state(network.encoder, state, channels=len(dataset.bands), source=name)
    steps = options.steps // EPOCHS * EPOCHS if options.minutes is None else None
    budget = Budget(options.minutes, steps)
    network = train_unet(data, budget, job.seed, network=network, batch=options.batch)
    told = {"steps": budget.done, "training_minutes": budget.seconds / 60}
    return told | judged(network, dataset) | {"seconds": round(time.monotonic() - began, 1)}


def judged(network: Any, dataset: Dataset) -> dict[str, Any]:
    """Scores of a network over the test tiles, each pixel seen with what is around it."""
    device, names = choose("auto", "auto"), dataset.legend.names
    batches = DataLoader(ValTiles(dataset, "test"), 1)
    with device.autocast():
        matrix = count(device.place(network.eval()), batches, len(names), device=device.torch)
    scores = Scores.of(matrix.cpu().numpy(), list(names))
    pairs = zip(names, scores.iou, strict=True)
    iou = {name: None if value is None else round(float(value), 4) for name, value in pairs}
    return {"iou": iou, "miou": round(scores.miou, 4), "oa": round(scores.overall_accuracy, 4)}


def score_of(line: dict[str, Any]) -> float:
    """What a table shows: IoU of building or field, or the mean IoU."""
    iou = line["iou"]
    known = [iou[name] for name in ("building", "field") if name in iou and len(iou) == 2]
    return float(known[0] if known else line["miou"])


def done(path: Path, limit: str) -> dict[str, dict[str, Any]]:
    """Results that are there already, by name of the job."""
    if not path.exists():
        return {}
    *whole, cut = path.read_text(encoding="utf-8").split("\n")
    if cut:  # stopped while it wrote: that job is done again
        path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    lines = [json.loads(line) for line in whole]
    return {line["name"]: line for line in lines if line["limit"] == limit}


def table(lines: list[dict[str, Any]]) -> str:
    """A row for each variant: mean ± standard deviation over the seeds, and how many there are."""
    rows = ["| set | labels | variant | IoU | seeds |", "|---|---|---|---|---|"]
    cells: dict[tuple[str, float, str], list[float]] = {}
    for line in lines:
        key = (line["set"], line["share"], line["variant"])
        cells.setdefault(key, []).append(score_of(line))
    for (name, share, variant), values in sorted(cells.items()):
        spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
        shown = f"{mean(values):.3f}{spread}"
        rows.append(f"| {name} | {share:.0%} | {variant} | {shown} | {len(values)} |")
    return "\n".join(rows)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=240)
    length.add_argument("--minutes", type=float, help="of each training, in place of steps")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument(
        "--sets", nargs="+", help="of buildings, massachusetts, place, light, denmark, slovenia"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("real/transfer"))
    parser.add_argument("--report", action="store_true", help="only print what is there")
    options = parser.parse_args()
    if not options.report and not real_data().is_dir():
        parser.error(f"{real_data()}: no such folder; set GEOSEG_REAL_DATA to the real data")
    if options.minutes is None and options.steps < EPOCHS:
        parser.error(f"--steps {options.steps}: at least {EPOCHS}, a step between validations")
    return options


def main() -> int:
    options = parsed()
    base = options.out
    limit = f"{options.steps} steps" if options.minutes is None else f"{options.minutes:g} minutes"
    limit += f" of {options.batch}"
    # Trainings of another length are other runs.
    options.out = base / limit.replace(" ", "_")
    options.out.mkdir(parents=True, exist_ok=True)
    path, data = options.out / "results.jsonl", real_data()
    there = done(path, limit)
    wanted = [job for job in jobs(tuple(options.seeds)) if job.set in (options.sets or (job.set,))]
    for job in () if options.report else wanted:
        if job.name in there:
            continue
        told = learn(job, prepared(job.set, data, base), data, options)
        line = {"name": job.name, **asdict(job), "limit": limit, **told}
        line |= {"when": datetime.now().isoformat(timespec="seconds"), "torch": torch.__version__}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        there[job.name] = line
        print(f"{job.name}: {score_of(line):.3f} in {told['steps']} steps", flush=True)
    print(f"\n{limit}\n\n{table(list(there.values()))}")
    missing = [job.name for job in wanted if job.name not in there]
    if missing:
        print(f"\nmissing: {', '.join(missing)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
