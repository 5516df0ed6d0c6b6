"""Settings of the commands train and pretrain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.dataset.scene_classes import SceneClasses
from geoseg.errors import Faults
from geoseg.geo.tiling import Tiling
from geoseg.models.settings import ARCHITECTURES, AUTO, Model, check_heeded
from geoseg.samples.augment import Augment
from geoseg.samples.settings import SeriesSamples
from geoseg.scenes.bands import Bands
from geoseg.training.objectives.settings import (
    DISTIL,
    METHODS,
    RECONSTRUCT,
    Distilling,
    Loss,
    Masking,
)
from geoseg.training.recipe import from_what_is_named
from geoseg.training.settings import ADVERSARIAL, CLICKS, REMEMBER, Fit


@dataclass
class TrainConfig:
    """Train a network on a data set of geoseg.prepare; started again, it goes on."""

    dataset: str = "data/demo/dataset"
    """Folder made by geoseg.prepare or geoseg.prepare_series."""
    run: str = "runs/demo"
    """Folder to write: weights, checkpoint, metrics, curves; with --multirun, sweep.csv and a
    folder like this for each job."""
    seed: int = 0
    """Of weights, order, augmentation and dropout."""
    lr_find: bool = False
    """Only try rising learning rates, and write lr_find.png into the run folder; trains nothing."""
    overwrite: bool = False
    """Replace a run that was made with other settings."""
    model: Model = field(default_factory=lambda: Model(AUTO, AUTO, AUTO))
    loss: Loss = field(default_factory=Loss)
    augment: Augment = field(default_factory=Augment)
    fit: Fit = field(default_factory=Fit)
    series: SeriesSamples = field(default_factory=SeriesSamples)
    scene: SceneClasses = field(default_factory=SceneClasses)


LABELS_ONLY = (
    *("balance", "crop", "hard", "freeze", "train_share", "baseline", "refit"),
    *("unlabelled", "unlabelled_weight", "confidence"),
    *(*ADVERSARIAL, *REMEMBER, *CLICKS),
)
"""Settings of the training loop that are of labels, or of weights that are there already."""


@dataclass
class PretrainConfig:
    """Let an encoder learn from scenes without labels, by filling in what is hidden from it or by
    teaching itself; started again, it goes on."""

    scenes: Any = None
    """Folder, glob or list of GeoTIFFs; by default the demo's."""
    run: str = "runs/demo_pretrained"
    """Folder to write: encoder.safetensors for `model.weights`, checkpoint, metrics, curves."""
    val: float = 0.1
    """Share of the tiles that are kept aside, to see how well it goes."""
    method: str = RECONSTRUCT
    """reconstruct (fill in hidden squares, SimMIM), or distil (find the same in large and small
    crops in other lights, DINO)."""
    seed: int = 0
    """Of weights, order, augmentation and what is hidden."""
    overwrite: bool = False
    """Replace a run that was made with other settings."""
    model: Model = field(default_factory=Model)
    bands: Bands = field(default_factory=Bands)
    tiling: Tiling = field(default_factory=Tiling)
    augment: Augment = field(default_factory=Augment)
    mask: Masking = field(default_factory=Masking)
    distil: Distilling = field(default_factory=Distilling)
    fit: Fit = field(default_factory=Fit)

    def __post_init__(self) -> None:
        faults = Faults()
        self.model = from_what_is_named(self.model)
        faults.within(self, "[0, 1)", "", "val")
        if self.model.name not in ARCHITECTURES:
            names = ", ".join(ARCHITECTURES)
            faults.add(f"model={self.model.name}: not for single images; choose from {names}")
        if self.model.frozen:
            faults.add(
                f"model={self.model.name}: its encoder stays as it is, and nothing else is trained"
                " here; choose another, such as model=segformer"
            )
        faults.attempt(check_heeded, self.model)
        for key in LABELS_ONLY:
            if getattr(self.fit, key) != getattr(Fit(), key):
                faults.add(f"fit.{key}: of trainings with labels; leave it out")
        if self.augment.target is not None:
            faults.add(
                f"augment.target={self.augment.target}: of trainings with labels; leave it out"
            )
        if self.augment.style is not None:
            faults.add(
                f"augment.style={self.augment.style}: of trainings with labels; give these scenes"
                " in scenes=… as well, to learn from them"
            )
        if self.model.pixels not in (0, Model().pixels):
            faults.add(f"model.pixels={self.model.pixels}: of trainings with labels; leave it out")
        if self.model.keep != "encoder":
            faults.add(f"model.keep={self.model.keep}: an encoder is trained here; leave it out")
        if self.tiling.overlap != Tiling(self.tiling.size).overlap:
            faults.add(f"tiling.overlap={self.tiling.overlap}: of predictions; leave it out")
        self._check_method(faults)
        side = -(-self.tiling.size // self.mask.size)
        if self.method == RECONSTRUCT and round(self.mask.share * side * side) >= side * side:
            faults.add(
                f"mask.size={self.mask.size}: with mask.share={self.mask.share} nothing of a tile"
                f" of tiling.size={self.tiling.size} is left to see; take smaller squares"
            )
        faults.raise_if_any()

    def _check_method(self, faults: Faults) -> None:
        if self.method not in METHODS:
            faults.add(f"method={self.method}: unknown; choose from {', '.join(METHODS)}")
        for key, given, usual, method in (
            ("mask", self.mask, Masking(), RECONSTRUCT),
            ("distil", self.distil, Distilling(), DISTIL),
        ):
            if given != usual and self.method != method:
                faults.add(f"{key}: of method={method}, and method is {self.method}; leave it out")
        if self.method == DISTIL and not self.fit.average:
            faults.add("method=distil: the teacher is the moving average; fit.average is 0")
