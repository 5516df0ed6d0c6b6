"""Crossvalidate: networks judged on what was held out, by blocks of the ground and at random.

Samples of series and tiles of images go the same way; seriesfolds and imagefolds say what differs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__, command, processes, recipe, seriesset
from geoseg.accuracy import write_confusion_csv
from geoseg.augment import Augment
from geoseg.card import weights_hash
from geoseg.dataset import DESCRIPTION, Dataset, check_whole
from geoseg.errors import Faults, InputError
from geoseg.foldscores import Gap, caveats
from geoseg.foldtally import Tally
from geoseg.foldtraining import Draw, train_folds
from geoseg.imagefolds import ImageFolds
from geoseg.lock import alone
from geoseg.origin import Origin
from geoseg.origin import check as check_start
from geoseg.output import claim, clearing, write_json
from geoseg.report.folds import FoldReport
from geoseg.samplesplit import FOLD_WAYS, Folding
from geoseg.seriesfolds import SeriesFolds
from geoseg.seriesset import SeriesDataset
from geoseg.settings import ANYWHERE, FOREST, Fit, Loss, Model, SeriesSamples
from geoseg.trainable import check_fit

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.csv", "report.html"
PRODUCTS = (
    *FOLD_WAYS,
    *(f"confusion_{way}.csv" for way in FOLD_WAYS),
    *(f"folds_{way}.gpkg" for way in FOLD_WAYS),
    *(SCORES, PREDICTIONS, REPORT),
)

FitFold = Callable[..., np.ndarray]
"""(dataset, train, held_out, *, model, loss, fit, seed) with, for series, `series` → probabilities
(N, K) float32; for images, with `augment`, → confusion matrix (K, K) int64."""


@dataclass
class CrossvalidateConfig:
    """Train and judge a network per fold of a data set; started again, it goes on."""

    dataset: str = "data/demo/series_dataset"
    """Folder made by geoseg.prepare_series, all of whose samples take part, or by geoseg.prepare:
    its tiles of train and val do, and test stays untouched."""
    run: str = "runs/demo_folds"
    """Folder to write: report.html, scores.json, confusion_<way>.csv; of series predictions.csv,
    of images folds_<way>.gpkg."""
    folds: int = 5
    """Networks trained per way and seed, each judged on what it was not shown; with
    split.by=column 0, or as many as there are values, holds out one value at a time, with
    split.by=scene one scene."""
    seeds: int = 1
    """Repeats, each with other folds and weights: seed, seed + 1 …"""
    random: bool | None = None
    """Also hold out at random, to show the gap: what a random split would promise too much. By
    default for series only: it doubles the time."""
    test: bool = False
    """Images: the tiles of the split test take part too; nothing unseen is left for a last word."""
    seed: int = 0
    """Of the draw of folds, the weights and all that is random in training."""
    overwrite: bool = False
    """Replace a run that was made with other settings."""
    split: Folding = field(default_factory=Folding)
    model: Model = field(default_factory=lambda: Model("ltae"))
    loss: Loss = field(default_factory=Loss)
    augment: Augment = field(default_factory=Augment)
    fit: Fit = field(default_factory=Fit)
    series: SeriesSamples = field(default_factory=SeriesSamples)

    def __post_init__(self) -> None:
        faults = Faults()
        if self.folds < 2 and not (self.folds == 0 and self.split.by in ("column", "scene")):
            faults.add(
                f"folds={self.folds}: give at least 2, or 0 with split.by=column for one fold per"
                " value, or with split.by=scene for one per scene"
            )
        if self.seeds < 1:
            faults.add(f"seeds={self.seeds}: must be at least 1")
        if self.model.name == "utae":
            faults.add("model.name=utae: not for folds, which are of samples or of single images")
        if (self.fit.devices or 1) * self.fit.nodes > 1 or processes.place().count > 1:
            faults.add("fit.devices: each fold is trained on one device, by one process")
        if self.fit.baseline != "none":
            faults.add(
                f"fit.baseline={self.fit.baseline}: of single trainings; cross-validate"
                " model=forest on the same folds instead"
            )
        if self.fit.unlabelled is not None:
            faults.add("fit.unlabelled: folds are trained on labelled tiles alone; leave it out")
        with faults.collect():
            check_fit(self.fit, self.model)
        faults.raise_if_any()


def main(config: CrossvalidateConfig) -> None:
    of_series = seriesset.unit_of(config.dataset) in ("parcel", "pixel")
    kind = SeriesDataset if of_series else Dataset
    print(crossvalidate(kind.load(config.dataset), config))


@dataclass(frozen=True)
class Crossvalidation:
    """Scores by way, and where the report of them is."""

    ways: tuple[Tally, ...]
    gap: Gap | None
    """None if it was held out in one way only."""
    out: Path
    table: str
    """The scores for a terminal."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        parts = [self.table, *(f"note: {note}" for note in self.notes)]
        if self.gap:
            parts.append(self.gap.words)
        return "\n\n".join([*parts, f"report: {self.out / REPORT} (open it in a browser)"])


@alone("crossvalidate", "config.run")
def crossvalidate(
    dataset: SeriesDataset | Dataset,
    config: CrossvalidateConfig,
    *,
    fit_fold: FitFold | None = None,
) -> Crossvalidation:
    """Train and judge a network per fold into the folder `config.run`, or go on there.

    fit_fold: trains on one part and judges another; by default that of geoseg.learnseries, or of
    geoseg.learnfold for images.
    Raises: InputError before the first training for anything that could not end well.
    """
    of_series = isinstance(dataset, SeriesDataset)
    config = replace(config, dataset=str(dataset.folder.absolute()))
    draw = Draw(
        config.folds,
        tuple(config.seed + i for i in range(config.seeds)),
        of_series if config.random is None else config.random,
        config.split,
    )
    start = _origin(config.model)
    folds = _plan(dataset, draw, config)
    settings = _settings(config, draw, of_series=of_series)
    settings["data"] = _digest(dataset.folder, folds.table)
    if start is not None:
        settings["weights"] = weights_hash(start.path)
    out = Path(config.run)
    with clearing(out, PRODUCTS):
        claim(out, settings, command="crossvalidate", products=PRODUCTS, overwrite=config.overwrite)
        command.record(out, "crossvalidate", config)
        print(_opening(folds, draw, config))
        fit = _fitting(config, fit_fold, of_series=of_series)
        judged: list[Any] = []
        for way in folds.ways:
            jobs = folds.jobs(way, draw.seeds, fit)
            results = train_folds(way, jobs, out / way.by, kept=folds.kept)
            judged.append(folds.judged(way, draw.seeds, results))
    made = Crossvalidation(
        tuple(judged),
        Gap.of(*judged) if len(judged) == 2 else None,
        out,
        folds.text(judged),
        (*caveats(judged), *folds.notes()),
    )
    folds.write(out, judged)
    _write(made, dataset, folds.origin(), settings | {"fit": asdict(config.fit)})
    return made


def _origin(model: Model) -> Origin | None:
    """What every network starts from; says what nobody can see from here.

    Raises: InputError if these networks can't start from it.
    """
    check_start(model)
    start = Origin.find(model.weights)
    if start is not None:
        print(f"each network starts from {start.path}; it must not have seen what is held out")
    return start


def _plan(
    dataset: SeriesDataset | Dataset, draw: Draw, config: CrossvalidateConfig
) -> SeriesFolds | ImageFolds:
    """Draw the folds. Raises: InputError."""
    command = "prepare" if isinstance(dataset, Dataset) else "prepare_series"
    check_whole(dataset.folder, f"geoseg.{command}")
    if isinstance(dataset, Dataset):
        return ImageFolds.plan(dataset, draw, config.model, test=config.test)
    if config.test:
        raise InputError(
            "test=true: for images; all samples of series take part, whatever their split"
        )
    rate = config.fit.peak
    return SeriesFolds.plan(dataset, draw, config.model, learning_rate=rate)


def _settings(config: CrossvalidateConfig, draw: Draw, *, of_series: bool) -> dict[str, Any]:
    """What makes two runs the same: without what says where to, and what the data do not use."""
    unused = ("augment", "test") if of_series else ("series",)
    settings = {k: v for k, v in asdict(config).items() if k not in ("run", "overwrite", *unused)}
    settings["random"] = draw.random
    settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in ANYWHERE}
    del settings["split"]["buffer_m" if of_series else "column"]
    return settings


def _opening(folds: SeriesFolds | ImageFolds, draw: Draw, config: CrossvalidateConfig) -> str:
    """How many trainings there will be, and of what length."""
    seeds, fit = len(draw.seeds), config.fit
    parts = [f"{way.folds} folds {way.title} of {way.units}" for way in folds.ways]
    count = seeds * sum(way.folds for way in folds.ways)
    dealt = f"{' and '.join(parts)}, × {seeds} seed{'s' if seeds > 1 else ''}"
    if config.model.name == FOREST:
        return f"{count} forests: {dealt}"
    ends = [f"{fit.most} epochs"] if math.isfinite(fit.most) else []
    ends += [f"{fit.max_minutes:g} minutes"] if fit.max_minutes is not None else []
    terms = recipe.terms(config.loss, config.model)
    loss = " + ".join(f"{weight:g} {name}" for name, weight in terms.items())
    return (
        f"{count} trainings of {config.model.name}, of {' or '.join(ends)} each: {dealt};"
        f" loss {loss}"
    )


def _fitting(config: CrossvalidateConfig, fit_fold: FitFold | None, *, of_series: bool) -> FitFold:
    """Trains and judges as the settings say: (dataset, train, held_out, *, seed) → result."""
    given: dict[str, Any] = {"model": config.model, "loss": config.loss, "fit": config.fit}
    if of_series:
        given["series"] = config.series
    else:
        given["augment"] = config.augment
    forest = config.model.name == FOREST
    return partial(fit_fold or _network(of_series=of_series, forest=forest), **given)


def _network(*, of_series: bool, forest: bool) -> FitFold:
    # From here on torch is needed; whatever could be wrong without it has been said.
    from geoseg import learnfold, learnforest, learnseries

    if forest:
        return learnforest.fit_samples if of_series else learnforest.fit_tiles
    return learnseries.fit_fold if of_series else learnfold.fit_fold


def _digest(folder: Path, table: str) -> str:
    """Of what is dealt out: folds of another data set in the same folder don't count."""
    digest = hashlib.sha256()
    for name in (DESCRIPTION, table):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _write(
    made: Crossvalidation,
    dataset: SeriesDataset | Dataset,
    origin: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Scores, tables and report."""
    legend, out, first = dataset.legend, made.out, made.ways[0]
    for way in made.ways:
        write_confusion_csv(out / f"confusion_{way.by}.csv", way.confusion, legend.names)
    told = ("model", "loss", "augment", "fit", "series", "split")
    origin = {
        "dataset": settings["dataset"],
        **origin,
        "bands": list(dataset.bands),
        "judged_by_geoseg": __version__,
        **{name: settings[name] for name in told if name in settings},
    }
    gap = made.gap
    values = {
        "ways": {way.by: way.to_dict(legend.codes) for way in made.ways},
        "gap": gap and {k: getattr(gap, k) for k in ("overall_accuracy", "macro_f1", "words")},
        "majority": first.majority,
        "origin": origin,
    }
    write_json(out / SCORES, values)
    shown = {k: v for k, v in origin.items() if not isinstance(v, dict)}
    network = settings["model"]["name"]
    shown |= {"network": network, "seeds": list(first.seeds)}
    if network != FOREST:
        shown["epochs"] = settings["fit"]["epochs"]
    if network != FOREST and settings["fit"]["max_minutes"] is not None:
        shown["minutes_at_most"] = settings["fit"]["max_minutes"]
    page = FoldReport(made.ways, gap, legend, f"{network} on {dataset.folder.name}")
    page.write(out / REPORT, origin=shown, notes=made.notes)


if __name__ == "__main__":
    command.run("crossvalidate", CrossvalidateConfig, main)
