"""Networks for series on real data, all of them, against a random forest; one table at the end.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.series [row …] [--seeds 5] [--networks …]

Each row is trained by its file in conf/experiment, from random weights, for a fixed number of
epochs: no run picks its weights by what judges it. What is done is kept in --out; started again,
it goes on. The forest (500 trees, gaps filled linearly every 10 days) needs scikit-learn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks.real import real_data
from geoseg.commands import conf, run
from geoseg.dataset.sample_split import SampleSplit, Units
from geoseg.dataset.samples import Samples, SeriesDataset
from geoseg.dataset.settings import SampleSettings
from geoseg.dataset.split import share_out
from geoseg.dataset.tiles import DESCRIPTION
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo.legend import Legend
from geoseg.labels.settings import Labels
from geoseg.outputs.files import write_json
from geoseg.outputs.summary import table
from geoseg.parcels.prepare import FromStacks, FromTable, Source, prepare_series
from geoseg.scenes.bands import Bands
from geoseg.series.settings import Series
from geoseg.training.config import TrainConfig

NETWORKS = ("lstm", "tempcnn", "psetae", "ltae", "utae", "forest")
FOLDS = 5
FRANCE = "dekad_2023_FRA_LPIS_POLY_110.geoparquet"
FRANCE_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
COLORS = 0xFFFFFF
MATO_GROSSO_BANDS = ("blue", "red", "nir", "mir", "ndvi", "evi")
UTAE = ("fit.epochs=6", "fit.epoch_tiles=64", "fit.workers=0")

Part = tuple[np.ndarray, np.ndarray]
"""Places of the samples that train and of those that judge."""


@dataclass(frozen=True)
class Row:
    """A data set and how networks are judged on it."""

    name: str
    """Also of its file in conf/experiment."""
    open: Callable[[Path, Path], tuple[Source, Legend]]
    """(folder of the data, folder for tables) → where samples come from, and the legend."""
    unit: str
    ways: tuple[str, ...]
    """How samples are held out: draw, random, block, column or given."""
    targets: dict[str, float]
    """way and score → what is to be reached."""
    split: SampleSplit


def legend_of(names: list[str]) -> Legend:
    """Classes in the order of the names, in colours that nobody looks at."""
    step = COLORS // (len(names) + 1)
    entries = [
        {"code": i, "name": name, "color": f"#{i * step:06x}"} for i, name in enumerate(names, 1)
    ]
    return Legend.parse(entries, "benchmark")


def mato_grosso(data: Path, _: Path) -> tuple[Source, Legend]:
    """603 points in 137 dates of MODIS, each with a year of its own (dtwSat)."""
    folder = data / "series" / "mato_grosso"
    series = Series(
        path=[str(folder / f"{b}.tif") for b in MATO_GROSSO_BANDS], dates=str(folder / "timeline")
    )
    labels = Labels(path=str(folder / "samples.csv"), field="label")
    lines = (folder / "samples.csv").read_text(encoding="utf-8").splitlines()[1:]
    names = sorted({line.split(",")[4].strip('"') for line in lines})
    return FromStacks.open(series, labels), legend_of(names)


def formosat(data: Path, scratch: Path) -> tuple[Source, Legend]:
    """260 + 260 series of 149 dates, 13 classes, as split (Pelletier et al. 2019)."""
    import pandas as pd

    parts = []
    for part in ("train", "test"):
        rows = np.loadtxt(data / "series" / "formosat" / f"{part}_dataset.csv", delimiter=",")
        values = rows[:, 2:].reshape(len(rows), -1, 3)
        dates = np.datetime64("2006-02-01") + 2 * np.arange(values.shape[1])
        frame = {
            "id": np.repeat([f"{part}{i}" for i in range(len(rows))], len(dates)),
            "date": np.tile(dates.astype(str), len(rows)),
            "label": np.repeat([f"class {int(c)}" for c in rows[:, 0]], len(dates)),
            "group": np.repeat([f"{part}{int(p)}" for p in rows[:, 1]], len(dates)),
            "part": part,
        }
        bands = {f"b{band}": values[:, :, band].ravel() for band in range(3)}
        parts.append(pd.DataFrame(frame | bands))
    whole = pd.concat(parts)
    whole.to_parquet(scratch / "formosat.parquet")
    names = sorted(set(whole["label"]), key=lambda name: int(name.split()[1]))
    source = FromTable(
        str(scratch / "formosat.parquet"), Labels(), Series(), Bands(order=["b0", "b1", "b2"]),
        SampleSettings(), "part",
    )  # fmt: skip
    return source, legend_of(names)


def france(data: Path, scratch: Path) -> tuple[Source, Legend]:
    """396 points of 10 crops, ten-day series with 46 % of the values missing (WorldCereal)."""
    import pandas as pd

    folder = data / "series" / "france"
    mapping = json.loads((folder / "class_mappings.json").read_text(encoding="utf-8"))
    rows = pd.read_parquet(folder / FRANCE)
    rows["label"] = rows["ewoc_code"].astype(str).map(mapping["CROPTYPE_INSEASON_FRANCE"])
    counts = rows.groupby("sample_id")["label"].first().value_counts()
    rows = rows[rows["label"].isin(counts.index[counts >= 10])]
    # Blocks of 0.01°, as the reference has them.
    rows["block"] = [
        f"{int(y // 0.01)}_{int(x // 0.01)}" for x, y in zip(rows["lon"], rows["lat"], strict=True)
    ]
    bands = [f"S2-L2A-{band}" for band in FRANCE_BANDS]
    kept = ["sample_id", "timestamp", "lon", "lat", "label", "block", *bands]
    rows[kept].to_parquet(scratch / "france.parquet")
    source = FromTable(
        str(scratch / "france.parquet"), Labels(), Series(), Bands(order=bands, nodata=65535),
        SampleSettings(), "block",
    )  # fmt: skip
    return source, legend_of(sorted(set(rows["label"])))


def slovenia(data: Path, _: Path) -> tuple[Source, Legend]:
    """Land-cover polygons in 68 dates of Sentinel-2 with cloud masks (eo-learn)."""
    folder = data / "series" / "slovenia"
    series = Series(path=str(folder / "ndvi"), masks=str(folder / "cloud"))
    labels = Labels(path=str(folder / "parcels.gpkg"), field="LULC_NAME", unknown="unlabelled")
    samples = SampleSettings(max_pixels=0)
    source = FromStacks.open(series, labels, samples=samples)
    values, counts = np.unique(source.parcels.value.astype(str), return_counts=True)
    names = [str(v) for v, n in zip(values, counts, strict=True) if n >= FOLDS and v != "None"]
    return source, legend_of(names)


GIVEN = SampleSplit(by="column", column="part", val=0.0, test=["test"])
ALL = SampleSplit(by="random", val=0.0, test=0.0)
BLOCKS = SampleSplit(by="column", column="block", val=0.0, test=0.0)
ROWS = (
    Row("mato_grosso", mato_grosso, "pixel", ("draw",),
        {"draw users": 0.975, "draw producers": 0.975}, ALL),
    Row("france", france, "pixel", ("random", "column"),
        {"random oa": 0.79, "column oa": 0.74, "random f1": 0.621, "column f1": 0.428}, BLOCKS),
    Row("formosat", formosat, "pixel", ("given",), {"given oa": 0.72}, GIVEN),
    Row("slovenia", slovenia, "pixel", ("block",), {"block oa": 0.92}, ALL),
)  # fmt: skip


def parts(way: str, samples: Samples, crs: str | None, seed: int) -> Iterator[Part]:
    """Who trains and who judges, once or for each fold."""
    places = np.arange(len(samples))
    if way == "given":
        yield places[samples.split == "train"], places[samples.split == "test"]
    elif way == "draw":  # a tenth of each class trains
        random = np.random.default_rng(seed)
        train = np.concatenate(
            [
                random.permutation(places[samples.code == code])[
                    : max(1, round(0.1 * (samples.code == code).sum()))
                ]
                for code in np.unique(samples.code)
            ]
        )
        yield np.sort(train), np.setdiff1d(places, train)
    else:
        # Not samplesplit.folds: that refuses classes in fewer blocks than folds, which france has.
        units = Units.of(samples, way, block_m=None, crs=crs)
        shares = dict.fromkeys(range(FOLDS), 1 / FOLDS)
        drawn = share_out(dict(enumerate(units.counts(samples.code))), shares, seed=seed)
        fold = np.array([drawn[unit] for unit in units.index])
        for number in range(FOLDS):
            yield places[fold != number], places[fold == number]


def each_pixel(samples: Samples) -> Samples:
    """Each pixel as a sample of its own; those of one parcel stay at its centre, in one block."""
    owner = np.repeat(np.arange(len(samples)), samples.pixels)
    start = np.repeat(np.cumsum(samples.pixels) - samples.pixels, samples.pixels)
    first = samples.first[owner] + np.arange(len(owner)) - start
    return replace(samples.take(owner), first=first, pixels=np.ones(len(owner), np.int64))


def composed(row: str, network: str) -> TrainConfig:
    """The training that conf/experiment pins."""
    run.register("train", TrainConfig)
    with initialize_config_dir(str(conf.CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"experiment={row}", f"model={network}"])
        config: TrainConfig = run.to_objects(cfg, TrainConfig)
        return config


def judge(job: tuple[str, str, str, int, str]) -> dict[str, float]:
    """Scores of one network, way and seed of a row, pooled over its folds."""
    name, network, way, seed, folder = job
    path = Path(folder) / name / f"{network}_{way}_{seed}.json"
    made_of = digest(name, network, Path(folder) / name / "dataset" / DESCRIPTION)
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("made_of", None) == made_of:
            return found
    if network == "utae":
        values = mapped(name, Path(folder) / name, seed)
        write_json(path, values | {"made_of": made_of})
        return values
    dataset = SeriesDataset.load(Path(folder) / name / "dataset")
    samples, legend = dataset.samples(), dataset.legend
    if dataset.unit == "pixel":
        samples = each_pixel(samples)
    began = time.perf_counter()
    matrix = np.zeros((len(legend), len(legend)), np.int64)
    for train, test in parts(way, samples, dataset.crs, seed):
        guess = (forest if network == "forest" else trained)(
            dataset, samples.take(train), samples.take(test), name, network, seed
        )
        truth = np.searchsorted(legend.codes, samples.code[test])
        matrix += confusion(truth, guess, len(legend))
    scores = Scores.of(matrix, legend.names)
    values = {
        "oa": scores.overall_accuracy,
        "f1": scores.macro_f1,
        "users": float(np.nanmean(scores.users_accuracy)),
        "producers": float(np.nanmean(scores.producers_accuracy)),
        "seconds": time.perf_counter() - began,
    }
    write_json(path, values | {"made_of": made_of})
    print(f"{name} {network} {way} seed {seed}: {values}", flush=True)
    return values


def digest(row: str, network: str, described: Path) -> str:
    """Names the settings and the data that a result is made of."""
    told = "" if network == "forest" else repr(composed(row, network))
    return hashlib.sha256(told.encode() + described.read_bytes()).hexdigest()[:16]


def mapped(row: str, folder: Path, seed: int) -> dict[str, float]:
    """Scores of U-TAE on the pixels of a fifth of the blocks, by the commands themselves."""
    began = time.perf_counter()
    data = real_data() / "series" / row
    legend = SeriesDataset.load(folder / "dataset").legend
    entries = [{"code": c.code, "name": c.name, "color": c.color} for c in legend.classes]
    write_json(folder / "legend.yaml", {"classes": entries})  # JSON is YAML
    dataset, run = folder / f"map_{seed}", folder / f"utae_{seed}"
    calls = {
        "prepare_series": [
            "unit=map", f"series.path={data / 'ndvi'}", f"series.masks={data / 'cloud'}",
            f"labels.path={data / 'parcels.gpkg'}", "labels.field=LULC_NAME",
            "labels.unknown=unlabelled", f"legend.path={folder / 'legend.yaml'}", "tiling.size=32",
            "split.val=0.1", "split.test=0.2", f"split.seed={seed}",
        ],
        "train": ["model=utae", "loss=cross_entropy", f"run={run}", f"seed={seed}", *UTAE],
    }  # fmt: skip
    for name, keys in calls.items():
        call = [sys.executable, "-m", f"geoseg.{name}", f"dataset={dataset}", "overwrite=true"]
        subprocess.run([*call, *keys], check=True, stdout=subprocess.DEVNULL)
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))["test"]
    classes = scores["classes"]
    means = {
        short: float(np.mean([c[name] for c in classes if c[name] is not None]))
        for short, name in (("users", "users_accuracy"), ("producers", "producers_accuracy"))
    }
    return {
        "oa": scores["overall_accuracy"],
        "f1": scores["macro_f1"],
        **means,
        "seconds": time.perf_counter() - began,
    }


def draw_maps(row: str, out: Path) -> None:
    """Train on all samples of a row and map its whole ground, by the commands themselves."""
    data, folder = real_data() / "series" / row, out / row

    def geoseg(name: str, *keys: str) -> None:
        subprocess.run(
            [sys.executable, "-m", f"geoseg.{name}", *keys, "overwrite=true"], check=True
        )

    run = f"run={folder / 'run'}"
    geoseg("train", f"experiment={row}", f"dataset={folder / 'dataset'}", run)
    checkpoint = f"checkpoint={folder / 'run'}"
    if row == "mato_grosso":  # a map per year, from one September to the next
        files = ",".join(str(data / f"{band}.tif") for band in MATO_GROSSO_BANDS)
        found = (f"series.path=[{files}]", f"series.dates={data / 'timeline'}")
        for year in range(2007, 2012):
            period = (f"series.start={year}-09-01", f"series.end={year + 1}-09-01")
            geoseg("predict", checkpoint, *found, *period, f"out={folder / 'maps' / str(year)}")
    else:  # a map, and the parcels
        found = (f"series.path={data / 'ndvi'}", f"series.masks={data / 'cloud'}")
        parcels = f"parcels={data / 'parcels.gpkg'}"
        geoseg("predict", checkpoint, *found, f"out={folder / 'maps' / 'pixels'}")
        geoseg("predict", checkpoint, *found, parcels, f"out={folder / 'maps' / 'parcels'}")


def trained(
    dataset: SeriesDataset, train: Samples, test: Samples, row: str, network: str, seed: int
) -> np.ndarray:
    """Class indices of the test samples by a network."""
    import torch

    from geoseg.training.settings import TrainingSettings
    from geoseg.training.tasks.series import fit_fold

    torch.set_num_threads(1)
    config = composed(row, network)
    study = TrainingSettings(config.model, config.loss, config.fit, config.series, seed)
    probabilities = fit_fold(dataset, train, test, study)
    return probabilities.argmax(axis=1)


def forest(
    dataset: SeriesDataset, train: Samples, test: Samples, row: str, network: str, seed: int
) -> np.ndarray:
    """Class indices of the test samples by 500 trees on their mean series, gaps filled."""
    from sklearn.ensemble import RandomForestClassifier

    codes = dataset.legend.codes
    model = RandomForestClassifier(500, random_state=seed, n_jobs=1)
    model.fit(filled(dataset, train), np.searchsorted(codes, train.code))
    guess: np.ndarray = model.predict(filled(dataset, test))
    return guess


def filled(dataset: SeriesDataset, samples: Samples) -> np.ndarray:
    """Mean series (N, G · C), linear between clear dates every 10 days."""
    from geoseg.scenes.stack import observed

    grid = np.arange(dataset.days[0], dataset.days[1] + 10, 10)
    rows = []
    for i in range(len(samples)):
        pixels, days = dataset.arrays(samples.tile[i])
        first = samples.first[i]
        values = pixels[first : first + samples.pixels[i]].astype(np.float64)
        values[~observed(pixels[first : first + samples.pixels[i]])] = np.nan
        when = days if days.ndim == 1 else days[first]
        seen = ~np.isnan(values)
        mean = np.nansum(values, axis=0) / np.maximum(seen.sum(axis=0), 1)
        known = np.any(seen, axis=0)
        bands = [
            np.interp(grid, when[known[:, c]], mean[known[:, c], c])
            if known[:, c].any()
            else np.zeros(len(grid))
            for c in range(mean.shape[1])
        ]
        rows.append(np.concatenate(bands))
    return np.array(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(names)}; by default all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--maps", action="store_true", help="map the whole ground too")
    parser.add_argument("--out", type=Path, default=Path("real") / "series")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(names):
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(names)}")
    data = real_data()
    if not data.is_dir():
        parser.error(f"{data}: no such folder; set GEOSEG_REAL_DATA to the real data")
    rows = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    for row in rows:
        folder = arguments.out / row.name
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "dataset" / DESCRIPTION).exists():
            continue
        source, legend = row.open(data, folder)
        prepare_series(source, legend, folder / "dataset", unit=row.unit, split=row.split)
    jobs = [
        (row.name, network, way, seed, str(arguments.out))
        for seed in range(arguments.seeds)
        for row in rows
        for way in row.ways
        for network in arguments.networks.split(",")
        if network != "utae" or row.name == "slovenia"  # the others are points
    ]
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        results = dict(zip(jobs, pool.imap(judge, jobs), strict=True))
    for row in rows:
        if row.name in ("mato_grosso", "slovenia") and arguments.maps:
            draw_maps(row.name, arguments.out)
    print(f"\nOn {os.cpu_count()} CPU cores, {date.today()}, {arguments.seeds} seeds:\n")
    for row in rows:
        print(report(row, results), end="\n\n")
    return 0


def spread(values: list[float]) -> float:
    """Standard deviation; 0 of one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def report(row: Row, results: dict[Any, dict[str, float]]) -> str:
    """The row's table: a line per way and network, mean ± sd over the seeds."""
    lines = []
    for way in row.ways:
        networks = dict.fromkeys(job[1] for job in results if job[0] == row.name)
        for network in networks:
            got = [v for j, v in results.items() if j[:3] == (row.name, network, way)]
            cells = [
                f"{np.mean([v[score] for v in got]):.3f} ± {spread([v[score] for v in got]):.3f}"
                for score in ("oa", "f1", "users", "producers")
            ]
            lines.append([way, network, *cells, f"{np.mean([v['seconds'] for v in got]):.0f} s"])
    head = ["held out", "network", "OA", "macro F1", "user's", "producer's", "time"]
    reach = ", ".join(f"{name} ≥ {value}" for name, value in row.targets.items())
    return f"{row.name} (to reach: {reach})\n{table(head, lines)}"


if __name__ == "__main__":
    sys.exit(main())
