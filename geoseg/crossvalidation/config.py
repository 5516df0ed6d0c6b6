"""Settings of the command crossvalidate.

Samples of series and tiles of images go the same way; seriesfolds and imagefolds say what differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from geoseg.crossvalidation.draw import Folding
from geoseg.dataset.sample_split import FOLD_WAYS
from geoseg.errors import Faults
from geoseg.models.settings import AUTO, CLASSIFY, Model
from geoseg.samples.augment import Augment
from geoseg.samples.settings import SeriesSamples
from geoseg.training.checks import check_fit
from geoseg.training.objectives.settings import Loss
from geoseg.training.processes import launch
from geoseg.training.settings import Fit

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.csv", "report.html"
PRODUCTS = (
    *FOLD_WAYS,
    *(f"confusion_{way}.csv" for way in FOLD_WAYS),
    *(f"folds_{way}.gpkg" for way in FOLD_WAYS),
    *(SCORES, PREDICTIONS, REPORT),
)


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
    model: Model = field(default_factory=lambda: Model(AUTO, AUTO, AUTO))
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
        faults.at_least(self, "", seeds=1)
        if self.model.name == "utae":
            faults.add("model.name=utae: not for folds, which are of samples or of single images")
        if self.model.name == CLASSIFY:
            faults.add(
                "model.name=classify: not for folds, which are of pixels; geoseg.train says the"
                " scores of train, val and test tiles"
            )
        if (self.fit.devices or 1) * self.fit.nodes > 1 or launch.place().count > 1:
            faults.add("fit.devices: each fold is trained on one device, by one process")
        if self.fit.baseline != "none":
            faults.add(
                f"fit.baseline={self.fit.baseline}: of single trainings; cross-validate"
                " model=forest on the same folds instead"
            )
        if self.fit.unlabelled is not None:
            faults.add("fit.unlabelled: folds are trained on labelled tiles alone; leave it out")
        if self.fit.remember is not None:
            faults.add(
                "fit.remember: of single trainings, since the earlier run has seen the tiles that a"
                " fold holds out; leave it out"
            )
        for key in ("refit", "patience"):
            if getattr(self.fit, key):
                faults.add(f"fit.{key}: goes by val, which folds do not have; leave it out")
        if self.fit.logger not in (Fit().logger, "none"):
            faults.add(f"fit.logger={self.fit.logger}: of single trainings; leave it out")
        faults.attempt(check_fit, self.fit, self.model)
        faults.raise_if_any()
