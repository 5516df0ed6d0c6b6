"""Cross-validate a network in both ways and write scores, predictions and the page.

Samples of series and tiles of images go the same way; seriesfolds and imagefolds say what differs.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.crossvalidation.config import PRODUCTS, REPORT, SCORES, CrossvalidateConfig
from geoseg.crossvalidation.folds import FoldPlan, train_folds
from geoseg.crossvalidation.image_folds import ImageFolds
from geoseg.crossvalidation.report import FoldReport
from geoseg.crossvalidation.scores import Gap, caveats
from geoseg.crossvalidation.series_folds import SeriesFolds
from geoseg.crossvalidation.tally import Tally
from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.tiles import DESCRIPTION, Dataset, check_whole, said_of_changes_since
from geoseg.errors import Faults, InputError
from geoseg.evaluation.accuracy import write_confusion_csv
from geoseg.models.card import weights_hash
from geoseg.models.origin import Origin
from geoseg.models.origin import check as check_start
from geoseg.models.settings import FOREST, Model, without_unset
from geoseg.outputs.claims import claim
from geoseg.outputs.counted import counted
from geoseg.outputs.files import clearing, write_json
from geoseg.outputs.lock import alone
from geoseg.samples.settings import IMAGES, SERIES, check_variation, without_choice
from geoseg.training import recipe
from geoseg.training.cards import card_of, card_of_samples
from geoseg.training.checks import check_fit, check_own_series, find_styles
from geoseg.training.run import folder as command
from geoseg.training.settings import ANYWHERE, TrainingSettings

FitFold = Callable[..., np.ndarray]
"""(dataset, train, held_out, *, model, loss, fit, seed) with, for series, `series` → probabilities
(N, K) float32; for images, with `augment`, → confusion matrix (K, K) int64."""


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

    fit_fold: (dataset, train, held_out, settings of the training) → what a network that is trained
    on one part makes of the other; by default that of geoseg.training.tasks.
    Raises: InputError before the first training for anything that could not end well.
    """
    of_series = isinstance(dataset, SeriesDataset)
    given, before = config.model, command.network_of(config, "crossvalidate")
    config = replace(
        config,
        dataset=str(dataset.folder.absolute()),
        model=recipe.network_for(given, dataset, before=before),
    )
    draw = FoldPlan(
        config.folds,
        tuple(config.seed + i for i in range(config.seeds)),
        of_series if config.random is None else config.random,
        config.split,
    )
    _check_heeded(config, SERIES if of_series else IMAGES)
    start = _origin(config.model)
    folds = _plan(dataset, draw, config)
    settings = _settings(config, draw, of_series=of_series)
    settings["data"] = _digest(dataset.folder, folds.table)
    if start is not None:
        settings["weights"] = weights_hash(start.path)
    if _study(config).has_own:
        _check_own(dataset, config)
    out = Path(config.run)
    with clearing(out, PRODUCTS):
        claim(out, settings, command="crossvalidate", products=PRODUCTS, overwrite=config.overwrite)
        command.record(out, "crossvalidate", config)
        changes = said_of_changes_since(dataset) if isinstance(dataset, Dataset) else []
        for text in (*changes, *recipe.what_lacks(given, config.model, dataset)):
            print(f"geoseg crossvalidate: WARNING: {text}", file=sys.stderr)
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


def _check_heeded(config: CrossvalidateConfig, holds: str) -> None:
    """Raises: InputError for settings that the chosen network, or its data, have no part for."""
    faults = Faults()
    faults.attempt(check_fit, config.fit, config.model)
    faults.attempt(check_variation, config.augment, config.series, holds)
    faults.raise_if_any()


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
    dataset: SeriesDataset | Dataset, draw: FoldPlan, config: CrossvalidateConfig
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


def _settings(config: CrossvalidateConfig, draw: FoldPlan, *, of_series: bool) -> dict[str, Any]:
    """What makes two runs the same: without what says where to, and what the data do not use."""
    unused = ("augment", "test") if of_series else ("series",)
    settings = {k: v for k, v in asdict(config).items() if k not in ("run", "overwrite", *unused)}
    settings["random"] = draw.random
    settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in ANYWHERE}
    if "augment" in settings:
        settings["augment"] = without_choice(settings["augment"], settings["model"])
    for room in command.OWNABLE & settings.keys():
        settings[room] = without_unset(settings[room])
    del settings["split"]["buffer_m" if of_series else "column"]
    return settings


def _opening(folds: SeriesFolds | ImageFolds, draw: FoldPlan, config: CrossvalidateConfig) -> str:
    """How many trainings there will be, and of what length."""
    seeds, fit = len(draw.seeds), config.fit
    parts = [f"{way.folds} folds {way.title} of {way.units}" for way in folds.ways]
    count = seeds * sum(way.folds for way in folds.ways)
    dealt = f"{' and '.join(parts)}, × {counted(seeds, 'seed')}"
    if config.model.name == FOREST:
        return f"{counted(count, 'forest')}: {dealt}"
    ends = [f"{fit.most} epochs"] if math.isfinite(fit.most) else []
    ends += [f"{fit.max_minutes:g} minutes"] if fit.max_minutes is not None else []
    terms = recipe.terms(config.loss, config.model)
    loss = config.loss.target or " + ".join(f"{weight:g} {name}" for name, weight in terms.items())
    name = config.model.target or config.model.name
    return (
        f"{counted(count, 'training')} of {name}, of {' or '.join(ends)} each: {dealt}; loss {loss}"
    )


def _study(config: CrossvalidateConfig) -> TrainingSettings:
    return TrainingSettings(
        config.model, config.loss, config.fit, config.series, config.seed, augment=config.augment
    )


def _check_own(dataset: SeriesDataset | Dataset, config: CrossvalidateConfig) -> None:
    """Try what is not geoseg's, before anything is written. Raises: InputError."""
    study = _study(config)
    if isinstance(dataset, SeriesDataset):
        check_own_series(config.fit, config.model)
        card = card_of_samples(dataset, study, dataset.statistics)
    else:
        card = card_of(dataset, config.model)
        find_styles(config.augment, card, dataset)
    from geoseg.training.own import check_own

    check_own(study, card)


def _fitting(config: CrossvalidateConfig, fit_fold: FitFold | None, *, of_series: bool) -> FitFold:
    """Trains and judges as the settings say: (dataset, train, held_out, *, seed) → result."""
    study = _study(config)
    fit = fit_fold or _network(of_series=of_series, forest=config.model.name == FOREST)

    def fit_with(dataset: Any, train: Any, held_out: Any, *, seed: int) -> np.ndarray:
        return fit(dataset, train, held_out, replace(study, seed=seed))

    return fit_with


def _network(*, of_series: bool, forest: bool) -> FitFold:
    # From here on torch is needed; whatever could be wrong without it has been said.
    from geoseg.training.tasks import forest as forests
    from geoseg.training.tasks import images, series

    if forest:
        return forests.fit_samples if of_series else forests.fit_tiles
    return series.fit_fold if of_series else images.fit_fold


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
    network = settings["model"].get("target") or settings["model"]["name"]
    shown |= {"network": network, "seeds": list(first.seeds)}
    if network != FOREST:
        shown["epochs"] = settings["fit"]["epochs"]
    if network != FOREST and settings["fit"]["max_minutes"] is not None:
        shown["minutes_at_most"] = settings["fit"]["max_minutes"]
    page = FoldReport(made.ways, gap, legend, f"{network} on {dataset.folder.name}")
    page.write(out / REPORT, origin=shown, notes=made.notes)
