"""Settings of a training and of its loop.

These stand apart from the code that reads them because that code imports torch, and nobody
should wait for torch to see `--help` or a misspelt key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from geoseg.dataset.scene_classes import SceneClasses
from geoseg.errors import Faults
from geoseg.models.settings import FOREST, PRECISIONS, Model
from geoseg.samples.augment import Augment
from geoseg.samples.settings import SeriesSamples
from geoseg.training.objectives.settings import Loss

BASELINES = ("none", FOREST)
LEARNING_RATE = 1e-3
"""Of AdamW, where neither the settings nor the recipe say another."""
EPOCHS = 100
"""Of a training that neither epochs nor minutes end."""
EPOCH_TILES = 128
"""Samples drawn per epoch at least, likewise."""
LOGGERS = ("tensorboard", "mlflow", "wandb", "none")


ANYWHERE = ("devices", "nodes", "workers", "logger", "pictures", "baseline")
"""Settings of Fit that say where a training runs and what it shows, not what comes out: it may go
on with others."""
ADVERSARIAL = ("adversarial", "epsilon", "adversarial_steps")
"""Settings of Fit of perturbed training, which mean nothing without the first."""
REMEMBER = ("remember", "remember_weight")
"""Settings of Fit of incremental classes, which mean nothing without the first."""
CLICKS = ("clicks", "clicks_only")
"""The same of training for clicks."""
UNLABELLED = ("unlabelled", "unlabelled_weight", "confidence")
"""The same of scenes without labels."""
LENGTHS = ("epochs", "max_minutes", "patience")
"""Settings of Fit that end a training: one that is to last longer goes on."""


@dataclass
class Fit:
    """The training loop."""

    epochs: int | None = None
    """Passes over the train tiles, or over the train samples of series; by default 100, or as many
    as fit.max_minutes allows."""
    max_minutes: float | None = None
    """End, with the learning rate run down, after that many minutes."""
    batch_size: int = 0
    """Tiles per step, over all devices together: 16 on 4 GPUs is 4 on each, so that results do not
    depend on their number. 0 = 4 on a CPU, where many small steps teach more, and 16 on a GPU, and
    of tiles and squares of less than 256 px up to 4 times as many. Networks that learn from squares
    (fit.crop) take 4 of 128 px on a CPU, where pixels are 2 m or less. Of series 64 samples."""
    accumulate: int = 1
    """Steps whose gradients are summed before the weights move."""
    learning_rate: float | None = None
    """Peak of the schedule (AdamW); lr_find=true finds one. By default 1e-3, 2e-3 for series of
    parcels or pixels, and 3e-4 for images where model.weights fills the whole network, or the
    encoder and that is a transformer or ConvNeXt."""
    encoder_lr_scale: float | None = None
    """Learning rate of the encoder as a share of the others': below 1 for one that knows much. By
    default 1, and 0.3 where model.weights fills the encoder alone."""
    freeze: int | None = None
    """Epochs in which an encoder with loaded weights stays as it is, while the rest is random. By
    default 1 where model.weights fills the encoder alone and that is a transformer or ConvNeXt, of
    4 epochs and more; else 0."""
    weight_decay: float = 1e-2
    """AdamW's decoupled decay."""
    warmup: float = 0.05
    """Share of the training in which the learning rate rises; then it falls as a cosine."""
    average: float = 0.99
    """Share of the moving average of the weights that a step keeps; the average is what is
    validated and saved. 0 = the weights as they are."""
    swa: float = 0.0
    """Share of the training at its end in which the learning rate stays and all weights count alike
    in the average (stochastic weight averaging)."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 = unlimited."""
    patience: int = 0
    """Epochs without a better validation mIoU before an early stop; 0 = never."""
    refit: bool | None = None
    """Train once more, on train and val together, for as many epochs as gave the best validation:
    the scores stay those of the first training, the weights are those of the second. Of
    fit.max_minutes each gets its part. By default true for forests alone, which are grown in
    seconds."""
    jitter: bool = True
    """Move each train tile at random by up to half its size, within its part of the split."""
    crop: int | None = None
    """Side in pixels, rounded up to 32, of the squares that are learnt from, cut out of train tiles
    at random; smaller tiles stay whole. By default, for U-Net, U-Net++, FPN, DeepLabV3+ and SegNet
    on a CPU and pixels of 2 m and less, half of a tile, but 128 px at least: a square costs a
    quarter of a tile and shows another place. Else, and where less than half of the ground is
    labelled, whole tiles."""
    epoch_tiles: int | None = None
    """Tiles drawn per epoch at least: few tiles are drawn several times between validations. By
    default so many that a validation takes about a twentieth of an epoch, and 128 or more; of
    series all samples once, and 1280 or more."""
    train_share: float = 1.0
    """Share of the train tiles whose labels are seen, drawn by the seed: for curves of score by
    labels."""
    balance: float = 0.0
    """How often tiles are drawn: 0 = all alike, 1 = so that all classes come up alike, in between
    a mixture."""
    hard: float = 0.0
    """Share of the draws that go to tiles by their loss, measured as validation does every 5
    epochs; not for noisy labels, which are hard for being wrong."""
    unlabelled: Any = None
    """Folder, glob or list of scenes without labels to learn from as well (mean teacher)."""
    unlabelled_weight: float = 1.0
    """Of their loss beside that of the labels, once it has risen over the first 30 %."""
    confidence: float = 0.9
    """Probability from which the teacher's class of an unlabelled pixel is taken for true."""
    adversarial: float = 0.0
    """Share of the tiles of each step that are perturbed by the network's own gradient, so that it
    learns to withstand attacks; takes a pass forward and back more for these."""
    epsilon: float = 0.03
    """Largest change of a value by that, in standard deviations of its band."""
    adversarial_steps: int = 1
    """Steps of that: 1 = FGSM from a random start (Wong et al. 2020), more = PGD."""
    remember: str | None = None
    """An earlier run whose classes are kept where the new labels say nothing (Cermelli et al.
    2020): new classes are learnt from a data set in which the old ones are not labelled. The
    training starts from that run, model.keep=network."""
    remember_weight: float = 3.0
    """Of what the earlier run says of ground without labels, beside the loss of the labels."""
    clicks: bool = False
    """Train for clicks as well: a part that sees image, map and clicks, simulated in wrong places,
    and says what they change; geoseg.refine asks it. Without clicks the map is as it would be."""
    clicks_only: bool = False
    """Only that part learns; the network of model.weights with model.keep=network stays as it is,
    and so do its maps."""
    workers: int | None = None
    """Processes that read tiles, for each device; by default one fewer than the cores, shared out
    among the devices, and at most 8; for series of parcels or pixels 0, as a thread is enough."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    devices: int | None = None
    """GPUs of this machine that train together, or processes on a CPU; by default 1, or as many
    as torchrun started."""
    nodes: int = 1
    """Machines that train together; torchrun says it by itself."""
    precision: str = "auto"
    """auto (bfloat16 where the hardware has it; 32 for series of parcels or pixels, whose networks
    are small), 32, bf16 or 16."""
    logger: str = "tensorboard"
    """tensorboard, mlflow, wandb or none: who else is told the numbers of metrics.csv and shown the
    pictures."""
    pictures: int = 5
    """Epochs between pictures of val tiles (image, labels, map, where these differ), besides the
    first and the last epoch; 0 = none. Of series there are none."""
    baseline: str = "none"
    """none, or forest: at the end, grow a forest on the same samples and say what it scores on val;
    takes from some seconds to a minute."""

    @property
    def peak(self) -> float:
        """learning_rate, or the usual one."""
        return LEARNING_RATE if self.learning_rate is None else self.learning_rate

    @property
    def encoder_scale(self) -> float:
        """encoder_lr_scale, or 1."""
        return 1.0 if self.encoder_lr_scale is None else self.encoder_lr_scale

    @property
    def frozen(self) -> int:
        """freeze, or 0."""
        return self.freeze or 0

    @property
    def most(self) -> float:
        """epochs, or the usual ones; infinite where minutes alone end the training."""
        if self.epochs is not None:
            return self.epochs
        return EPOCHS if self.max_minutes is None else math.inf

    @property
    def least(self) -> int:
        """epoch_tiles, or the usual ones."""
        return EPOCH_TILES if self.epoch_tiles is None else self.epoch_tiles

    def __post_init__(self) -> None:
        faults = Faults()
        faults.at_least(self, "fit.", epochs=1, accumulate=1, epoch_tiles=1, crop=1, nodes=1)
        faults.at_least(self, "fit.", adversarial_steps=1)
        faults.at_least(self, "fit.", batch_size=0, weight_decay=0, clip=0, patience=0, freeze=0)
        faults.at_least(self, "fit.", pictures=0, unlabelled_weight=0, remember_weight=0, devices=1)
        processes = max(self.devices or 1, 1) * max(self.nodes, 1)
        if self.batch_size % processes:
            faults.add(
                f"fit.batch_size={self.batch_size}: of all devices together, and does not divide"
                f" among {processes}"
            )
        if (self.devices or 1) > 1 and ":" in self.device:
            kind = self.device.partition(":")[0]
            faults.add(
                f"fit.device={self.device}: one device, but fit.devices={self.devices}; set"
                f" fit.device={kind}"
            )
        if self.refit and processes > 1:
            faults.add("fit.refit: trains on one device; leave out fit.devices and fit.nodes")
        faults.above_zero(self, "fit.", "learning_rate", "max_minutes")
        faults.within(self, "[0, 1)", "fit.", "warmup", "average", "swa", "hard")
        faults.within(self, "[0, 1]", "fit.", "balance", "confidence", "adversarial")
        faults.within(self, "(0, 1]", "fit.", "encoder_lr_scale", "train_share")
        if not 0 < self.epsilon < math.inf:
            faults.add(f"fit.epsilon={self.epsilon}: must be above 0, in standard deviations")
        self._check_together(faults)
        if self.warmup + self.swa >= 1:
            faults.add(f"fit.swa={self.swa}: with fit.warmup={self.warmup} no time is left between")
        if self.unlabelled is not None and not self.average:
            faults.add("fit.unlabelled: the teacher is the moving average; fit.average is 0")
        if self.logger not in LOGGERS:
            faults.add(f"fit.logger={self.logger}: unknown; choose from {', '.join(LOGGERS)}")
        faults.one_of(self, "fit.", precision=PRECISIONS, baseline=BASELINES)
        faults.raise_if_any()

    def _check_together(self, faults: Faults) -> None:
        """Add ways of training of which each makes the batches, or the loss, its own."""
        if self.adversarial and self.unlabelled is not None:
            faults.add(
                "fit.adversarial: not together with fit.unlabelled, whose tiles are changed"
                " already; leave one of them out"
            )
        for key in ("unlabelled", "adversarial"):
            if self.remember is not None and getattr(self, key):
                faults.add(f"fit.remember: not together with fit.{key}; leave one of them out")
        if self.clicks and self.remember is not None:
            faults.add("fit.clicks=true: not together with fit.remember; leave one of them out")
        for name in ("adversarial", "unlabelled"):
            if self.clicks and getattr(self, name):
                faults.add(
                    f"fit.clicks=true: not together with fit.{name}, which makes other tiles of"
                    " those that are clicked into; leave one of them out"
                )
        if self.clicks_only and not self.clicks:
            faults.add("fit.clicks_only=true: says what of fit.clicks=true learns; set that too")


@dataclass(frozen=True)
class Own:
    """What was given to a training in Python as an object; what has an import path is a setting."""

    network: Any = None
    """A torch module."""
    loss: Any = None
    """(logits, target) → a number."""
    augment: Any = None
    """An albumentations transform, or a callable of image and mask."""
    metric: Any = None
    """Confusion (K, K) of the validation → a number, or numbers by name."""


NOTHING_OWN = Own()


@dataclass(frozen=True)
class TrainingSettings:
    """What a training is told."""

    model: Model
    loss: Loss
    fit: Fit
    series: SeriesSamples
    seed: int
    lr_find: bool = False
    """Only try learning rates."""
    augment: Augment = field(default_factory=Augment)
    """Of images; series vary as `series` says."""
    own: Own = NOTHING_OWN
    scene: SceneClasses = field(default_factory=SceneClasses)
    """Of networks that give a tile one class."""

    @property
    def has_own(self) -> bool:
        """Whether any code outside geoseg takes part."""
        rooms = (self.model, self.loss, self.augment)
        return self.own.metric is not None or any(room.target is not None for room in rooms)

    @property
    def network(self) -> Any:
        """The own network that this training was told to use: a module or an import path."""
        return self.model.target if self.own.network is None else self.own.network
