"""Crossvalidate: networks judged on held-out samples, by blocks of the ground and at random."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__, command, processes
from geoseg.accuracy import write_confusion_csv
from geoseg.card import weights_hash
from geoseg.dataset import DESCRIPTION
from geoseg.errors import Faults, InputError
from geoseg.foldscores import Gap, Judged, caveats, majority, text, write_predictions
from geoseg.origin import Origin
from geoseg.origin import check as check_start
from geoseg.output import claim, clearing, replacing, write_json
from geoseg.report.folds import FoldReport
from geoseg.samplesplit import Folding, deal
from geoseg.seriesset import SAMPLES, Samples, SeriesDataset
from geoseg.settings import ANYWHERE, SERIES_NETWORKS, Fit, Loss, Model, SeriesSamples
from geoseg.units import WAYS, Units, centres_m, has_places, nearest_m

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.csv", "report.html"
PRODUCTS = (*WAYS, *(f"confusion_{way}.csv" for way in WAYS), SCORES, PREDICTIONS, REPORT)

FitFold = Callable[..., np.ndarray]
"""(dataset, train, held_out, *, model, loss, fit, series, seed) → probabilities (N, K) float32."""


@dataclass
class CrossvalidateConfig:
    """Train and judge a network per fold of a series data set; started again, it goes on."""

    dataset: str = "data/demo/series_dataset"
    """Folder made by geoseg.prepare_series; its split is not used, all samples take part."""
    run: str = "runs/demo_folds"
    """Folder to write: report.html, scores.json, predictions.csv, confusion_<way>.csv."""
    folds: int = 5
    """Networks trained per way and seed, each judged on what it was not shown; with
    split.by=column 0, or as many as there are values, holds out one value at a time."""
    seeds: int = 1
    """Repeats, each with other folds and weights: seed, seed + 1 …"""
    random: bool = True
    """Also hold out at random, to show the gap: what a random split would promise too much."""
    seed: int = 0
    """Of the draw of folds, the weights and all that is random in training."""
    overwrite: bool = False
    """Replace a run that was made with other settings."""
    split: Folding = field(default_factory=Folding)
    model: Model = field(default_factory=lambda: Model("ltae"))
    loss: Loss = field(default_factory=Loss)
    fit: Fit = field(default_factory=Fit)
    series: SeriesSamples = field(default_factory=SeriesSamples)

    def __post_init__(self) -> None:
        faults = Faults()
        if self.folds < 2 and not (self.folds == 0 and self.split.by == "column"):
            faults.add(
                f"folds={self.folds}: give at least 2, or 0 with split.by=column for one fold per"
                " value"
            )
        if self.seeds < 1:
            faults.add(f"seeds={self.seeds}: must be at least 1")
        if self.model.name not in SERIES_NETWORKS or self.model.name == "utae":
            known = [name for name in SERIES_NETWORKS if name != "utae"]
            faults.add(
                f"model.name={self.model.name}: not for samples; choose from {', '.join(known)}"
            )
        if (self.fit.devices or 1) * self.fit.nodes > 1 or processes.place().count > 1:
            faults.add("fit.devices: each fold is trained on one device, by one process")
        faults.raise_if_any()


def main(config: CrossvalidateConfig) -> None:
    print(crossvalidate(SeriesDataset.load(config.dataset), config))


@dataclass(frozen=True)
class Crossvalidation:
    """Scores by way, and where the report of them is."""

    ways: tuple[Judged, ...]
    gap: Gap | None
    """None if samples were held out in one way only."""
    out: Path

    def __str__(self) -> str:
        parts = [text(self.ways), *(f"note: {note}" for note in caveats(self.ways))]
        if self.gap:
            parts.append(self.gap.words)
        return "\n\n".join([*parts, f"report: {self.out / REPORT} (open it in a browser)"])


def crossvalidate(
    dataset: SeriesDataset, config: CrossvalidateConfig, *, fit_fold: FitFold | None = None
) -> Crossvalidation:
    """Train and judge a network per fold into the folder `config.run`, or go on there.

    fit_fold: trains on one part and judges another; by default that of geoseg.learnseries.
    Raises: InputError before the first training for anything that could not end well.
    """
    config = replace(config, dataset=str(dataset.folder.absolute()))
    samples, out = dataset.samples(), Path(config.run)
    check_dataset(dataset, samples)
    start = _origin(config.model)
    ways = _ways(dataset, samples, config)
    settings = {k: v for k, v in asdict(config).items() if k not in ("run", "overwrite")}
    settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in ANYWHERE}
    settings["data"] = _digest(dataset.folder)
    if start is not None:
        settings["weights"] = weights_hash(start.path)
    with clearing(out, PRODUCTS):
        claim(out, settings, command="crossvalidate", products=PRODUCTS, overwrite=config.overwrite)
        command.record(out, "crossvalidate", config)
        trainer = Trainer(dataset, samples, config, out, fit_fold or _network())
        judged = tuple(trainer.judge(way) for way in ways)
    made = Crossvalidation(judged, Gap.of(*judged) if len(judged) == 2 else None, out)
    _write(made, dataset, samples, config)
    return made


def _origin(model: Model) -> Origin | None:
    """What every network starts from; says what nobody can see from here.

    Raises: InputError if these networks can't start from it.
    """
    check_start(model)
    start = Origin.find(model.weights)
    if start is not None:
        print(f"each network starts from {start.path}; it must not have seen these samples")
    return start


def _network() -> FitFold:
    # From here on torch is needed; whatever could be wrong without it has been said.
    from geoseg.learnseries import fit_fold

    return fit_fold


@dataclass(frozen=True)
class Way:
    """How samples are held out: the folds, drawn before anything is trained."""

    by: str
    title: str
    units: int
    fold: np.ndarray
    """(S, N), a row per seed."""
    nearest_m: float | None


def _ways(dataset: SeriesDataset, samples: Samples, config: CrossvalidateConfig) -> list[Way]:
    """The way asked for and, beside it, as many random folds. Raises: InputError."""
    column = _column(dataset, config.split)
    if config.split.by == "column" and column == "tile":
        samples = replace(samples, fold_by=samples.tile)
    first = _way(dataset, samples, config=config, by=config.split.by, column=column)
    if not config.random or first.by == "random":
        return [first]
    # As many random folds leave as much for training.
    same = replace(config, folds=int(first.fold.max()) + 1)
    try:
        return [first, _way(dataset, samples, config=same, by="random", column=column)]
    except InputError as error:
        one = "or leave out the random folds beside: random=false"
        raise InputError(*error.faults, one) from None


def _way(
    dataset: SeriesDataset,
    samples: Samples,
    *,
    config: CrossvalidateConfig,
    by: str,
    column: str,
) -> Way:
    names = {c.code: c.name for c in dataset.legend.classes}
    units = Units.of(samples, by, block_m=config.split.block_m, crs=dataset.crs)
    drawn = [
        deal(units, samples.code, count=config.folds, seed=config.seed + i, names=names)
        for i in range(config.seeds)
    ]
    near = None
    if has_places(samples, dataset.crs):
        places = centres_m(samples, dataset.crs)
        near = float(np.median([nearest_m(places, fold) for fold in drawn]))
    title = {"block": "by blocks", "column": f"by {column}", "random": "at random"}[by]
    return Way(by, title, len(units), np.stack(drawn), near)


def _column(dataset: SeriesDataset, split: Folding) -> str:
    """The column whose values are held out. Raises: InputError for one that isn't known."""
    own = (dataset.settings.get("split") or {}).get("column") or "tile"
    if split.column not in (None, own, "tile"):
        raise InputError(
            f"split.column={split.column}: the data set knows {', '.join({own: 0, 'tile': 0})};"
            f" run geoseg.prepare_series with split.column={split.column}"
        )
    return split.column or own


def check_dataset(dataset: SeriesDataset, samples: Samples) -> None:
    """Raises: InputError if pixels are gone, or there is nothing to tell apart."""
    faults = Faults()
    if len(np.unique(samples.code)) < 2:
        faults.add(
            f"{dataset.folder}: {len(samples)} samples of {len(np.unique(samples.code))} classes:"
            " nothing to tell apart; prepare a data set with two classes at least"
        )
    strangers = sorted(set(samples.code.tolist()) - set(dataset.legend.codes))
    if strangers:
        faults.add(
            f"{dataset.folder}: samples of code {', '.join(map(str, strangers))}, which the legend"
            " lacks; run geoseg.prepare_series again"
        )
    for tile in dict.fromkeys(samples.tile.tolist()):
        with faults.collect():
            dataset.arrays(tile)
    faults.raise_if_any()


@dataclass(frozen=True)
class Trainer:
    """Trains fold after fold; what is done is kept on disk."""

    dataset: SeriesDataset
    samples: Samples
    config: CrossvalidateConfig
    out: Path
    fit_fold: FitFold

    def judge(self, way: Way) -> Judged:
        """Every sample by a network that was not trained on it."""
        shape = (*way.fold.shape, len(self.dataset.legend))
        probabilities = np.zeros(shape, np.float32)
        for i, fold in enumerate(way.fold):
            seed = self.config.seed + i
            for one in range(int(way.fold.max()) + 1):
                held = np.flatnonzero(fold == one)
                path = self.out / way.by / f"seed_{seed}" / f"fold_{one + 1}.npz"
                place = f"{way.title}, seed {seed}, fold {one + 1} of {int(way.fold.max()) + 1}"
                found = _load(path, held, len(self.dataset.legend))
                if found is None:
                    found = self._train(held, seed, place)
                    _save(path, held, found)
                probabilities[i, held] = found
        legend = self.dataset.legend
        return Judged(
            way.by,
            way.title,
            way.units,
            tuple(self.config.seed + i for i in range(len(way.fold))),
            way.fold,
            legend.encode(self.samples.code.astype(np.uint8)),
            probabilities,
            tuple(legend.names),
            way.nearest_m,
        )

    def _train(self, held: np.ndarray, seed: int, place: str) -> np.ndarray:
        """Probabilities (n, K) float32 of the samples held out. Raises: InputError."""
        config, begin = self.config, time.monotonic()
        rest = np.setdiff1d(np.arange(len(self.samples)), held)
        found = self.fit_fold(
            self.dataset,
            self.samples.take(rest),
            self.samples.take(held),
            model=config.model,
            loss=config.loss,
            fit=config.fit,
            series=config.series,
            seed=seed,
        )
        if not np.isfinite(found).all():
            raise InputError(
                f"{place}: the network gives no numbers, its training ran away; set a lower"
                f" fit.learning_rate than {config.fit.learning_rate:g}"
            )
        truth = self.dataset.legend.encode(self.samples.code[held].astype(np.uint8))
        right = float((found.argmax(axis=1) == truth).mean())
        seconds = time.monotonic() - begin
        print(
            f"{place}: {len(rest)} samples train, {100 * right:.1f} % of {len(held)} held out are"
            f" right ({seconds:.0f} s)",
            flush=True,
        )
        return np.asarray(found, np.float32)


def _save(path: Path, held: np.ndarray, probabilities: np.ndarray) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, held=held, probabilities=probabilities)


def _load(path: Path, held: np.ndarray, classes: int) -> np.ndarray | None:
    """Probabilities of a fold that is done, None if it isn't, or its file is damaged."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as whole, np.load(whole) as file:
            same = np.array_equal(file["held"], held)
            found: np.ndarray = file["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if same and found.shape == (len(held), classes) else None


def _digest(folder: Path) -> str:
    """Of what the samples are: folds of another data set in the same folder don't count."""
    digest = hashlib.sha256()
    for name in (DESCRIPTION, SAMPLES):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _write(
    made: Crossvalidation, dataset: SeriesDataset, samples: Samples, config: CrossvalidateConfig
) -> None:
    """Scores, tables and report."""
    legend, out = dataset.legend, made.out
    for way in made.ways:
        write_confusion_csv(out / f"confusion_{way.by}.csv", way.confusion, legend.names)
    write_predictions(out / PREDICTIONS, samples, made.ways, legend)
    origin: dict[str, Any] = {
        "dataset": config.dataset,
        "unit": dataset.unit,
        "bands": list(dataset.bands),
        "judged_by_geoseg": __version__,
        "model": asdict(config.model),
        "loss": asdict(config.loss),
        "fit": asdict(config.fit),
        "series": asdict(config.series),
        "split": asdict(config.split),
    }
    gap = made.gap
    usual = majority(made.ways[0].truth)
    values = {
        "ways": {way.by: way.to_dict(legend.codes) for way in made.ways},
        "gap": gap and {k: getattr(gap, k) for k in ("overall_accuracy", "macro_f1", "words")},
        "majority": usual,
        "origin": origin,
    }
    write_json(out / SCORES, values)
    shown = {k: v for k, v in origin.items() if not isinstance(v, dict)}
    network = config.model.name
    shown |= {"network": network, "epochs": config.fit.epochs, "seeds": list(made.ways[0].seeds)}
    page = FoldReport(made.ways, gap, legend, f"{network} on {dataset.folder.name}")
    page.write(out / REPORT, origin=shown, notes=caveats(made.ways))


if __name__ == "__main__":
    command.run("crossvalidate", CrossvalidateConfig, main)
